"""The runtime interface: how one replica is started, stopped, found again and read.

The local provider decides what should run; a runtime only does it, on this machine. `process` and `memory` implement it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Protocol

import msgspec

from penstock.core.health import Check
from penstock.model import Capabilities, FunctionSpec, LogLine, LogQuery, ProviderInfo, Usage


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """All that a runtime needs to start a replica once. A restarted replica keeps its `replica` id and gets a new `token`."""

    token: str
    """This one start: random hexadecimal digits."""
    replica: str
    spec: FunctionSpec
    generation: int
    """Which specification of the function this is; grows with every update."""
    deployed: str
    """When the function was deployed, so that one of the same name deployed later is told apart."""
    restarts: int = 0
    secrets: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Order({self.replica!r}, token={self.token!r}, generation={self.generation})"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that an earlier control process of the same run started and that still runs."""

    token: str
    replica: str
    spec: FunctionSpec
    generation: int
    deployed: str
    restarts: int
    address: str
    """Empty when it is told by `addressed` later."""
    started_at: datetime


class Events(Protocol):
    """What a runtime reports; called on the event loop, never from within a runtime's own methods."""

    def exited(self, token: str, reason: str) -> None:
        """A replica ended, with the reason in words. Called exactly once for each launched or adopted token."""

    def addressed(self, token: str, address: str) -> None:
        """A launched replica has an address from now on. Only for those that were launched or found without one, or that moved;
        an empty one says that it has none yet after all."""

    def waiting(self, token: str, what: str) -> None:
        """What a launched replica waits for before it can be asked whether it is ready; empty when it waits no more."""

    def broken(self, token: str, why: str) -> None:
        """A replica runs only to tell why it cannot serve; it will not become ready."""

    def available(self) -> None:
        """Launching works again after ProviderUnavailable."""


class Runtime(Protocol):
    """Runs replicas on this machine."""

    capabilities: Capabilities

    def info(self) -> ProviderInfo: ...

    async def start(self, events: Events) -> list[Running]:
        """Connect and find what still runs; replicas of earlier runs are ended here. Raises ProviderUnavailable."""

    async def close(self) -> None:
        """Release everything held; replicas still running are left alone."""

    async def health(self) -> None:
        """Raise ProviderUnavailable when nothing could be launched now."""

    def check(self, spec: FunctionSpec) -> None:
        """Raise InvalidInput when this runtime could never run the specification."""

    def launch(self, order: Order) -> str:
        """Begin to start a replica and return the address it will answer on, or "" when that will be told by `addressed`;
        does not wait. A start that fails later is an exit. Raises ProviderUnavailable."""

    def check_of(self, token: str) -> Check:
        """How to ask a launched or found replica that has an address whether it is ready, unless its function's annotations say.
        `Check()` where a Penstock watchdog answers; a path that exists for other watchdogs; `passes="any"` for an image that
        runs as it is, without any."""

    def stop(self, token: str, kill: bool = False) -> None:
        """Ask a replica to finish and end (SIGTERM), or end it at once with all its processes (SIGKILL)."""

    def rest(self, token: str) -> None:
        """As `stop` without force, when the replica's function is at zero: where it runs may be kept for the next launch of the
        same specification. Its end is told as any other."""

    def logs(self, query: LogQuery, deployed: Callable[[], bool]) -> AsyncGenerator[LogLine, None]:
        """Lines of all replicas of a function by time; with `follow` until `deployed` says no."""

    def forget_logs(self, name: str, namespace: str, keep: Iterable[str] = ()) -> None:
        """Drop the lines of a function's replicas, but for those named in `keep`."""

    def forget(self, name: str, namespace: str) -> None:
        """The function was deleted: let go of what is kept to start its replicas faster."""

    async def usage(self, tokens: Iterable[str]) -> Usage | None:
        """What these replicas use together at this moment; None where that cannot be known now."""

    async def usages(self, tokens: Mapping[str, Sequence[str]], starting: Set[str]) -> dict[str, Usage]:
        """As `usage`, for many functions by key, whose replicas are given, and for who asks again and again: a function that is
        not known now is missing, and may be known the next time. Of the replicas that are `starting` only the memory counts, and
        the processor time of others from the first look after that."""
