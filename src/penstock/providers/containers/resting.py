"""Zero without an end: a function's last container is stopped or frozen instead of removed, and is the next replica's.

`lives` calls it when a replica is no longer wanted because its function is at zero, and when one is wanted again. Waking a
frozen one is one request to the engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from penstock.errors import ProviderUnavailable
from penstock.model import FunctionSpec
from penstock.providers.containers import labels
from penstock.providers.containers.adopting import Found
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.entry import Entry
from penstock.providers.containers.freezing import until_idle
from penstock.providers.containers.kept import Kept, Manner, Shelf, digest_of, keep
from penstock.providers.containers.starting import Starter
from penstock.providers.limits import limits_of
from penstock.providers.runtimes.base import Order

_STATES = {"stop": "exited", "pause": "paused"}

_log = logging.getLogger(__name__)

Remove = Callable[[Iterable[str]], None]


class Resting:
    """What is kept of a provider's functions. `remove` gets containers that nobody wants any more."""

    def __init__(
        self,
        engine: Engine,
        starter: Starter,
        remove: Remove,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.shelf = Shelf()
        self._engine = engine
        self._starter = starter
        self._remove = remove
        self._sleep = sleep
        self._freezing: dict[str, tuple[Entry, asyncio.Task[None]]] = {}
        """By function: those that are about to be frozen."""
        self._pausing: set[str] = set()
        """Functions whose container the engine is freezing at this moment."""

    # To rest

    def lay_down(self, entry: Entry) -> bool:
        """The function is at zero; False when this replica is to end as any other."""
        key, manner = entry.order.spec.key, manner_of(entry.order.spec)
        if manner is None or entry.stage != "running" or self.shelf.of(key) or key in self._freezing:
            return False
        entry.rest = manner
        if manner == "pause":
            task = asyncio.get_running_loop().create_task(self._freeze(entry))
            self._freezing[key] = entry, task
        return True

    def keep_stopped(self, entry: Entry) -> None:
        """It has ended, and can be started again."""
        self._put(entry, "stop")

    async def _freeze(self, entry: Entry) -> None:
        """Freeze it when nobody is connected to it. Until then it can be taken back, and after that it is kept."""
        key = entry.order.spec.key
        port = entry.record.port if entry.record else 0
        try:
            grace = limits_of(entry.order.spec).grace
            await until_idle(entry.pid, entry.container, port, self._sleep, grace=grace)
            self._pausing.add(key)
            with suppress(ProviderUnavailable, EngineRefused):
                await self._engine.post(f"/containers/{entry.container}/pause")
                if not entry.wish:  # else it was told to end meanwhile
                    self._put(entry, "pause")
                    entry.end("kept")
        finally:
            # One that was taken back has left its place, to another perhaps.
            if self._freezing.get(key, (None,))[0] is entry:
                self._pausing.discard(key)
                del self._freezing[key]

    def _put(self, entry: Entry, manner: Manner) -> None:
        entry.kept = True
        before = self.shelf.put(entry.order.spec.key, keep(entry, manner))
        if before:
            self._remove([before.container])

    # To wake

    def outdated(self, order: Order) -> Entry | None:
        """A replica that waits to be frozen, though it is not what this order would start: given back, it has to end."""
        key = order.spec.key
        if key not in self._freezing or key in self._pausing:
            return None
        record = self._freezing[key][0].record
        return None if record and record.fits(order) else self._give_back(key)

    def take(self, order: Order) -> Kept | None:
        """A container that can be used for this order at once, if there is one; one that does not fit is removed."""
        key = order.spec.key
        if key in self._freezing and key not in self._pausing:
            entry, task = self._freezing.pop(key)
            task.cancel()
            if not entry.wish and not entry.ended.done():
                self._put(entry, "pause")
                entry.end("kept")
        kept = self.shelf.take(key)
        if kept and not kept.fits(order):
            self._remove([kept.container])
            return None
        return kept

    async def take_later(self, order: Order) -> Kept | None:
        """As `take`, once the engine has frozen what it is freezing at this moment."""
        key = order.spec.key
        if key in self._pausing:
            await asyncio.wait({self._freezing[key][1]})
        return self.take(order)

    async def wake(self, kept: Kept, entry: Entry) -> None:
        """Its program runs again, and `entry` has its address. Raises PenstockError, after which it is of no use."""
        if kept.secrets != digest_of(entry.order.secrets):
            await self._starter.upload(kept.container, entry.order.secrets)
        if kept.manner == "pause":
            await self._unpause(kept.container)
        else:
            await self._engine.post(f"/containers/{kept.container}/start")
            await self._starter.read(entry)

    async def _unpause(self, container: str) -> None:
        try:
            await self._engine.post(f"/containers/{container}/unpause")
        except EngineRefused as error:
            if "not paused" not in str(error):
                raise

    # To be forgotten

    def forget(self, key: str) -> Entry | None:
        """The function was deleted. A replica that waits to be frozen, or is being frozen, is given back: it has to end."""
        self._drop(key)
        return self._give_back(key) if key in self._freezing else None

    def _give_back(self, key: str) -> Entry:
        entry, task = self._freezing[key]
        if key not in self._pausing:
            del self._freezing[key]
            task.cancel()
        entry.rest = ""
        return entry

    def gone(self, container: str) -> None:
        """This container has ended, or was removed or disconnected, by somebody else."""
        key = self.shelf.key_of(container)
        if key:
            self._drop(key)

    def disconnected(self, container: str) -> None:
        """What is stopped leaves its network by itself."""
        kept = self.shelf.of(self.shelf.key_of(container))
        if kept and kept.manner == "pause":
            self.gone(container)

    def containers(self, key: str = "") -> list[Kept]:
        """Those of all functions, or of one."""
        return [kept for one in self.shelf if (kept := self.shelf.of(one)) and key in ("", one)]

    def compare(self, found: dict[str, Found]) -> None:
        """With what the engine has, by the ids of containers."""
        for key in self.shelf:
            kept = self.shelf.of(key)
            there = found.get(kept.container) if kept else None
            if kept and (there is None or there.state != _STATES[kept.manner]):
                self._drop(key)

    def close(self) -> None:
        for key in self.shelf:
            self._drop(key)
        for _, task in self._freezing.values():
            task.cancel()

    def _drop(self, key: str) -> None:
        kept = self.shelf.take(key)
        if kept:
            self._remove([kept.container])


def manner_of(spec: FunctionSpec) -> Manner | None:
    """None for those of which nothing is kept."""
    value = spec.labels.get(labels.ZERO, "")
    return "stop" if value == "stop" else "pause" if value == "pause" else None
