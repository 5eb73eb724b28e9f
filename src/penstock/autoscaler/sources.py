"""What the scaler draws on: counts of this gateway and of others, loads, the journal, and the lease.

Protocols for parts that others build (`control.feed`, `autoscaler.peers`), so that each can be absent, or a test's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from penstock.autoscaler.journal import Journal
from penstock.autoscaler.learned import LearnedFile
from penstock.autoscaler.loads import Loads

N = TypeVar("N", int, float)

Amounts = tuple[Mapping[str, int], Mapping[str, float], Mapping[str, int]]
"""Begun requests, seconds in flight, requests in flight now."""


class Totals(Protocol):
    @property
    def started(self) -> dict[str, int]: ...

    @property
    def busy(self) -> dict[str, float]: ...


class Counts(Protocol):
    """What the gateway's workers have counted; the feed is one."""

    @property
    def totals(self) -> Totals: ...

    async def flush(self, timeout: float) -> bool:
        """Have workers tell what they counted; whether all did in time."""

    def inflight(self) -> dict[str, int]: ...


class Peers(Protocol):
    """The other gateways of the installation; `autoscaler.peers` asks them."""

    async def gather(self) -> Amounts: ...


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a scaler draws on; parts that an installation has not are None."""

    journal: Journal = field(default_factory=Journal)
    loads: Loads = field(default_factory=Loads)
    enabled: bool = True
    """Whether load decides at all; alerts and people always do."""
    learned: LearnedFile | None = None
    """What earlier processes have learned of functions' pauses."""
    peers: Peers | None = None
    lead: Callable[[str, float], Awaitable[bool]] | None = None
    """Asks for the lease; None where there is nobody else."""
    holder: str = ""
    """Who we are, for people."""


def added_up(own: Amounts, others: Amounts) -> Amounts:
    return _added(own[0], others[0]), _added(own[1], others[1]), _added(own[2], others[2])


def _added(one: Mapping[str, N], other: Mapping[str, N]) -> dict[str, N]:
    total = dict(one)
    for key, value in other.items():
        total[key] = total[key] + value if key in total else value
    return total
