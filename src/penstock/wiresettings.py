"""Limits of the HTTP/1.1 server and of connections to replicas: the settings of the room `wire`.

A part of `penstock.settings`, which reads them from the environment. In a file of its own because a watchdog needs them and
nothing else of those settings, whose imports would be a tenth of its start.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WireSettings:
    """Limits of the HTTP/1.1 server. Sizes in bytes, times in seconds, 0 switches a limit off."""

    max_head: int = 1 << 20
    """Request line and header fields together; above it 431. Go servers allow 1 MiB, nginx 32 KiB."""
    max_target: int = 64 << 10
    """Request target; above it 414."""
    max_fields: int = 1000
    """Header fields in one message; above it 431. Stops quadratic work in handlers."""
    head_timeout: float = 60.0
    """From a request's first byte to the end of its header block; then 408 (slow-loris)."""
    idle_timeout: float = 120.0
    """A connection between requests; then it is closed. Longer than usual client pools, so that they close first."""
    body_timeout: float = 60.0
    """A request body from which nothing arrives although it is wanted; then 408."""
    send_timeout: float = 60.0
    """A client that reads nothing of an answer that waits for it; then it is cut. One that reads slowly is not."""
    max_connections: int = 20000
    """Open client connections per worker; above it new ones are answered 503 and closed."""
    upstream_idle_timeout: float = 30.0
    """A pooled connection to a replica; the watchdog drops its side later (120 s), so a pooled one is never half dead."""
    connect_timeout: float = 5.0
    """Opening a connection to a replica; then it counts as unreachable."""
    lost_timeout: float = 5.0
    """A replica whose machine acknowledges nothing of what was sent to it, as when it has lost its power or its network; then the
    connection counts as closed, and what may be repeated is sent to another one. One that is there and does not read is not lost.
    Left to itself, a kernel tries for a quarter of an hour."""
    drain_delay: float = 0.0
    """On SIGTERM: for how long new connections are still taken, while `/readyz` is 503 and answers say `Connection: close`. For load
    balancers that hear of the end later than the process does, such as the nodes of a Kubernetes cluster."""
    drain_timeout: float = 30.0
    """After that: time for requests in flight to finish before they are cut."""
