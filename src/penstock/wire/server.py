"""The HTTP/1.1 server: listens, counts its connections, and drains.

The application is one synchronous call per request, made by a connection; there is no task per request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from penstock.wire.connection import Application, Connection
from penstock.wire.timeouts import NEVER, Sweeper
from penstock.wiresettings import WireSettings

SETTLE = 0.25
"""Seconds a draining server waits for a last request on idle connections before it closes them."""

ACCEPTED = 0.02
"""Seconds that a draining server waits in any case: a connection that was accepted is made known some turns of the loop later,
and closing before that would reset it."""

BACKLOG = 4096
"""Connections that the system completes before they are accepted."""


class Server:
    """Listens, counts and drains. `connections` are open ones, `active` exchanges in progress."""

    def __init__(self, app: Application, settings: WireSettings | None = None) -> None:
        self.app = app
        self.settings = settings or WireSettings()
        self.idle_timeout = self.settings.idle_timeout or NEVER
        self.body_timeout = self.settings.body_timeout or NEVER
        self.active = 0
        self.draining = False
        """Answers say `Connection: close`."""
        self.sweeper = Sweeper(asyncio.get_running_loop(), 0.25)
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._shared: list[asyncio.Server] = []
        """Listeners whose socket others listen on too."""

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def listen_tcp(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen on TCP; returns the port, which the system chooses for 0. Raises OSError."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: Connection(self), host, port, reuse_port=reuse_port or None, backlog=BACKLOG
        )
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    async def listen_unix(self, path: str, mode: int = 0o600) -> None:
        """Listen on a unix socket with these permissions; a stale socket file is replaced. Raises OSError."""
        sock = bound_unix_socket(path, mode)
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_unix_server(lambda: Connection(self), sock=sock, backlog=BACKLOG))

    async def listen_on(self, sock: socket.socket) -> None:
        """Listen on a bound TCP or unix socket, which others may listen on too and go on listening after us. Raises OSError."""
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        self._shared.append(await create(lambda: Connection(self), sock=sock, backlog=BACKLOG))

    def unanswered(self) -> list[int]:
        """Descriptors of connections whose request has got nothing of its answer yet. For a process whose loop is stuck."""
        waiting = [one for one in list(self._connections) if one.exchange is not None and not one.exchange.head_sent]
        return [one.transport.get_extra_info("socket").fileno() for one in waiting]

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        limit = self.settings.max_connections
        if limit and len(self._connections) > limit:
            connection.write(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 21\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
                b"too many connections\n"
            )
            connection.transport.close()

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    async def drain(self, timeout: float) -> bool:
        """Stop accepting, finish what is in progress; answers say `Connection: close` from now on.

        Idle connections get a moment for a request that is on its way, then are closed. False when `timeout` seconds were
        not enough and something was cut.
        """
        self.draining = True
        loop = asyncio.get_running_loop()
        queued = self._take_queued()
        self._stop_listening()
        for sock in queued:
            with contextlib.suppress(OSError):  # it has gone again
                await loop.connect_accepted_socket(lambda: Connection(self), sock)
        deadline = loop.time() + timeout
        settled = loop.time() + min(SETTLE, timeout)
        accepted = loop.time() + min(ACCEPTED, timeout)
        while (self._connections or loop.time() < accepted) and loop.time() < deadline:
            if loop.time() >= settled:
                for connection in list(self._connections):
                    connection.close_if_idle()
            await asyncio.sleep(0.01)
        complete = self.active == 0
        await self.close()
        return complete

    async def close(self) -> None:
        """Cut everything now."""
        self._stop_listening()
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _take_queued(self) -> list[socket.socket]:
        """Accept what waits for that on sockets of our own: their clients believe to be connected, and closing would reset them.
        On shared ones others accept it."""
        taken: list[socket.socket] = []
        for sock in [sock for listener in self._listeners for sock in listener.sockets]:
            with (
                socket.socket(fileno=os.dup(sock.fileno())) as listening,
                contextlib.suppress(OSError),
            ):  # there are no more
                listening.setblocking(False)
                for _ in range(BACKLOG):
                    accepted, _ = listening.accept()
                    accepted.setblocking(False)
                    taken.append(accepted)
        return taken

    def _stop_listening(self) -> None:
        for listener in (*self._listeners, *self._shared):
            listener.close()
        self._listeners.clear()
        self._shared.clear()


def bound_unix_socket(path: str, mode: int) -> socket.socket:
    """A bound unix stream socket whose file has `mode` from the first moment on; replaces a stale file. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        os.fchmod(sock.fileno(), mode)  # Linux gives the file the socket's mode at bind
        sock.bind(path)
        os.chmod(path, mode)
    except OSError:
        sock.close()
        raise
    return sock
