"""Server side of the feed: what functions there are goes to every gateway worker, counters and wake requests come back.

`control.process` starts it; the metrics and the function list read its `functions` and `totals`. It follows the
provider's `watch()` and never asks for a list. The worker's side is in `penstock.gateway`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from penstock.control.link import Link, frame
from penstock.control.metrics import Totals
from penstock.control.sockets import listen_unix
from penstock.core.names import split_key
from penstock.core.pipelines import resolve_stage
from penstock.core.pipelinetarget import read_stage
from penstock.core.policy import Policy, policy_of
from penstock.core.scalelabels import initial_replicas
from penstock.errors import InvalidInput, PenstockError
from penstock.gateway.messages import Counters, Route, RouteRemoved
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionEvent
from penstock.providers.base import Provider

log = logging.getLogger(__name__)

WATCH_RETRY = 1.0
"""Seconds between a provider's watch that broke off and the next one."""

WAKE_ATTEMPTS = 20
WAKE_RETRY = 0.1
"""Attempts to wake a function and seconds between them: the worker asks once and relies on the answer."""


class Feed:
    """All functions as the provider last described them, and the workers that want to know."""

    def __init__(self, provider: Provider, default_policy: Policy) -> None:
        self.functions: dict[str, Function] = {}
        self.totals = Totals()
        self.tell: Callable[[Function], None] | None = None
        """Hears of each function that is new or different, once `functions` has it; must not raise."""
        self._provider = provider
        self._default_policy = default_policy
        self._routes: dict[str, bytes] = {}
        self._synced = asyncio.Event()
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking: dict[str, asyncio.Task[None]] = {}
        self._flushes = 0
        self._awaited: dict[str, asyncio.Event] = {}
        self._server: asyncio.Server | None = None

    async def start(self, path: Path) -> None:
        """Follow the provider and listen on the unix socket `path` (0600). Raises SettingsError."""
        self._server = await asyncio.start_unix_server(self._accept, sock=listen_unix(path))
        self._keep(asyncio.create_task(self._watch()))

    async def close(self) -> None:
        """Stop listening, drop all workers and whatever is under way."""
        if self._server:
            self._server.close()
        tasks = [*self._tasks, *self._waking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def flush(self, timeout: float) -> bool:
        """Gather the counters of all workers; at most `timeout` seconds, however many workers hang. Whether all have answered."""
        self._flushes += 1
        waits = [asyncio.create_task(link.flush(self._flushes)) for link in self._links]
        if not waits:
            return True
        _, late = await asyncio.wait(waits, timeout=timeout)
        for task in late:
            task.cancel()
        return not late

    async def announced(self, key: str, timeout: float) -> None:
        """Wait until every worker knows the function `key`; at most `timeout` seconds, since a worker may hang."""
        known = self._awaited.setdefault(key, asyncio.Event())
        if key in self.functions:
            known.set()
        try:
            async with asyncio.timeout(timeout):
                await known.wait()
        except TimeoutError:
            log.warning("%s: the provider has not announced it within %g s", key, timeout)
            return
        finally:
            self._awaited.pop(key, None)
        await self.flush(timeout)  # a worker answers it after the routes that were sent before

    def inflight(self) -> dict[str, int]:
        """Requests in progress by function, over all connected workers."""
        sums: dict[str, int] = {}
        for link in self._links:
            for key, count in link.inflight.items():
                sums[key] = sums.get(key, 0) + count
        return sums

    def connections(self) -> dict[int, int]:
        """Open client connections by worker number."""
        return {link.worker: link.connections for link in self._links}

    # What a link asks of its owner.

    async def snapshot(self) -> Mapping[str, bytes]:
        # Never before the provider has named everything: a worker that still serves would forget the rest.
        await self._synced.wait()
        return self._routes

    def attach(self, link: Link) -> None:
        self._links.add(link)

    def count(self, counters: Counters) -> None:
        self.totals.add(counters)

    def wake(self, key: str) -> None:
        """Start a function that rests at zero replicas. Decided from what the last event said: no disk, no engine call."""
        function = self.functions.get(key)
        if function and function.desired == 0 and not function.spec.stages and key not in self._waking:
            task = asyncio.create_task(self._wake(key))
            self._waking[key] = task
            task.add_done_callback(lambda _: self._waking.pop(key, None))

    async def _wake(self, key: str) -> None:
        name, namespace = split_key(key, DEFAULT_NAMESPACE)
        for _ in range(WAKE_ATTEMPTS):
            function = self.functions.get(key)
            if not function or function.desired > 0:
                return
            try:
                return await self._provider.scale(name, namespace, max(1, initial_replicas(function.spec.labels)))
            except PenstockError as error:
                log.warning("cannot wake %s: %s", key, error)
            except Exception:
                log.exception("cannot wake %s", key)
            await asyncio.sleep(WAKE_RETRY)

    # The provider's events.

    async def _watch(self) -> None:
        while True:
            try:
                await self._follow()
                log.warning("the provider ended its watch; watching again")
            except PenstockError as error:
                log.warning("the provider's watch broke off: %s", error)
            except Exception:
                log.exception("the provider's watch broke off")
            await asyncio.sleep(WATCH_RETRY)

    async def _follow(self) -> None:
        """One watch from its snapshot on. What an earlier watch knew and this snapshot does not name is gone."""
        unseen = set(self.functions)
        async for event in self._provider.watch():
            unseen.discard(event.key)
            self._apply(event)
            if event.kind == "synced":
                for key in unseen:
                    self._remove(key)
                unseen = set()
                self._synced.set()

    def _apply(self, event: FunctionEvent) -> None:
        if event.kind == "changed" and event.function:
            self._change(event.function)
        elif event.kind == "removed":
            self._remove(event.key)

    def _change(self, function: Function) -> None:
        key = function.key
        self.functions[key] = function
        awaited = self._awaited.get(key)
        if awaited is not None:
            awaited.set()
        route = frame(self._route(function))
        if self._routes.get(key) != route:
            self._routes[key] = route
            self._offer(key, route)
        if self.tell:
            self.tell(function)

    def _remove(self, key: str) -> None:
        if self.functions.pop(key, None):
            del self._routes[key]
            self.totals.forget_gone(self.functions.keys())
            self._offer(key, frame(RouteRemoved(key=key)))

    def _offer(self, key: str, message: bytes) -> None:
        for link in self._links:
            link.offer(key, message)

    def _route(self, function: Function) -> Route:
        """Stages are checked when a pipeline is deployed; one deployed by other means that cannot be read answers as failed."""
        stages = tuple(resolve_stage(stage, function.spec.namespace) for stage in function.spec.stages)
        failed = function.failed
        try:
            for stage in stages:
                read_stage(stage)
        except InvalidInput as error:
            log.warning("%s: %s", function.key, error)
            stages, failed = (), True
        policy = self._policy(function)
        return Route(key=function.key, endpoints=function.endpoints, policy=policy, failed=failed, stages=stages)

    def _policy(self, function: Function) -> Policy:
        """Labels are checked when a function is deployed; one deployed by other means gets the defaults, but no bucket: what
        could not be read may have been a list of those."""
        try:
            return policy_of(function.spec, self._default_policy)
        except (InvalidInput, ValueError) as error:
            log.warning("%s: %s; the defaults apply", function.key, error)
            return msgspec.structs.replace(self._default_policy, buckets=())

    # The workers' connections.

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(asyncio.create_task(self._serve(Link(self, reader, writer))))

    async def _serve(self, link: Link) -> None:
        try:
            await link.run()
        finally:
            self._links.discard(link)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
