"""The replicas of the docker provider from launch to end: each has one task, which starts its container, waits for its end
and tells it exactly once.

The docker runtime owns one `Lives` and hands on what it is asked for and what `deaths` sees. What cannot be done because the
engine is away is done when it answers again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable
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
from penstock.providers.containers.resting import Resting
from penstock.providers.containers.starting import Starter
from penstock.providers.runtimes.base import Events, Order

CLEANING_LIMIT = 20.0
"""Seconds that `close` waits for containers to be removed; what stays is removed by the next start."""
_ABSENT = 404

_log = logging.getLogger(__name__)


class Lives:
    """All replicas that were launched or found and have not ended. `network` is the name of the one they are on."""

    def __init__(self, engine: Engine, starter: Starter, network: str, events: Events) -> None:
        self.entries: dict[str, Entry] = {}
        """By token."""
        self.changes = Changes()
        self._engine = engine
        self._starter = starter
        self._network = network
        self._events = events
        self._remains = Remains()
        self._resting = Resting(engine, starter, self.remove)
        self._tasks: set[asyncio.Task[None]] = set()
        self._cleaning: set[asyncio.Task[None]] = set()

    def launch(self, order: Order) -> str:
        """Begin to start a replica; the address of the container that was kept for it, if that is where it will be."""
        entry = Entry(order)
        self.entries[order.token] = entry
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
        if waiting := self._resting.forget(key):
            self.stop(waiting.order.token, kill=False)

    async def close(self) -> None:
        """Let go of what runs, and wait until what ended has been removed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._resting.close()
        self.remove(self._remains.drop_all())
        if self._cleaning:
            await asyncio.wait(self._cleaning, timeout=CLEANING_LIMIT)
        for task in self._cleaning:
            task.cancel()

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
            # A container that was kept has died before, if it was stopped.
            if entry.started_at is None or happening.at > entry.started_at.timestamp():
                entry.end()
        elif happening.action == "destroy":
            entry.end(REMOVED)
        elif happening.action == "pause":
            if entry.rest != "pause":
                self._spawn(self._unpause(entry))
        elif happening.network == self._network and entry.stage == "running" and not entry.wish:
            # One that is being started again may still be seen to leave its network at its end before.
            self._spawn(self._check_connection(entry))

    def _happened_to_kept(self, happening: Happening) -> None:
        if happening.action in ("die", "destroy"):
            self._resting.gone(happening.container)
        elif happening.network == self._network:
            self._resting.disconnected(happening.container)

    def look_again(self, found: Iterable[Found]) -> None:
        """Compare with all that the engine has, after a time in which nothing could be seen."""
        there = {one.container: one for one in found}
        for entry in list(self.entries.values()):
            if entry.stage == "running":
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
        elif entry.wish:
            self._spawn(self._carry_out(entry))
        elif found.state == "paused" and not entry.rest:
            self._spawn(self._unpause(entry))

    # The life of one

    async def _live(self, entry: Entry, kept: Kept | None) -> None:
        try:
            if not await self._wake(entry, kept):
                await self._starter.start(entry, partial(self._events.waiting, entry.order.token))
        except PenstockError as error:
            self._over(entry, str(error))
            return
        except Exception as error:
            _log.exception("replica %s could not be started", entry.order.replica)
            self._over(entry, f"it could not be started: {type(error).__name__}; the server's log says more")
            return
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
            entry.container = ""
            return False
        entry.stage = "running"
        return True

    async def _until_end(self, entry: Entry) -> None:
        why = await entry.ended
        by_itself = not (why or entry.wish)
        if entry.rest == "stop" and entry.wish == "end" and not why:
            self._resting.keep_stopped(entry)
        self._over(entry, why or await self._reason(entry))
        if entry.kept:
            return
        if by_itself:
            remnant = Remnant(entry.container, entry.order.replica)
            self.remove(self._remains.add(entry.order.spec.key, remnant))
        else:
            self.remove([entry.container])

    async def _reason(self, entry: Entry) -> str:
        if entry.wish:
            return "ended as it was told"
        try:
            return await reason_of(self._engine, entry.container)
        except EngineRefused:
            return REMOVED
        except ProviderUnavailable:
            return "ended, nobody saw how"

    def _over(self, entry: Entry, reason: str) -> None:
        self.entries.pop(entry.order.token, None)
        self.changes.fire()
        self._events.exited(entry.order.token, reason)

    async def _carry_out(self, entry: Entry) -> None:
        """Do to its container what `stop` has asked for. An engine that is away is asked again when it is back."""
        if entry.wish == "kill":
            if await self._starter.remove(entry.container):
                entry.end("ended by force")
            return
        try:
            await self._engine.post(f"/containers/{entry.container}/kill", signal=entry.stop_signal)
        except EngineRefused as error:
            entry.end(REMOVED if error.code == _ABSENT else "")
        except ProviderUnavailable:
            _log.info("replica %s will be told to end when the engine is back", entry.order.replica)

    async def _unpause(self, entry: Entry) -> None:
        """Somebody froze a replica that is wanted: requests to it would hang."""
        with suppress(EngineRefused, ProviderUnavailable):
            document = await self._engine.get(f"/containers/{entry.container}/json")
            if not document["State"]["Paused"] or entry.rest:
                return
            _log.warning("container %s was paused by somebody else; it goes on", document["Name"])
            await self._engine.post(f"/containers/{entry.container}/unpause")

    async def _check_connection(self, entry: Entry) -> None:
        """A container leaves its network when it ends, too; then its end is what matters."""
        with suppress(EngineRefused, ProviderUnavailable):
            document = await self._engine.get(f"/containers/{entry.container}/json")
            if not document["State"]["Running"]:
                entry.end()
            elif self._network not in (document["NetworkSettings"].get("Networks") or {}):
                entry.end(DISCONNECTED)

    # Shared

    def remove(self, containers: Iterable[str]) -> None:
        """Remove these, behind everything else."""
        for container in containers:
            self._spawn(self._remove(container), self._cleaning)

    async def _remove(self, container: str) -> None:
        if not await self._starter.remove(container):
            _log.info("container %s is removed later", container[:12])

    def _by_container(self, container: str) -> Entry | None:
        return next((entry for entry in self.entries.values() if entry.container == container), None)

    def _spawn(self, work: Coroutine[object, object, None], group: set[asyncio.Task[None]] | None = None) -> None:
        """`group` is waited for when closing, the others are cancelled."""
        tasks = self._tasks if group is None else group
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(partial(_finished, tasks))


def _log_path(container: str) -> str:
    return f"/containers/{container}/logs"


def _finished(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled() and task.exception():
        _log.error("looking after a container failed", exc_info=task.exception())
