"""The HTTP/1.1 client side: kept-alive connections to one address, and a pool of them.

A connection carries one request at a time for a `ResponseListener`, usually a relay, and goes back to its pool only when the
whole exchange left no doubt about where the next response begins. Nothing here decides about retries; that is the relay's.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol, cast

from penstock.wire.connection import LINGER, WRITE_HIGH, WRITE_LOW
from penstock.wire.errors import MalformedMessage
from penstock.wire.framing import NO_BODY, Body, ChunkedBody, LengthBody, UntilClose
from penstock.wire.lost import Lookout, is_lost, probe_idle
from penstock.wire.memory import HeadMemory
from penstock.wire.message import ResponseHead, parse_response
from penstock.wire.timeouts import NEVER, Timers
from penstock.wiresettings import WireSettings

MAX_IDLE = 1024
"""Idle connections kept per address."""

MAX_RESPONSE_HEAD = 1 << 20
"""Bytes of a response's header block."""

_BEGINNING = b"HTTP/1."


class ResponseListener(Protocol):
    """Hears of one response. After `response_end` or `upstream_failed` nothing more comes."""

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """The head, with what arrived of the body in the same read; `done` when that is all of it."""

    def interim(self, head: ResponseHead) -> None:
        """A 1xx response other than 100 and 101."""

    def response_body(self, data: bytes) -> None:
        """A piece of the body; a chunked one with its framing when `raw` was asked for."""

    def response_end(self) -> None:
        """The body is complete."""

    def upstream_failed(self, reason: str, detail: str) -> None:
        """`closed` or `malformed`: the response will not be complete."""

    def upstream_writable(self, ready: bool) -> None:
        """False: the peer reads slower than you write, stop producing. True: go on."""


class ClientConnection(asyncio.Protocol):
    """One connection to an upstream."""

    __slots__ = (
        "_body",
        "_buffer",
        "_head_only",
        "_interim_for",
        "_listener",
        "_memory",
        "_paused",
        "_poll",
        "_pool",
        "_request_done",
        "_response",
        "_tunnel",
        "_write_paused",
        "closed",
        "idle_since",
        "raw",
        "requests",
        "transport",
    )

    CUT = "connection closed by the function before its answer was complete"
    """What is said of a peer that ended the connection in good order and too early."""

    transport: asyncio.Transport
    _poll: Callable[[int], object]

    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self._listener: ResponseListener | None = None
        self._buffer = b""
        self._body: Body = NO_BODY
        self._response: ResponseHead | None = None
        self._request_done = True
        self._head_only = False
        self._memory: HeadMemory[ResponseHead] = HeadMemory()
        self._paused = False
        self._tunnel = False
        self._write_paused = False
        self._interim_for = 0
        self.closed = False
        self.idle_since = 0.0
        self.raw = True
        self.requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)
        self._poll = poll.poll

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._pool.forget(self)
        self._stream_ended((str(exc) or repr(exc)) if exc else "")

    def eof_received(self) -> None:
        self._stream_ended("")

    def pause_writing(self) -> None:
        self._write_paused = True
        if self._listener is not None:
            self._listener.upstream_writable(False)

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._listener is not None:
            self._listener.upstream_writable(True)

    def data_received(self, data: bytes) -> None:
        listener = self._listener
        if listener is None:  # bytes that belong to no request
            self.close()
        elif self._tunnel:
            listener.response_body(data)
        elif self._response is not None:
            self._feed(listener, data)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            self._read_heads(listener)

    def silent(self) -> bool:
        """Whether an idle connection may serve again: it is open, and nothing has come that nobody asked for. Asked of the
        kernel (0.5 µs), since what the loop has not read yet would be taken for the answer to the next request."""
        return not self.closed and not self._poll(0)

    # For the relay.

    @property
    def heard(self) -> bool:
        """Whether any byte of an answer to the request under way, or just failed, has come."""
        return bool(self._buffer) or self._response is not None or self._interim_for == self.requests

    def send(self, data: bytes, listener: ResponseListener, *, head_only: bool, complete: bool) -> None:
        """Send a request head with what there is of its body; `complete` when that is all, `head_only` for HEAD."""
        self._listener = listener
        self._response = None
        self._head_only = head_only
        self._request_done = complete
        self.requests += 1
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Bytes of the request body, framed."""
        if not self.closed:
            self.transport.write(data)

    def request_ended(self) -> None:
        """The request body is complete."""
        self._request_done = True

    def pause(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Cut the connection; its listener hears nothing more."""
        self._listener = None
        self.closed = True
        self._pool.forget(self)
        self.transport.abort()

    def check_peer(self, patience: float) -> None:
        """Fail the exchange, if there is one, when the peer's machine has acknowledged nothing for so many seconds."""
        if self._listener is not None and is_lost(self.transport.get_extra_info("socket"), patience):
            self._fail("closed", f"its machine has acknowledged nothing for {patience:g} s")

    def abandon(self) -> None:
        """Nobody wants the answer any more."""
        self.close()

    def shut(self) -> None:
        """Close after what was written is sent, or could not be sent for a while; its listener hears nothing more."""
        self._listener = None
        self._pool.forget(self)
        self.transport.close()
        asyncio.get_running_loop().call_later(LINGER, self.transport.abort)

    # Reading.

    def _read_heads(self, listener: ResponseListener) -> None:
        while self._response is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_RESPONSE_HEAD:
                    self._fail("malformed", f"response header block larger than {MAX_RESPONSE_HEAD} bytes")
                elif not _BEGINNING.startswith(self._buffer[: len(_BEGINNING)]):
                    self._fail("malformed", f"what came is no HTTP/1 response: {self._buffer[:40]!r}")
                return
            head, rest = self._buffer[: end + 4], self._buffer[end + 4 :]
            self._buffer = rest
            try:
                response = self._parse(head)
                if response.status >= 200 or response.status == 101:
                    self._begin_body(listener, response, rest)
                    return
            except MalformedMessage as error:
                self._fail("malformed", str(error))
                return
            self._interim_for = self.requests
            if response.status != 100:
                listener.interim(response)

    def _parse(self, head: bytes) -> ResponseHead:
        """Parse a head, unless this upstream sent the very same before."""
        response = self._memory.recall(head)
        if response is None:
            response = parse_response(head)
            if response.status >= 200:
                self._memory.keep(head, response)
        return response

    def _begin_body(self, listener: ResponseListener, response: ResponseHead, rest: bytes) -> None:
        self._response = response
        self._buffer = b""
        if response.upgrade:
            self._tunnel = True
            listener.response(response, rest, False)
            return
        self._body = body = self._framing(response)
        if response.content_length == len(rest) and body is not NO_BODY:  # the usual small answer, whole in one read
            self._finish(b"")
            listener.response(response, rest, True)
            return
        payload, rest = body.feed(rest) if rest or body.done else (b"", b"")
        if body.done:
            self._finish(rest)
            listener.response(response, payload, True)
        else:
            listener.response(response, payload, False)

    def _framing(self, response: ResponseHead) -> Body:
        """RFC 9112 §6.3."""
        if self._head_only or response.status in (204, 304):
            return NO_BODY
        if response.chunked:
            return ChunkedBody(self.raw)
        if response.content_length is not None:
            return LengthBody(response.content_length)
        return UntilClose()

    def _feed(self, listener: ResponseListener, data: bytes) -> None:
        try:
            payload, rest = self._body.feed(data)
        except MalformedMessage as error:
            self._fail("malformed", str(error))
            return
        if payload:
            listener.response_body(payload)
        if self._body.done and self._listener is listener:
            self._finish(rest)
            listener.response_end()

    def _finish(self, rest: bytes) -> None:
        """The response is complete: keep the connection, or close it where its next response would be in doubt."""
        response, self._response = self._response, None
        self._listener = None
        reusable = self._request_done and not rest and response is not None and response.keep_alive and not self.closed
        if not reusable or self._write_paused or self.transport.is_closing():
            self.close()
            return
        if self._paused:
            self.resume()
        if self._body is NO_BODY and response is not None and (response.content_length or response.chunked):
            # An upstream that sends a body where none may be would be answering the next request with it.
            self._doubted()
        else:
            self._pool.put(self)

    def _doubted(self) -> None:
        """A complete answer was of a kind after which some send more."""
        self.close()

    def _fail(self, reason: str, detail: str) -> None:
        listener = self._listener
        self.close()
        if listener is not None:
            listener.upstream_failed(reason, detail)

    def _stream_ended(self, detail: str) -> None:
        """The upstream closed; `detail` says why it was no orderly close, and is empty where it was."""
        listener = self._listener
        if listener is None:
            self.close()
            return
        if self._response is not None and (self._tunnel or (not detail and self._body.end_of_stream())):
            self.close()
            listener.response_end()
        else:
            self._fail("closed", detail or self.CUT)


class Connecting(Protocol):
    """Waits for a connection."""

    def connected(self, connection: ClientConnection) -> None: ...

    def connect_failed(self, error: OSError) -> None: ...


class Connections(Protocol):
    """Where a relay gets its connections from: a `Pool`, or whatever else keeps some."""

    @property
    def timers(self) -> Timers:
        """The sweepers of whoever waits for these connections."""

    def get(self) -> ClientConnection | None:
        """A connection that is free now, or None."""

    def connect(self, waiter: Connecting) -> None:
        """Hand a connection to `waiter` as soon as there is one, or tell it why there will be none."""

    def put(self, connection: ClientConnection) -> None:
        """Take back a connection that is ready for another request."""

    def forget(self, connection: ClientConnection) -> None:
        """A connection is closed; may be said more than once."""


class Pool:
    """Kept-alive connections to one address, `unix:/path` or `host:port`. Its repr is its state."""

    def __init__(self, address: str, settings: WireSettings | None = None, timers: Timers | None = None) -> None:
        self.address = address
        self._settings = settings or WireSettings()
        self._loop = asyncio.get_running_loop()
        self._idle: list[ClientConnection] = []
        self.timers = timers or Timers(self._loop)
        self._sweeper = self.timers.idle
        self._tasks: set[asyncio.Task[None]] = set()
        self._lookout = Lookout(self._loop, self._settings.lost_timeout)
        self._closed = False
        self.deadline = NEVER

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._idle)} idle, {len(self._tasks)} connecting"
        return f"<Pool {self.address} {state}>"

    def get(self) -> ClientConnection | None:
        """An idle connection, the one used last, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.silent():
                return connection
            connection.close()
        return None

    def connect(self, waiter: Connecting) -> None:
        """Open a connection and hand it to `waiter`."""
        task = self._loop.create_task(self._connect(waiter))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, waiter: Connecting) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout or None):
                connection = await self._open()
        except TimeoutError:
            waiter.connect_failed(TimeoutError(f"no connection within {self._settings.connect_timeout:g} s"))
        except OSError as error:
            waiter.connect_failed(error)
        else:
            waiter.connected(connection)

    async def _open(self) -> ClientConnection:
        def factory() -> ClientConnection:
            return ClientConnection(self)

        if self.address.startswith("unix:"):
            _, connection = await self._loop.create_unix_connection(factory, self.address[5:])
        else:
            host, _, port = self.address.rpartition(":")
            transport, connection = await self._loop.create_connection(factory, host.strip("[]"), int(port))
            probe_idle(transport.get_extra_info("socket"), self._settings.lost_timeout)
            if not transport.is_closing():  # one that its peer has closed already is forgotten already
                self._lookout.add(connection)
        return connection

    def put(self, connection: ClientConnection) -> None:
        """Take back a connection that is ready for another request."""
        if self._closed or len(self._idle) >= MAX_IDLE:
            connection.close()
            return
        connection.raw = True
        if not self._idle:
            self._sweeper.watch(self)
            self.deadline = self._sweeper.now + 1.0
        connection.idle_since = self._sweeper.now
        self._idle.append(connection)

    def forget(self, connection: ClientConnection) -> None:
        """A connection is closed."""
        self._lookout.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def expire(self) -> None:
        """Drop connections that have been idle for too long; the one used last is at the end of the list."""
        now = self._sweeper.now
        oldest = now - (self._settings.upstream_idle_timeout or NEVER)
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle[0].close()
        self.deadline = now + 1.0
        if not self._idle:
            self._sweeper.unwatch(self)

    def close(self) -> None:
        """Close idle connections now and the others when they end."""
        self._closed = True
        for connection in list(self._idle):
            connection.close()
