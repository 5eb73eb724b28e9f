"""All functions of the installation: follows what the cluster shows, and does in the background what that makes due.

Called by the provider and by the cluster. What is due: completing a drafted service, removing one that had its day, reading the
last words of a task. Every step can be cut short by the end of this process; the next one finds in the Swarm where to go on.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from penstock.errors import FunctionNotFound, PenstockError
from penstock.model import Function
from penstock.providers.clock import Clock
from penstock.providers.containers.engine import Document
from penstock.providers.swarm.authority import Authority
from penstock.providers.swarm.cluster import Cluster
from penstock.providers.swarm.generation import Generation, generation_of
from penstock.providers.swarm.preparing import Preparer
from penstock.providers.swarm.tracked import Progress, Tracked, Ways

SETTLE = 0.2
"""Seconds between a replica leaving the routes and its end, so that workers have heard of it."""
RETRY_FIRST, RETRY_LAST = 2.0, 60.0
"""Seconds before a failed preparation is tried again; doubled each time."""
READERS = 4
"""Logs of ended tasks that are read at once."""

_log = logging.getLogger(__name__)

LastWords = Callable[[Document], Coroutine[Any, Any, str]]
"""Reads what a task that ended wrote last."""


class Fleet:
    """`published` is called with the key of each function that is new, different or gone."""

    def __init__(
        self, cluster: Cluster, authority: Authority, preparer: Preparer, ways: Ways, last_words: LastWords
    ) -> None:
        self._cluster = cluster
        self._authority = authority
        self._preparer = preparer
        self._ways = ways
        self._clock: Clock = ways.clock
        self._last_words = last_words
        self.published: Callable[[str], None] = lambda key: None
        self.removed: Callable[[], None] = lambda: None
        self.renew: Callable[[str, str], Awaitable[None]] = _nothing
        self._tracked: dict[str, Tracked] = {}
        self._shown: dict[str, Function] = {}
        self._condemned: set[str] = set()
        """Services of functions that are being deleted."""
        self._preparing: dict[str, asyncio.Task[None]] = {}
        """By service."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Semaphore(READERS)
        self._restoring = False
        self._reached: set[str] = set()
        """Networks that our own container is in, or is about to join."""

    @property
    def keys(self) -> list[str]:
        return list(self._shown)

    @property
    def watchdogs(self) -> set[str]:
        """Volumes with a watchdog that functions use."""
        return {generation.watchdog for tracked in self._tracked.values() for generation in tracked.generations}

    def find(self, key: str) -> Tracked | None:
        return self._tracked.get(key)

    def view(self, key: str) -> Function | None:
        return self._shown.get(key)

    def busy(self) -> bool:
        """Whether something is under way that will be over soon."""
        return bool(self._condemned) or any(not tracked.settled for tracked in self._tracked.values())

    def refresh(self) -> None:
        """Take over what the cluster shows."""
        self._condemned &= self._cluster.services.keys()
        found = self._found()
        for gone in self._preparing.keys() - self._cluster.services.keys():
            self._preparing[gone].cancel()
        for key in self._tracked.keys() - found.keys():
            self._tracked.pop(key).close()
            self._show(key)
        for key, generations in found.items():
            tracked = self._tracked.get(key)
            if not tracked:
                tracked = self._tracked[key] = Tracked(
                    key, self._ways, functools.partial(self._turn, key), functools.partial(self._condemn, key)
                )
            tracked.see(generations, self._cluster.tasks, self._cluster.nodes)
            self._turn(key)

    def doubt(self) -> None:
        """The manager was away, as when its engine was restarted: what it says to run may not run any more."""
        for tracked in self._tracked.values():
            tracked.doubt()

    async def retire(self, key: str) -> None:
        """Take a deleted function out of the routes, and then out of the Swarm. Raises ProviderUnavailable."""
        tracked = self._tracked.get(key)
        services = [generation.id for generation in tracked.generations] if tracked else []
        shown = self._shown.get(key)
        self._condemned.update(services)
        self.refresh()
        try:
            if shown and shown.endpoints:
                await self._clock.sleep(SETTLE)
            for service in services:
                await self._authority.remove(service)
        finally:
            # What could not be removed is deployed as before.
            self._condemned.difference_update(services)
            self.refresh()
        self.removed()

    async def close(self) -> None:
        tasks = [*self._tasks, *self._preparing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for tracked in self._tracked.values():
            tracked.close()

    def _found(self) -> dict[str, list[Generation]]:
        """Generations by function, without those of functions that are being deleted."""
        found: dict[str, list[Generation]] = {}
        for service_id, service in self._cluster.services.items():
            generation = generation_of(service) if service_id not in self._condemned else None
            if generation:
                found.setdefault(generation.spec.key, []).append(generation)
        return found

    # Steps

    def _turn(self, key: str) -> None:
        """Something changed about a function: begin what is due, tell what is different."""
        tracked = self._tracked.get(key)
        if not tracked:
            return
        due = [generation for generation in tracked.due() if generation.id not in tracked.leaving]
        if due:
            tracked.leaving.update(generation.id for generation in due)
            self._spawn(self._remove(tracked, due))
        if not tracked.newest.planned and tracked.newest.id not in self._preparing:
            self._begin_preparing(tracked)
        for task in tracked.ended_tasks():
            tracked.last_words[task["ID"]] = ""
            self._spawn(self._read_last_words(tracked, task))
        for network in {generation.network for generation in tracked.generations} - self._reached - {""}:
            self._reached.add(network)
            self._spawn(self._reach(network))
        self._show(key)

    def _show(self, key: str) -> None:
        tracked = self._tracked.get(key)
        view = tracked.view() if tracked else None
        if view == self._shown.get(key):
            return
        if view:
            self._shown[key] = view
        else:
            del self._shown[key]
        self.published(key)

    async def _remove(self, tracked: Tracked, due: list[Generation]) -> None:
        await self._clock.sleep(SETTLE)
        try:
            for generation in due:
                await self._authority.remove(generation.id)
        except PenstockError as error:
            _log.warning("an older service of %s stays for now: %s", tracked.key, error)
            await self._clock.sleep(RETRY_FIRST)
            tracked.leaving.difference_update(generation.id for generation in due)
        self.refresh()
        self.removed()

    def _begin_preparing(self, tracked: Tracked) -> None:
        tracked.progress = Progress()
        service = tracked.newest.id
        task = asyncio.create_task(self._prepare(tracked, tracked.newest))
        self._preparing[service] = task
        task.add_done_callback(lambda done: self._prepared(service, done))

    def _prepared(self, service: str, done: asyncio.Task[None]) -> None:
        self._preparing.pop(service, None)
        _report(done)

    async def _prepare(self, tracked: Tracked, generation: Generation) -> None:
        """Until it is complete, gone or no longer the newest."""
        pause = RETRY_FIRST

        def tell(reason: str) -> None:
            self._tell(tracked, generation, Progress(reason))

        while tracked.newest.id == generation.id:
            try:
                await self._preparer.prepare(generation, tell)
            except FunctionNotFound:
                return
            except PenstockError as error:
                self._tell(tracked, generation, Progress(str(error), stuck=True))
            else:
                self.refresh()
                return
            await self._clock.sleep(pause)
            pause = min(pause * 2, RETRY_LAST)

    def _tell(self, tracked: Tracked, generation: Generation, progress: Progress) -> None:
        if tracked.newest.id == generation.id:
            tracked.progress = progress
            self._turn(tracked.key)

    async def _read_last_words(self, tracked: Tracked, task: Document) -> None:
        async with self._reading:
            tracked.last_words[task["ID"]] = await self._last_words(task)
        self._show(tracked.key)
        if tracked.lacks_watchdog(task) and not self._restoring:
            self._restoring = True
            await self._restore(tracked)

    async def _restore(self, tracked: Tracked) -> None:
        try:
            _log.warning("the watchdog is gone from a node; it is brought there again")
            await self._preparer.restore(tracked.newest.spec)
        except PenstockError as error:
            _log.warning("the watchdog cannot be brought to its nodes again: %s", error)
        await self._clock.sleep(RETRY_FIRST)
        self._restoring = False

    def _condemn(self, key: str, task: Document) -> None:
        self._spawn(self._replace(key, task))

    async def _replace(self, key: str, task: Document) -> None:
        """A task is ill: the Swarm makes another when its container ends, which only an engine on its node can do; elsewhere the
        whole function gets a new generation."""
        container = ((task.get("Status") or {}).get("ContainerStatus") or {}).get("ContainerID", "")
        _log.warning("task %s of %s is ill and is replaced", task["ID"], key)
        try:
            if container and task.get("NodeID") == self._ways.surroundings.node:
                await self._authority.end(container)
            else:
                await self.renew(key, task.get("ServiceID", ""))
        except PenstockError as error:
            _log.warning("task %s of %s cannot be replaced: %s", task["ID"], key, error)

    async def _reach(self, network: str) -> None:
        try:
            await self._preparer.reach(network)
        except PenstockError as error:
            _log.warning("functions in a network cannot be reached: %s", error)
            await self._clock.sleep(RETRY_FIRST)
            self._reached.discard(network)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        _report(task)


async def _nothing(key: str, service: str) -> None:
    return


def _report(done: asyncio.Task[None]) -> None:
    if not done.cancelled() and done.exception():
        _log.error("work on a function failed", exc_info=done.exception())
