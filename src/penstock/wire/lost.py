"""Which connections have lost their peer's machine: nothing that it was sent is acknowledged any more.

`wire.client` asks, for connections that carry a request. TCP_USER_TIMEOUT would be less work, but counts a peer that is there and does
not read for so long as lost too (Linux, tcp_probe_timer), such as a function that takes its input late.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Protocol

TICKS = 10
"""How often connections are looked at in the time after which a peer is lost."""

_INFO = struct.Struct("=2xBB52xI")
"""Of struct tcp_info (linux/tcp.h): tcpi_retransmits, tcpi_probes, and tcpi_last_ack_recv in milliseconds."""
_PROBES = 2
"""One may have been sent just now."""


class Looked(Protocol):
    """A connection."""

    def check_peer(self, patience: float) -> None:
        """Fail what is under way when the peer has been lost for so many seconds."""


class Lookout:
    """Looks at all open connections again and again, by one timer for as long as there are any. `patience` in seconds, 0 for never."""

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._loop = loop
        self._patience = patience if sys.platform == "linux" else 0.0
        self._open: set[Looked] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Looked) -> None:
        if self._patience:
            self._open.add(connection)
            self._wait()

    def discard(self, connection: Looked) -> None:
        self._open.discard(connection)

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience / TICKS, self._look)

    def _look(self) -> None:
        self._timer = None
        for connection in list(self._open):
            connection.check_peer(self._patience)
        if self._open:
            self._wait()


def probe_idle(sock: socket.socket, seconds: float) -> None:
    """Have the kernel close the connection when its peer's machine has answered nothing for so long while nothing is on its way to it."""
    if not seconds or sys.platform != "linux":
        return
    idle = max(round(seconds / 2), 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, max(round(seconds) - idle, 1))


def is_lost(sock: socket.socket, seconds: float) -> bool:
    """Whether what is on its way was sent again, or asked after, and nothing has been acknowledged for so long.

    A peer that reads nothing answers the kernel's questions whether it has room again, at intervals that grow to minutes.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    retransmits, probes, silence = map(int, _INFO.unpack(info))
    return (retransmits > 0 or probes >= _PROBES) and silence >= seconds * 1000
