"""Which connections have lost their peer's machine: nothing that it was sent is acknowledged any more.

`wire.client` asks, for connections that carry a request. TCP_USER_TIMEOUT would be less work, but counts a peer that is there and does
not read for so long as lost too (Linux, tcp_probe_timer), such as a function that takes its input late.
"""

from __future__ import annotations

import socket
import struct
import sys

TICKS = 10
"""How often connections are looked at in the time after which a peer is lost."""

_INFO = struct.Struct("=2xBB52xI")
"""Of struct tcp_info (linux/tcp.h): tcpi_retransmits, tcpi_probes, and tcpi_last_ack_recv in milliseconds."""
_PROBES = 2
"""One may have been sent just now."""


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
