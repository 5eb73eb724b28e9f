"""Tells functions of events, at least once: each delivery is kept in the log until its function has answered, or it is given up.

`control.process` runs it; `control.storageevents` and the poller hand events to it. It decides when and how often, `Caller` makes the
call through a gateway worker. One that is cut by the end of the process is made again by the next, with the same call id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol
from urllib.parse import quote

from penstock.errors import InvalidInput, PenstockError
from penstock.model import Function
from penstock.providers.clock import Clock
from penstock.storage.eventlog import Delivery, EventLog
from penstock.storage.objectevent import ObjectEvent, call_id
from penstock.storage.reference import ObjectRef, check_key, shown
from penstock.storage.subscriptions import Subscriptions

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before the second attempt, doubled for each further one up to the second number. Ten attempts take nine minutes."""
LONGEST_WISH = 3600.0
"""Seconds that a function may ask for by `Retry-After`."""
UNREACHABLE_PAUSE = 1.0
"""Seconds until a gateway worker is looked for again; this is no attempt, since no function heard of it."""
LONGEST_REASON = 300
"""Characters that are kept of why an attempt failed."""
FORGET_EVERY = 600.0
OPEN_EVERY = 5.0
"""Seconds between attempts to open the log: another gateway of the same home may have it."""

FINAL = frozenset({400, 405, 410, 411, 413, 414, 415, 416, 422, 431})
"""Statuses that say that the request itself is at fault: the same request would get the same answer."""


class Outcome(NamedTuple):
    """What became of a call."""

    status: int
    """0 where there was no answer."""
    reason: str
    """In words, for people."""
    retry_after: float = 0.0
    """Seconds that the answer asks for."""
    reached: bool = True
    """False where no gateway worker took the call."""


class Caller(Protocol):
    """Calls a function (`name.namespace`) through the gateway."""

    async def call(self, function: str, headers: Mapping[str, str]) -> Outcome:
        """Raises nothing but for cancellation."""


@dataclass(frozen=True)
class Limits:
    """How much at once, and how often."""

    in_flight: int = 8
    attempts: int = 10


class Submitted(NamedTuple):
    """What became of events that were handed in; numbers of deliveries, but for `unmatched`."""

    accepted: int
    repeated: int
    """Known already."""
    unmatched: int
    """Events that no function wants."""


class Deliverer:
    """All deliveries of one control process; `allowed` are the buckets that the settings name."""

    def __init__(
        self,
        events: EventLog,
        functions: Mapping[str, Function],
        caller: Caller,
        clock: Clock,
        allowed: Collection[str],
        limits: Limits | None = None,
    ) -> None:
        self.log = events
        self.subscriptions = Subscriptions(functions)
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """Attempts by function and what became of them (`delivered`, `failed`, `dead`), since this process started."""
        self.events: Counter[str] = Counter()
        """Events by what became of them: `accepted`, `repeated`, `unmatched`."""
        self.is_open = False
        self._caller = caller
        self._functions = functions
        self._clock = clock
        self._allowed = allowed
        self._limits = limits or Limits()
        self._busy: dict[str, tuple[str, asyncio.Task[None]]] = {}
        """Calls in progress: function and task by call id."""
        self._more = asyncio.Event()
        self._opened = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return len(self._busy)

    async def submit(self, events: Iterable[ObjectEvent]) -> Submitted:
        """Have functions told. What is accepted is durable on return. Raises DatabaseUnavailable."""
        deliveries, unmatched = self.plan(events)
        added = await self.log.accept(deliveries, self._now()) if deliveries else 0
        return self.taken(added, len(deliveries) - added, unmatched)

    def plan(self, events: Iterable[ObjectEvent]) -> tuple[list[Delivery], int]:
        """Deliveries to be made of events, and how many of these nobody wants."""
        deliveries: list[Delivery] = []
        unmatched = 0
        for event, wanting in self.subscriptions.to_tell(events):
            functions = wanting if event.bucket in self._allowed else []
            deliveries += [Delivery(call_id(event, function), function, event) for function in functions]
            unmatched += not functions
        return deliveries, unmatched

    def taken(self, accepted: int, repeated: int, unmatched: int) -> Submitted:
        """Deliveries are in the log: count them, and begin."""
        submitted = Submitted(accepted, repeated, unmatched)
        self.events.update(submitted._asdict())
        if accepted:
            self.wake()
        return submitted

    def wake(self) -> None:
        """There may be something to do."""
        self._more.set()

    async def opened(self, timeout: float) -> bool:
        """Wait until events are accepted; at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._opened.wait()
        return self.is_open

    async def run(self) -> None:
        """Open the log, then deliver until cancelled. Calls in progress are then given up, and made again by the next process."""
        await self._open()
        forgetting = asyncio.create_task(self._forget())
        try:
            while True:
                try:
                    self._more.clear()
                    now = self._now()
                    await self._begin(now)
                    pause = await self._until_next(now)
                except PenstockError as error:
                    log.error("events cannot be delivered at present: %s", error)
                    pause = OPEN_EVERY
                except Exception:
                    log.exception("events cannot be delivered at present")
                    pause = OPEN_EVERY
                await self._rest(pause)
        finally:
            self.is_open = False
            tasks = [forgetting, *(task for _, task in self._busy.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.log.close()

    async def _open(self) -> None:
        said = ""
        while True:
            try:
                await self.log.open()
                await self.log.hasten(self._now() + LONGEST_WISH)
                break
            except PenstockError as error:
                if said != str(error):
                    log.warning("events of object storage are not accepted yet: %s", error)
                said = str(error)
                await self._clock.sleep(OPEN_EVERY)
        self.is_open = True
        self._opened.set()
        if self.log.counts.pending:
            log.info("%d deliveries of events were not over and are made now", self.log.counts.pending)

    async def _begin(self, now: float) -> None:
        """Start as many calls that are due as there is room for. One function leaves room for others."""
        room = self._limits.in_flight - len(self._busy)
        if room <= 0:
            return
        share = max(1, self._limits.in_flight * 3 // 4)
        running = Counter(function for function, _ in self._busy.values())
        full = [function for function, count in running.items() if count >= share]
        for delivery in await self.log.due(now, room, list(self._busy), full):
            if running[delivery.function] >= share:
                self.wake()  # look again for others' behind these
                continue
            running[delivery.function] += 1
            task = asyncio.create_task(self._deliver(delivery))
            self._busy[delivery.id] = (delivery.function, task)
            task.add_done_callback(partial(self._over, delivery.id))

    async def _until_next(self, now: float) -> float:
        """Seconds until something is due that is not due at `now`; for what is, there is room when a call ends."""
        due = await self.log.next_due(now)
        return LONGEST_PAUSE if due is None else min(LONGEST_PAUSE, max(0.0, due - self._now()))

    async def _rest(self, seconds: float) -> None:
        """Until that time is over or there is more to do."""
        waits = [asyncio.create_task(self._clock.sleep(seconds)), asyncio.create_task(self._wait_for_more())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _wait_for_more(self) -> None:
        await self._more.wait()

    def _over(self, identity: str, _: asyncio.Task[None]) -> None:
        self._busy.pop(identity, None)
        self.wake()

    async def _deliver(self, delivery: Delivery) -> None:
        """One attempt, and its note in the log. If the note fails the delivery is made again, which is what at least once means."""
        try:
            await self._note(delivery, await self._attempt(delivery))
        except PenstockError as error:
            log.error("delivery %s to %s cannot be noted: %s", delivery.id, delivery.function, error)
            await self._clock.sleep(OPEN_EVERY)
        except Exception:
            log.exception("delivery %s to %s", delivery.id, delivery.function)
            await self._clock.sleep(OPEN_EVERY)

    async def _attempt(self, delivery: Delivery) -> Outcome:
        if delivery.function not in self._functions:
            return Outcome(404, "the function is not deployed")
        try:
            headers = self._headers(delivery)
        except InvalidInput as error:
            return Outcome(400, str(error))
        return await self._caller.call(delivery.function, headers)

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        """Of the call. Raises InvalidInput for an output that cannot be, and for one that would call the function again."""
        event = delivery.event
        headers = {
            "X-Call-Id": delivery.id,
            "X-Event-Name": event.name,
            "X-Object-Bucket": event.bucket,
            "X-Object-Key": quote(event.key),
            "X-Object-ETag": event.etag,
            "X-Object-Size": "" if event.size is None else str(event.size),
        }
        if event.kind == "created":
            headers["X-Input-Object"] = str(event.ref)
            output = self._output(delivery)
            headers["X-Output-Object"] = str(output) if output else ""
        return {name: value for name, value in headers.items() if value}

    def _output(self, delivery: Delivery) -> ObjectRef | None:
        event, wanted = delivery.event, self.subscriptions.of(delivery.function)
        if wanted is None or wanted.output is None:
            return None
        output = ObjectRef(wanted.output.bucket, wanted.output.key(event.key, event.etag))
        check_key(output.key)
        if wanted.covers("created", *output):
            raise InvalidInput(f"its output {output} is among its own topics: it would call itself for ever")
        return output

    async def _note(self, delivery: Delivery, outcome: Outcome) -> None:
        now, function, reason = self._now(), delivery.function, printable(outcome.reason)
        if 200 <= outcome.status < 400:
            await self.log.delivered(delivery.id, now)
            self.outcomes[function, "delivered"] += 1
            return
        if not outcome.reached:
            await self.log.put_off(delivery.id, delivery.attempts, now + UNREACHABLE_PAUSE, reason)
            return
        attempts = delivery.attempts + 1
        self.outcomes[function, "failed"] += 1
        if outcome.status not in FINAL and attempts < self._limits.attempts:
            log.info("attempt %d to tell %s failed (call %s): %s", attempts, function, delivery.id, reason)
            await self.log.put_off(delivery.id, attempts, now + pause_after(attempts, outcome), reason)
            return
        await self.log.give_up(delivery.id, attempts, now, reason)
        self.outcomes[function, "dead"] += 1
        log.error(
            "%s could not be told of %s %s and is not any more (call %s, %d attempts): %s",
            function,
            delivery.event.name,
            shown(str(delivery.event.ref)),
            delivery.id,
            attempts,
            reason,
        )

    async def _forget(self) -> None:
        while True:
            try:
                forgotten = await self.log.forget(self._now())
                if forgotten:
                    log.error("%d deliveries that were given up were forgotten to make room for others", forgotten)
            except PenstockError as error:
                log.warning("deliveries that are over cannot be forgotten: %s", error)
            await self._clock.sleep(FORGET_EVERY)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def printable(reason: str) -> str:
    """A function's words, short and on one line."""
    return reason[:LONGEST_REASON].encode("unicode_escape").decode()


def pause_after(attempts: int, outcome: Outcome) -> float:
    """Seconds from a failed attempt, the `attempts`-th, to the next one."""
    pause = min(FIRST_PAUSE * 2.0 ** (attempts - 1), LONGEST_PAUSE)
    return max(pause, min(outcome.retry_after, LONGEST_WISH))
