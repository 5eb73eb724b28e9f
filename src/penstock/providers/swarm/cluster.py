"""The Swarm as it is: our services, their tasks, pipelines, and the nodes; looked at when an event says that something changed.

Called by the provider, which is told after every change. Tasks have no events, so they are listed after those of services, nodes
and containers, at short intervals while something is under way, and every few seconds otherwise. Writes are `authority`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress

from penstock.errors import ProviderUnavailable
from penstock.providers.clock import Clock
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.swarm import marks

STEADY = 5.0
"""Seconds between two looks when nothing is under way: a task that ends on another node is seen this late at most."""
HURRIED = 0.1
GROWTH = 1.1
"""Between two looks while something is under way, and how the pause grows for as long as nothing changes: 1 s after 10 s."""
LEAST = 0.05
"""Between any two looks, however many events there are."""
RECONNECT = 0.5
"""Before a manager that does not answer is asked again."""
EVENTS = ("service", "node", "container", "network", "secret", "config")

_log = logging.getLogger(__name__)


class Cluster:
    """What the manager tells."""

    def __init__(self, engine: Engine, installation: str, clock: Clock) -> None:
        self.services: dict[str, Document] = {}
        self.tasks: dict[str, list[Document]] = {}
        """By service."""
        self.nodes: dict[str, Document] = {}
        self.pipelines: dict[str, Document] = {}
        """Configs that keep named pipelines."""
        self._engine = engine
        self._installation = installation
        self._clock = clock
        self._written: dict[str, int] = {}
        self._writes = 0
        self._wake = asyncio.Event()
        self._pause = STEADY
        self._away = False
        self._broken = False
        """Whether the events stream broke off since the last look."""
        self._changed: Callable[[], None] = lambda: None
        self._busy: Callable[[], bool] = lambda: False
        self._returned: Callable[[], None] = lambda: None
        self._looking = asyncio.Lock()
        """One look after the other: what an earlier one has found does not undo what a later one has."""
        self._loops: list[asyncio.Task[None]] = []

    def follow(self, changed: Callable[[], None], busy: Callable[[], bool], returned: Callable[[], None]) -> None:
        """From now on call `changed` after every look, and `returned` first when the manager was away before it; look often while
        `busy` says so."""
        self._changed, self._busy, self._returned = changed, busy, returned
        self._loops = [asyncio.create_task(self._listen()), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def look(self) -> None:
        """List everything. Raises ProviderUnavailable."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        seen = self._writes
        try:
            services = await self._engine.get("/services", filters=marks.owned(self._installation, marks.SERVICE))
            tasks = await self._engine.get("/tasks", filters=marks.owned(self._installation))
            nodes = await self._engine.get("/nodes")
            pipelines = await self._engine.get("/configs", filters=marks.owned(self._installation, marks.PIPELINE))
        except EngineRefused as error:
            raise ProviderUnavailable(f"the Swarm cannot be asked now: {error}") from error
        self._take_services({service["ID"]: service for service in services or ()}, seen)
        self.tasks = {}
        for task in tasks or ():
            self.tasks.setdefault(task.get("ServiceID", ""), []).append(task)
        self.nodes = {node["ID"]: node for node in nodes or ()}
        self.pipelines = {config["ID"]: config for config in pipelines or ()}

    def wrote(self, service_id: str, service: Document | None) -> None:
        """A service was made, changed or removed by us. Lists that were asked for earlier do not undo it."""
        self._writes += 1
        self._written[service_id] = self._writes
        if service:
            self.services[service_id] = service
        else:
            self.services.pop(service_id, None)
        self.hurry()

    def hurry(self) -> None:
        """Something is under way: look soon."""
        self._pause = HURRIED
        self._wake.set()

    def _take_services(self, listed: dict[str, Document], seen: int) -> None:
        for service_id, number in list(self._written.items()):
            if number <= seen:
                del self._written[service_id]
            elif service_id in self.services:
                listed[service_id] = self.services[service_id]
            else:
                listed.pop(service_id, None)
        self.services = listed

    async def _listen(self) -> None:
        """Be woken by events; list again after every time without them."""
        while True:
            try:
                async with aclosing(self._engine.documents("/events", filters={"type": list(EVENTS)})) as events:
                    self.hurry()
                    async for event in events:
                        if self._concerns(event):
                            self.hurry()
            except (ProviderUnavailable, EngineRefused):
                pass  # said by `_looked`, which finds the same
            except Exception:
                _log.exception("an event of the Swarm could not be read")
            self._broken = True
            await self._clock.sleep(RECONNECT)

    def _concerns(self, event: Document) -> bool:
        """Of containers only those of our services, and not every command that is run in them."""
        if event.get("Type") != "container":
            return True
        attributes = (event.get("Actor") or {}).get("Attributes") or {}
        return marks.is_ours(attributes, self._installation) and not str(event.get("Action", "")).startswith("exec")

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._wake.wait()
            self._wake.clear()
            before = self.tasks
            if not await self._looked():
                await self._clock.sleep(RECONNECT)
                self._pause = HURRIED
                continue
            try:
                if self._broken:
                    self._broken = False
                    self._returned()
                self._changed()
            except Exception:
                _log.exception("what the Swarm tells could not be followed")
            self._pause = min(self._pause * GROWTH, STEADY) if self._busy() else STEADY
            if self.tasks != before:
                self._pause = HURRIED
            await self._clock.sleep(LEAST)

    async def _looked(self) -> bool:
        """Whether the manager answers; said once when that changes."""
        try:
            await self.look()
        except Exception as error:
            if not self._away:
                foreign = None if isinstance(error, ProviderUnavailable) else error
                _log.warning("functions stay as they were last seen: %s", str(error) or repr(error), exc_info=foreign)
            self._away = True
            return False
        if self._away:
            _log.info("the Swarm's manager answers again")
        self._away = False
        return True
