"""Both ends of real connections for the tests of `wire`: raw clients, scripted upstreams, listeners that take notes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from penstock.settings import WireSettings
from penstock.wire.connection import Application, Connection
from penstock.wire.exchange import Exchange
from penstock.wire.server import Server
from tests.unit.wire import oracle

DEADLINE = 60.0
"""Seconds after which a test gives up waiting; only a defect makes it wait so long."""

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(length: int, *lines: bytes) -> bytes:
    extra = b"".join(line + b"\r\n" for line in lines)
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n" % (length, extra)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; TimeoutError when it does not come true."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - any condition, most of which no event announces
            await asyncio.sleep(0.005)


class Peer:
    """One end of a raw connection: the client of a server, or an upstream's side of a relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def flush(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    async def _more(self) -> bool:
        async with asyncio.timeout(DEADLINE):
            data = await self.reader.read(1 << 16)
        self.buffer += data
        return bool(data)

    async def _need_more(self) -> None:
        if not await self._more():
            raise ConnectionAbortedError(f"closed after {self.buffer!r}")

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to and including `mark`."""
        while mark not in self.buffer:
            await self._need_more()
        end = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken

    async def read_exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            await self._need_more()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    async def answer(self, method: bytes = b"GET") -> oracle.Message:
        """The next whole response that does not need the connection to close."""
        while (message := oracle.read_response(self.buffer, method)) is None:
            await self._need_more()
        self.buffer = message.rest
        return message

    async def request(self) -> oracle.Message:
        """The next whole request."""
        while (message := oracle.read_request(self.buffer)) is None:
            await self._need_more()
        self.buffer = message.rest
        return message

    async def rest(self) -> bytes:
        """Everything up to the end of the stream. Raises ConnectionResetError."""
        while await self._more():
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    async def cut(self) -> bytes:
        """Everything up to the end of the stream, be it a close or a reset."""
        with contextlib.suppress(ConnectionResetError):
            while await self._more():
                pass
        return self.buffer

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def connect(address: int | str) -> AsyncIterator[Peer]:
    """A client of a TCP port on loopback, or of a unix socket."""
    if isinstance(address, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", address)
    else:
        reader, writer = await asyncio.open_unix_connection(address)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(app: Application, settings: WireSettings | None = None) -> AsyncIterator[tuple[Server, int]]:
    """A server with this application on a port of its own."""
    server = Server(app, settings)
    port = await server.listen_tcp("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.close()
        await until(lambda: server.connections == 0)


@contextlib.asynccontextmanager
async def upstream(handler: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[str]:
    """A scripted upstream; its address. Each connection runs `handler`, whose failure fails the test."""
    errors: list[BaseException] = []
    open_ones: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(writer)
        try:
            await handler(Peer(reader, writer))
        except ConnectionError:
            pass  # scripts end when their peer goes
        except AssertionError as error:
            errors.append(error)
        finally:
            writer.transport.abort()
            open_ones.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in list(open_ones):
            writer.transport.abort()
        await until(lambda: not open_ones)
    if errors:
        raise errors[0]


def the_connection(server: Server) -> Connection:
    """The only connection of a server."""
    (connection,) = server._connections
    return connection


def plain_socket(port: int, receive_buffer: int = 4096) -> socket.socket:
    """A blocking-free client that reads nothing until told, with small buffers."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port of loopback that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


class Notes:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.data = b""
        self.events: list[str] = []

    def body(self, data: bytes) -> None:
        self.data += data

    def body_end(self) -> None:
        self.events.append("end")

    def client_gone(self) -> None:
        self.events.append("gone")

    def writable(self, ready: bool) -> None:
        self.events.append("writable" if ready else "full")


class Held:
    """An application that only keeps its exchanges, for the test to answer."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    async def next(self, number: int = 0) -> Exchange:
        await until(lambda: len(self.exchanges) > number)
        return self.exchanges[number]


def echo_target(exchange: Exchange) -> None:
    exchange.respond(200, (), exchange.request.target)
