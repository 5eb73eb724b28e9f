"""The replicas of the docker provider from launch to end: each has one task, which starts its container, waits for its end
and tells it exactly once.

The docker runtime owns one `Lives` and hands on what it is asked for and what `deaths` sees. What cannot be done because the
engine is away is done when it answers again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from functools import partial

from penstock.errors import PenstockError, ProviderUnavailable
from penstock.model import LogQuery
from penstock.providers.containers.adopting import RUNNING, Found
from penstock.providers.containers.deaths import Happening
from penstock.providers.containers.endings import DISCONNECTED, REMOVED, reason_of
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.entry import Entry
from penstock.providers.containers.following import Changes
from penstock.providers.containers.kept import Kept
from penstock.providers.containers.logsource import Source
from penstock.providers.containers.remains import Remains, Remnant
from penstock.providers.containers.removal import Removal
from penstock.providers.containers.resting import Resting
from penstock.providers.containers.starting import Starter
from penstock.providers.runtimes.base import Events, Order

RETRY_FIRST, RETRY_LAST = 0.1, 2.0
"""Seconds before an engine that is away or refuses is told once more to end a replica; they double in between."""
_ABSENT, _CONFLICT = 404, 409

_log = logging.getLogger(__name__)


class Lives:
    """All replicas that were launched or found and have not ended. `network` is the name of the one they are on."""

    def __init__(
        self,
        engine: Engine,
        starter: Starter,
        network: str,
        events: Events,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.entries: dict[str, Entry] = {}
        """By token."""
        self.changes = Changes()
        self._engine = engine
        self._starter = starter
        self._network = network
        self._events = events
        self._sleep = sleep
        self._remains = Remains()
        self.remove = Removal(starter.remove, sleep)
        self._resting = Resting(engine, starter, self.remove, sleep)
        self._tasks: set[asyncio.Task[None]] = set()

    def launch(self, order: Order) -> str:
        """Begin to start a replica; the address of the container that was kept for it, if that is where it will be."""
        entry = Entry(order)
        self.entries[order.token] = entry
        if outdated := self._resting.outdated(order):
            self.stop(outdated.order.token, kill=False)
        kept = self._resting.take(order)
        if kept:
            kept.lend(entry)
        self._spawn(self._live(entry, kept))
        return entry.address if kept and kept.manner == "pause" else ""

    def adopt(self, entry: Entry) -> None:
        """One that runs already."""
        self.entries[entry.order.token] = entry
        self._spawn(self._until_end(entry))

    def stop(self, token: str, kill: bool) -> None:
        entry = self.entries.get(token)
        if entry and entry.ask(kill) and entry.stage == "running":
            self._spawn(self._carry_out(entry))

    def rest(self, token: str) -> None:
        """Its function is at zero: its container may be kept for the next replica, if the function says so."""
        entry = self.entries.get(token)
        if entry and not entry.wish and self._resting.lay_down(entry) and entry.rest == "pause":
            return
        self.stop(token, kill=False)

    def forget(self, key: str) -> None:
        """The function was deleted: nothing is kept for it."""
        for entry in self.entries.values():
            if entry.order.spec.key == key and entry.rest == "stop":
                entry.rest = ""
        if waiting := self._resting.forget(key):
            self.stop(waiting.order.token, kill=False)

    async def close(self) -> None:
        """Let go of what runs, and wait until what ended has been removed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._resting.close()
        self.remove(self._remains.drop_all())
        self.remove(entry.container for entry in self.entries.values() if entry.wish)
        await self.remove.close()

    # Logs

    def sources(self, query: LogQuery) -> list[Source]:
        """Logs of a function's containers: those that ended by themselves, then those that run."""
        key = f"{query.name}.{query.namespace}"
        ended = [Source(_log_path(one.container), one.replica, alive=False) for one in self._remains.of(key)]
        kept = [
            Source(_log_path(one.container), one.record.order.replica, alive=one.manner == "pause")
            for one in self._resting.containers(key)
        ]
        running = [entry for entry in self.entries.values() if entry.order.spec.key == key and entry.stage == "running"]
        return [*ended, *kept, *(Source(_log_path(entry.container), entry.order.replica) for entry in running)]

    def forget_logs(self, key: str, keep: Collection[str]) -> None:
        self.remove(self._remains.drop(key, keep))
        self.changes.fire()

    # What the engine tells

    def happened(self, happening: Happening) -> None:
        entry = self._by_container(happening.container)
        if entry is None:
            self._happened_to_kept(happening)
        elif happening.action == "die":
            self._died(entry, happening.at)
        elif happening.action == "start":
            entry.revived = entry.ended.done()
        elif happening.action == "destroy":
            entry.end(REMOVED)
        elif happening.action == "pause":
            if entry.rest != "pause":
                self._spawn(self._unpause(entry))
        elif happening.network == self._network and entry.stage == "running" and not entry.wish:
            # One that is being started again may still be seen to leave its network at its end before.
            self._spawn(self._examine(entry))

    def _died(self, entry: Entry, at: float) -> None:
        """A container that was kept may have died before, and an engine's clock may have been set back since its start."""
        if entry.started_at and at > entry.started_at.timestamp():
            entry.end()
        elif entry.stage == "running":
            self._spawn(self._examine(entry))
        else:
            entry.doubted = True

    def _happened_to_kept(self, happening: Happening) -> None:
        if happening.action in ("die", "destroy", "start"):
            self._resting.gone(happening.container)
            if happening.action == "start" and happening.container in self._remains:
                self._spawn(self._end_revived(happening.container))
        elif happening.network == self._network:
            self._resting.disconnected(happening.container)

    def running(self) -> frozenset[str]:
        """Tokens of replicas whose containers run, as far as anyone knows."""
        return frozenset(token for token, entry in self.entries.items() if entry.stage == "running")

    def look_again(self, found: Iterable[Found], asked_about: Collection[str]) -> None:
        """Compare with all that the engine has, after a time in which nothing could be seen. What it has says nothing of
        replicas that did not run when it was asked for: only of those with these tokens."""
        there = {one.container: one for one in found}
        for entry in list(self.entries.values()):
            if entry.order.token in asked_about and entry.stage == "running":
                self._compare(entry, there.get(entry.container))
        self._resting.compare(there)
        kept = {one.container for one in self._resting.containers()}
        known = {entry.container for entry in self.entries.values()} | set(self._remains) | kept
        replicas = [one for one in there.values() if one.replica and one.token not in self.entries]
        self.remove(one.container for one in replicas if one.container not in known)

    def _compare(self, entry: Entry, found: Found | None) -> None:
        if found is None:
            entry.end(REMOVED)
        elif found.state not in RUNNING:
            entry.end()
        elif self._network not in found.networks:
            entry.end(DISCONNECTED)
        elif found.state == "paused" and not entry.rest:
            self._spawn(self._unpause(entry))

    # The life of one

    async def _live(self, entry: Entry, kept: Kept | None) -> None:
        try:
            if not await self._wake(entry, kept):
                await self._starter.start(entry, partial(self._events.waiting, entry.order.token))
        except PenstockError as error:
            self._failed(entry, str(error))
            return
        except Exception as error:
            _log.exception("replica %s could not be started", entry.order.replica)
            self._failed(entry, f"it could not be started: {type(error).__name__}; the server's log says more")
            return
        if entry.doubted:
            self._spawn(self._examine(entry))
        if entry.wish:
            self._spawn(self._carry_out(entry))
        elif entry.address:
            self._events.addressed(entry.order.token, entry.address)
        self.changes.fire()
        await self._until_end(entry)

    async def _wake(self, entry: Entry, kept: Kept | None) -> bool:
        """Whether the container that was kept is the replica's now. One that cannot be woken is of no use to anybody."""
        if kept is None:
            kept = await self._resting.take_later(entry.order)
            if kept is None:
                return False
            kept.lend(entry)
        try:
            await self._resting.wake(kept, entry)
        except PenstockError as error:
            _log.info("container %s cannot be woken, another is started: %s", kept.name or kept.container[:12], error)
            self.remove([kept.container])
            if kept.manner == "pause":
                self._events.addressed(entry.order.token, "")
            entry.begin_anew()
            return False
        entry.stage = "running"
        return True

    async def _until_end(self, entry: Entry) -> None:
        why = await entry.ended
        by_itself = not (why or entry.wish)
        if entry.rest == "stop" and entry.wish and not why:
            self._resting.keep_stopped(entry)
        reason = why or await self._reason(entry)
        if by_itself and not entry.revived:
            # Before its end is told, upon which the logs of a deleted function are forgotten.
            remnant = Remnant(entry.container, entry.order.replica)
            self.remove(self._remains.add(entry.order.spec.key, remnant))
        elif not entry.kept:
            self.remove([entry.container])
        self._over(entry, reason)

    async def _reason(self, entry: Entry) -> str:
        if entry.wish:
            return "ended as it was told"
        try:
            return await reason_of(self._engine, entry.container)
        except EngineRefused:
            return REMOVED
        except ProviderUnavailable:
            return "ended, nobody saw how"

    def _failed(self, entry: Entry, reason: str) -> None:
        """It was not started; a container that could not be removed at once is removed later."""
        self._over(entry, reason)
        self.remove([entry.container])

    def _over(self, entry: Entry, reason: str) -> None:
        self.entries.pop(entry.order.token, None)
        self.changes.fire()
        self._events.exited(entry.order.token, reason)

    async def _carry_out(self, entry: Entry) -> None:
        """Do to its container what `stop` has asked for, again and again until the engine has done it."""
        wish, pause = entry.wish, RETRY_FIRST
        while not await self._ended_as(wish, entry):
            _log.info("replica %s will be told to end once more in %g s", entry.order.replica, pause)
            await self._sleep(pause)
            pause = min(pause * 2, RETRY_LAST)
            if entry.ended.done() or entry.wish != wish:  # a stronger wish is another's to carry out
                return

    async def _ended_as(self, wish: str, entry: Entry) -> bool:
        """Whether the engine has taken the wish. By force means removed, but for a container that is to be kept."""
        if wish == "kill" and entry.rest != "stop":
            gone = await self._starter.remove(entry.container)
            if gone:
                entry.end("ended by force")
            return gone
        try:
            name = "SIGKILL" if wish == "kill" else entry.stop_signal
            await self._engine.post(f"/containers/{entry.container}/kill", signal=name)
        except EngineRefused as error:
            if error.code != _CONFLICT:  # it may run, and is ended by force and not kept
                entry.rest = ""
            entry.end(REMOVED if error.code == _ABSENT else "")
        except ProviderUnavailable:
            return False
        return True

    async def _end_revived(self, container: str) -> None:
        """Somebody may have started what had ended: nobody would use it, or end it."""
        with suppress(EngineRefused, ProviderUnavailable):
            document = await self._engine.get(f"/containers/{container}/json")
            if document["State"]["Running"]:
                _log.warning("container %s was started by somebody else after its end; it is removed", document["Name"])
                self._remains.discard(container)
                self.remove([container])

    async def _unpause(self, entry: Entry) -> None:
        """Somebody froze a replica that is wanted: requests to it would hang."""
        with suppress(EngineRefused, ProviderUnavailable):
            document = await self._engine.get(f"/containers/{entry.container}/json")
            if not document["State"]["Paused"] or entry.rest:
                return
            _log.warning("container %s was paused by somebody else; it goes on", document["Name"])
            await self._engine.post(f"/containers/{entry.container}/unpause")

    async def _examine(self, entry: Entry) -> None:
        """Whether it runs and is connected. A container leaves its network when it ends, too; then its end is what matters."""
        with suppress(EngineRefused, ProviderUnavailable):
            document = await self._engine.get(f"/containers/{entry.container}/json")
            if not document["State"]["Running"]:
                entry.end()
            elif self._network not in (document["NetworkSettings"].get("Networks") or {}):
                entry.end(DISCONNECTED)

    # Shared

    def _by_container(self, container: str) -> Entry | None:
        return next((entry for entry in self.entries.values() if entry.container == container), None)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            _log.error("looking after a container failed", exc_info=task.exception())


def _log_path(container: str) -> str:
    return f"/containers/{container}/logs"
