"""What the gateway tests share: a worker without its process, a scripted control, scripted replicas and a client.

The client speaks HTTP through h11, so that what our own code writes is read by another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import h11
import msgspec

from penstock.core.policy import Policy
from penstock.gateway.invocation import Invocation
from penstock.gateway.messages import Counters, Hello, Route, RouteRemoved, Synced, ToControl, ToWorker, Wake
from penstock.gateway.worker import Worker
from penstock.settings import ServeSettings, WireSettings
from penstock.wire.exchange import Exchange
from penstock.wire.relay import Relay
from penstock.wire.server import Server

T = TypeVar("T")
M = TypeVar("M", bound=Hello | Wake | Counters)

DEADLINE = 60.0
"""Seconds any condition may take; only ever used up by a failing test."""

Application = Callable[[Exchange], None]
RawServer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def eventually(condition: Callable[[], T], what: str) -> T:
    """The first true value of `condition`."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not (value := condition()):  # noqa: ASYNC110  (conditions are of many kinds)
                await asyncio.sleep(0.005)
            return value
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE:g} s for {what}") from None


class FeedSession:
    """One worker's connection to the scripted control: everything it said so far."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.said: list[ToControl] = []
        self.closed = False
        self._writer = writer

    def send(self, *messages: ToWorker) -> None:
        for message in messages:
            body = msgspec.msgpack.encode(message)
            self.send_raw(len(body).to_bytes(4, "big") + body)

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    def drop(self) -> None:
        self._writer.transport.abort()

    def all(self, kind: type[M]) -> list[M]:
        return [message for message in self.said if isinstance(message, kind)]

    @property
    def wakes(self) -> list[str]:
        return [wake.key for wake in self.all(Wake)]

    async def expect(self, kind: type[M], count: int = 1) -> list[M]:
        return await eventually(lambda: self._at_least(kind, count), f"{count} of {kind.__name__}")

    def _at_least(self, kind: type[M], count: int) -> list[M]:
        got = self.all(kind)
        return got if len(got) >= count else []


class ScriptedControl:
    """The feed's server side: each connection of a worker becomes a session."""

    def __init__(self, path: Path) -> None:
        self.sessions: list[FeedSession] = []
        self._path = path
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))

    async def session(self, number: int = 1) -> FeedSession:
        """The worker's n-th connection, once it has said hello."""
        session = (await eventually(lambda: self.sessions[number - 1 : number], f"connection {number}"))[0]
        await session.expect(Hello)
        return session

    async def stop(self) -> None:
        """Go away, as a control process that was killed."""
        if self._server is not None:
            self._server.close()
        for session in self.sessions:
            session.drop()
        self._path.unlink(missing_ok=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = FeedSession(writer)
        self.sessions.append(session)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                session.said.append(msgspec.msgpack.decode(await reader.readexactly(size), type=ToControl))
        except (asyncio.IncompleteReadError, OSError):
            session.closed = True
            writer.close()


@dataclass
class Answer:
    """A complete response, as the client read it."""

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False

    @property
    def text(self) -> str:
        return self.body.decode()

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str:
        return ", ".join(self.all(name))


class Client:
    """One connection to a worker. Header names are sent and read in any case, the target as it is given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h11 = h11.Connection(h11.CLIENT)

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, method: str, target: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> None:
        """A request; one with a body has a Content-Length."""
        fields = [("Host", "gateway.test"), *headers]
        if body:
            fields.append(("Content-Length", str(len(body))))
        self.begin(method, target, fields)
        if body:
            self.write(body)
        self.end()

    def begin(self, method: str, target: str, fields: list[tuple[str, str]]) -> None:
        """The head of a request, with exactly these fields."""
        self.writer.write(self.h11.send(h11.Request(method=method, target=target, headers=fields)) or b"")

    def write(self, data: bytes) -> None:
        self.writer.write(self.h11.send(h11.Data(data=data)) or b"")

    def end(self) -> None:
        self.writer.write(self.h11.send(h11.EndOfMessage()) or b"")

    async def event(self) -> h11.Event:
        async with asyncio.timeout(DEADLINE):
            while (event := self.h11.next_event()) is h11.NEED_DATA:
                self.h11.receive_data(await self.reader.read(65536))
        return cast(h11.Event, event)

    async def head(self) -> Answer:
        """The response's head."""
        while isinstance(event := await self.event(), h11.InformationalResponse):
            pass
        assert isinstance(event, h11.Response), event
        fields = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
        return Answer(event.status_code, fields)

    async def answer(self) -> Answer:
        """The response up to its end, or up to where it was cut (`complete` false)."""
        answer = await self.head()
        try:
            while isinstance(event := await self.event(), h11.Data):
                answer.body += bytes(event.data)
        except (h11.RemoteProtocolError, ConnectionError):
            return answer
        assert isinstance(event, h11.EndOfMessage), event
        answer.complete = True
        if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            self.h11.start_next_cycle()
        return answer

    def close(self) -> None:
        self.writer.transport.abort()


class Gateway:
    """A worker, its scripted control and its scripted replicas, in one event loop."""

    def __init__(self, **settings: object) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pg-"))
        values = {"home": self.home, "port": 0, "queue_timeout": DEADLINE, **settings}
        self.settings = ServeSettings(**values)  # type: ignore[arg-type]
        self.settings.paths.run.mkdir()
        self.control = ScriptedControl(self.settings.paths.feed_socket)
        self.worker = Worker(self.settings, 3)
        self.port = 0
        self._servers: list[Server] = []
        self._raw_servers: list[asyncio.Server] = []
        self._clients: list[Client] = []
        self._feed: asyncio.Task[None] | None = None

    async def start(self) -> FeedSession:
        """Serve; the feed's session once the worker said hello. Nothing was sent to the worker yet."""
        await self.control.start()
        self.port = await self.worker.server.listen_tcp("127.0.0.1", 0)
        self._feed = asyncio.create_task(self.worker.feed.run())
        return await self.control.session()

    async def stop(self) -> None:
        if self._feed is not None:
            self._feed.cancel()
        for client in self._clients:
            client.close()
        await self.worker.server.close()
        await self.control.stop()
        for server in self._servers:
            await server.close()
        for raw in self._raw_servers:
            raw.close()
        shutil.rmtree(self.home)

    async def replica(self, app: Application, settings: WireSettings | None = None) -> str:
        """A replica that answers with `app`; its address."""
        server = Server(app, settings)
        self._servers.append(server)
        path = self.home / f"r{len(self._servers)}"
        await server.listen_unix(str(path))
        return f"unix:{path}"

    async def raw_replica(self, serve: RawServer) -> str:
        """A replica that does with its connections what it likes; its address."""
        path = self.home / f"raw{len(list(self.home.iterdir()))}"
        self._raw_servers.append(await asyncio.start_unix_server(serve, str(path)))
        return f"unix:{path}"

    async def control_api(self, app: Application) -> None:
        """The REST API's side of the control socket."""
        server = Server(app)
        self._servers.append(server)
        await server.listen_unix(str(self.settings.paths.control_socket))

    async def client(self) -> Client:
        client = await Client.connect(self.port)
        self._clients.append(client)
        return client

    async def call(
        self, target: str, body: bytes = b"", method: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        """One request on a connection of its own: POST when it has a body, else GET."""
        client = await self.client()
        client.send(method or ("POST" if body else "GET"), target, body, headers)
        answer = await client.answer()
        client.close()
        return answer

    async def raw(self, data: bytes) -> bytes:
        """Send bytes, read until the gateway closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            async with asyncio.timeout(DEADLINE):
                return await reader.read()
        finally:
            writer.close()

    async def deploy(self, key: str, *endpoints: str, failed: bool = False, **policy: object) -> None:
        """Tell the worker of a function and wait until it knows."""
        session = self.control.sessions[-1]
        session.send(route(key, *endpoints, failed=failed, **policy), Synced())
        await eventually(lambda: self.known(key, endpoints), f"the route of {key}")

    async def remove(self, key: str) -> None:
        self.control.sessions[-1].send(RouteRemoved(key=key))
        await eventually(lambda: self.worker.routes.find(key.encode()) is None, f"{key} to be gone")

    def known(self, key: str, endpoints: tuple[str, ...]) -> bool:
        function = self.worker.routes.find(key.encode())
        addresses = () if function is None else tuple(replica.address for replica in function.replicas)
        return function is not None and addresses == endpoints and self.worker.routes.synced

    async def waiting(self, key: str, count: int) -> None:
        """Until so many requests wait for this function."""

        def enough() -> bool:
            function = self.worker.routes.find(key.encode())
            return function is not None and len(function.waiting) == count

        await eventually(enough, f"{count} requests to wait for {key}")

    async def held(self, key: str, count: int) -> list[Invocation]:
        """Until so many requests, which no replica took, wait for one that does; those requests."""

        found: list[Invocation] = []

        def enough() -> bool:
            function = self.worker.routes.find(key.encode())
            found[:] = [one for one in function.held if isinstance(one, Invocation)] if function else []
            return len(found) == count

        await eventually(enough, f"{count} requests to be held for {key}")
        return found

    async def inflight(self, key: str, count: int) -> None:
        """Until so many requests are at this function's replicas."""

        def enough() -> bool:
            function = self.worker.routes.find(key.encode())
            return function is not None and function.inflight == count

        await eventually(enough, f"{count} requests in flight to {key}")

    def relays(self, key: str) -> list[Relay]:
        """What is under way to this function's replicas and has a time to end."""
        function = self.worker.routes.find(key.encode())
        assert function is not None
        watched = {item for replica in function.replicas for item in replica.pool.timers.relays._watched}
        return [item for item in watched if isinstance(item, Relay)]


def route(key: str, *endpoints: str, failed: bool = False, **policy: object) -> Route:
    values = {"timeout": DEADLINE, "queue_timeout": DEADLINE, **policy}
    return Route(key=key, endpoints=endpoints, policy=Policy(**values), failed=failed)  # type: ignore[arg-type]


class Recorder:
    """A replica's application that remembers its exchanges and answers when it is told, or at once."""

    def __init__(self, *, status: int = 200, body: bytes = b"ok", fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.exchanges: list[Exchange] = []
        self.held: list[Exchange] = []
        self.hold = False
        self._status, self._body, self._fields = status, body, list(fields)

    def __call__(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        if self.hold:
            self.held.append(exchange)
        else:
            exchange.respond(self._status, self._fields, self._body)

    async def until_held(self, count: int) -> None:
        await eventually(lambda: len(self.held) >= count, f"{count} requests at the replica")

    def release(self, body: bytes = b"ok") -> None:
        """Answer the request that came first."""
        self.held.pop(0).respond(200, [], body)

    @property
    def targets(self) -> list[bytes]:
        return [exchange.request.target for exchange in self.exchanges]

    def got(self, name: bytes) -> list[bytes]:
        """Values of a field in the last request."""
        return [value for key, value in self.exchanges[-1].request.fields if key == name]


class Gather:
    """Takes a request's body."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.pieces: list[bytes] = []

    def body(self, data: bytes) -> None:
        self.pieces.append(data)

    def body_end(self) -> None: ...
    def client_gone(self) -> None: ...
    def writable(self, ready: bool) -> None: ...


class Echo(Gather):
    """Answers with it."""

    def body_end(self) -> None:
        self.exchange.respond(200, [], b"".join(self.pieces))


def echo(exchange: Exchange) -> None:
    exchange.attach(Echo(exchange))


def dropping(seen: list[bytes]) -> RawServer:
    """A replica that reads a request head and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    return serve
