"""What a gateway worker and the control process say to each other over the feed, a unix stream socket.

Each message is four bytes of length (big-endian) and a MessagePack body. Control speaks first after `Hello`: every route,
then `Synced`; from then on only changes. Counters travel as differences, so that a scrape adds up workers that come and go.
"""

from __future__ import annotations

import msgspec

from penstock.core.policy import Policy

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds of `gateway_functions_seconds` (contract gateway §6.1); one more bucket counts the rest."""


class Route(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All that a worker knows of a function. `key` is `name.namespace`; `endpoints` are addresses of ready replicas."""

    key: str
    endpoints: tuple[str, ...] = ()
    policy: Policy = Policy()
    failed: bool = False
    """Whether it has replicas, and none of them will become ready by itself: requests need not wait."""
    stages: tuple[str, ...] = ()
    """Of a named pipeline, `NAME.NAMESPACE[/PATH][?QUERY]` each; empty for a function."""


class RouteRemoved(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The function is gone: 404 from now on."""

    key: str


class Synced(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The snapshot is complete; routes not named since `Hello` are gone."""


class Flush(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send counters now; the answer carries the same id."""

    id: int


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """First message of a worker."""

    worker: int
    pid: int


class Wake(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A request waits for this function and it has no ready replica."""

    key: str


class Completed(msgspec.Struct, kw_only=True, array_like=True):
    """Finished requests of one function and status code since the last message.

    `buckets` has one count for each bound of LATENCY_BUCKETS and one for what is slower; they are not cumulative.
    """

    key: str
    code: int
    count: int
    seconds: float
    buckets: list[int]


class Counters(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Differences since the worker's last `Counters`, and what is in flight at this moment."""

    flush: int = 0
    """Id of the `Flush` answered; 0 when sent unasked."""
    started: dict[str, int] = {}
    busy: dict[str, float] = {}
    """Seconds that requests were in flight, all of a function's together: two for one second are 2.0."""
    completed: list[Completed] = []
    inflight: dict[str, int] = {}
    connections: int = 0
    """Open client connections."""


ToWorker = Route | RouteRemoved | Synced | Flush
ToControl = Hello | Wake | Counters

MAX_MESSAGE = 64 << 20
"""Bytes; a longer length prefix means that the peer speaks something else."""
