"""The worker's picture of the functions: who they are, where their replicas are, who waits for them.

Written only by the route feed, read by every request. A worker without a feed goes on with the picture it has.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol

from penstock.core.balance import choose, rest_after
from penstock.core.names import split_key
from penstock.core.pipelinetarget import StageTarget, read_stage
from penstock.core.policy import Policy
from penstock.gateway.counters import FunctionCounters, WorkerCounters
from penstock.gateway.messages import Route
from penstock.wire.client import Pool

OpenPool = Callable[[str], Pool]


class Waiting(Protocol):
    """A request that waits for a function, whatever for."""

    def removed(self) -> None:
        """The function is gone."""

    def failed(self) -> None:
        """No replica will become ready."""


class Waiter(Waiting, Protocol):
    """A request that waits for a replica or for a free slot."""

    alive: bool

    def needs(self, function: FunctionRoute) -> int:
        """How many slots of it, at once."""

    def go(self) -> None:
        """There may be room now: try again."""

    def awaits(self, replica: bool) -> None:
        """What it waits for has changed: now it is a replica, or else a free slot of one."""


class Held(Waiting, Protocol):
    """A request for which no replica could be reached. It tries again by itself after a while."""

    def retry(self) -> None:
        """There is another replica, or none any more: do not wait longer for those there were."""


class Replica:
    """One place to send requests to."""

    __slots__ = ("address", "failures", "inflight", "pool", "resting_until")

    def __init__(self, address: str, pool: Pool) -> None:
        self.address = address
        self.pool = pool
        self.inflight = 0
        self.failures = 0
        self.resting_until = 0.0

    def __repr__(self) -> str:
        return f"<Replica {self.address} {self.inflight} in flight, {self.failures} failures>"

    def failed(self, now: float) -> None:
        self.failures += 1
        self.resting_until = now + rest_after(self.failures)


class FunctionRoute:
    """One function as the worker sees it. Its repr is its state."""

    __slots__ = (
        "capacity",
        "closed",
        "counters",
        "failed",
        "held",
        "inflight",
        "key",
        "policy",
        "replicas",
        "stages",
        "waiting",
    )

    def __init__(self, key: str, policy: Policy, counters: FunctionCounters) -> None:
        self.key = key
        self.policy = policy
        self.counters = counters
        self.replicas: list[Replica] = []
        self.stages: tuple[StageTarget, ...] = ()
        """Of a named pipeline; empty for a function."""
        self.waiting: deque[Waiter] = deque()
        self.held: set[Held] = set()
        self.inflight = 0
        self.capacity = 0
        """Requests that may run at once; 0 means no limit."""
        self.failed = False
        """Whether no replica will become ready by itself."""
        self.closed = False
        """Whether the function is gone; requests still at a replica finish."""

    def __repr__(self) -> str:
        waiting = len(self.waiting) + len(self.held)
        return f"<FunctionRoute {self.key} {len(self.replicas)} replicas, {self.inflight} in flight, {waiting} waiting>"

    def has_room(self, slots: int = 1) -> bool:
        """Whether so many requests could go to replicas now."""
        return bool(self.replicas) and (not self.capacity or self.inflight + slots <= self.capacity)

    def pick(self, now: float, tried: Collection[Replica] = ()) -> Replica:
        """The replica for a request that has room: none at which it has failed already, as long as there is another. Those of
        a lost machine take seconds to fail, and their rest may be over before the next one's failure is known."""
        fresh = [replica for replica in self.replicas if replica not in tried] if tried else self.replicas
        return choose(fresh or self.replicas, now, random.random)

    def release_waiting(self) -> None:
        """Let those go on who wait, in their order, as far as there is room."""
        while self.waiting and self.has_room(self.waiting[0].needs(self)):
            waiter = self.waiting.popleft()
            if waiter.alive:
                waiter.go()

    def apply(self, route: Route, open_pool: OpenPool) -> bool:
        """Take over what the feed says; replicas that stay keep their connections. True when the last replica has just
        gone while requests wait for a slot: somebody must ask for another."""
        known = {replica.address: replica for replica in self.replicas}
        had = bool(known)
        others = not route.endpoints or not known.keys() >= set(route.endpoints)
        self.policy, self.failed = route.policy, route.failed
        self.stages = tuple(map(read_stage, route.stages))
        self.replicas = [known.pop(a) if a in known else Replica(a, open_pool(a)) for a in route.endpoints]
        self.capacity = route.policy.max_inflight * len(self.replicas)
        for replica in known.values():
            replica.pool.close()
        if had != bool(self.replicas):
            for waiter in self.waiting:
                waiter.awaits(replica=had)
        self.release_waiting()
        if others:
            for held in self._take_held():
                held.retry()
        if route.failed:
            for waiting in self._take_all():
                waiting.failed()
        return had and not self.replicas and bool(self.waiting)

    def close(self) -> None:
        """The function is gone."""
        self.closed = True
        for replica in self.replicas:
            replica.pool.close()
        self.replicas = []
        for waiting in self._take_all():
            waiting.removed()

    def _take_all(self) -> list[Waiting]:
        """All that wait, who then do not any more."""
        waiting, self.waiting = self.waiting, deque()
        return [*(waiter for waiter in waiting if waiter.alive), *self._take_held()]

    def _take_held(self) -> list[Held]:
        held, self.held = list(self.held), set()
        return held


class RouteTable:
    """All functions, found by the name that a request uses."""

    def __init__(self, open_pool: OpenPool, counters: WorkerCounters, default_namespace: str) -> None:
        self._open_pool = open_pool
        self._counters = counters
        self._default_namespace = default_namespace
        self._by_key: dict[str, FunctionRoute] = {}
        self._by_name: dict[bytes, FunctionRoute] = {}
        self._unconfirmed: set[str] = set()
        self.version = 0
        """Another one whenever a function is new, changed or gone: what was worked out from the table holds until then."""
        self.synced = False
        """Whether a complete picture was received at least once."""
        self.first_picture = asyncio.Event()
        """Set when that happens."""

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, name: bytes) -> FunctionRoute | None:
        """The function that a request names, with its namespace or, in the default one, without."""
        return self._by_name.get(name)

    def waiting(self) -> list[FunctionRoute]:
        """Functions that requests wait for and that have no replica."""
        return [route for route in self._by_key.values() if route.waiting and not route.replicas]

    def begin_snapshot(self) -> None:
        """The feed starts over: what it does not name until `end_snapshot` is gone."""
        self._unconfirmed = set(self._by_key)

    def end_snapshot(self) -> None:
        for key in self._unconfirmed:
            self.remove(key)
        self._unconfirmed = set()
        self.synced = True
        self.first_picture.set()

    def apply(self, route: Route) -> bool:
        """Take over one function; True when it should be woken for requests that already wait."""
        self.version += 1
        self._unconfirmed.discard(route.key)
        function = self._by_key.get(route.key)
        if function is None:
            function = FunctionRoute(route.key, route.policy, self._counters.of(route.key))
            self._by_key[route.key] = function
            for name in self._names(route.key):
                self._by_name[name] = function
        return function.apply(route, self._open_pool)

    def remove(self, key: str) -> None:
        function = self._by_key.pop(key, None)
        if function is not None:
            self.version += 1
            for name in self._names(key):
                self._by_name.pop(name, None)
            function.close()
            self._counters.forget(key)

    def _names(self, key: str) -> list[bytes]:
        name, namespace = split_key(key, self._default_namespace)
        short = [name.encode()] if namespace == self._default_namespace else []
        return [key.encode(), *short]
