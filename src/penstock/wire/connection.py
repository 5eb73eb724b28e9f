"""One client connection of the HTTP/1.1 server: bytes in, exchanges out.

A `Connection` turns bytes into exchanges, one at a time and in order (pipelining), holds every limit, and keeps reading only
as long as somebody wants what it reads. The server makes it and is told when it opens and closes.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, cast

from penstock.wire.date import date_line
from penstock.wire.errors import MalformedMessage
from penstock.wire.exchange import Exchange
from penstock.wire.framing import NO_BODY, Body, ChunkedBody, LengthBody
from penstock.wire.memory import HeadMemory
from penstock.wire.message import RequestHead, check_partial, parse_request
from penstock.wire.timeouts import NEVER, Sweeper
from penstock.wiresettings import WireSettings

Application = Callable[[Exchange], None]
"""Called once per request, when its head is complete. Must not block."""

PIPELINE_BUFFER = 64 << 10
"""Bytes read ahead of the request in progress; beyond, the client waits."""

WRITE_HIGH, WRITE_LOW = 256 << 10, 64 << 10
"""Bytes waiting in a transport at which producers are paused, and go on again."""

LINGER = 5.0
"""Seconds to go on reading a body that nobody wants after an error was answered, so that the client sees the answer
and not a reset (RFC 9112 §9.6)."""

PEEK = 1.0
"""Seconds between looks at a paused connection, whose client may have gone while nobody reads."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, 0 seconds (socket(7))."""


class Host(Protocol):
    """What connections need of their server. `active` counts exchanges in progress."""

    app: Application
    settings: WireSettings
    sweeper: Sweeper
    idle_timeout: float
    body_timeout: float
    active: int
    draining: bool

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_advancing",
        "_discarding",
        "_keep_alive",
        "_memory",
        "_paused",
        "_scanned",
        "_sweeper",
        "_tunnel",
        "_unread",
        "_unsent",
        "_write_paused",
        "buffer",
        "deadline",
        "exchange",
        "peer",
        "server",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: Host) -> None:
        self.server = server
        self.buffer: bytes | bytearray = b""
        self.exchange: Exchange | None = None
        self.deadline = NEVER
        self.peer = ""
        self._sweeper = server.sweeper
        self._keep_alive = True
        self._scanned = 0
        self._memory: HeadMemory[RequestHead] = HeadMemory()
        self._advancing = False
        self._paused = False
        self._write_paused = False
        self._tunnel = False
        self._unsent = NEVER
        self._unread: _Unread | None = None
        self._discarding: Body | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)  # type: ignore[attr-defined]
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple):
            self.peer = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        self.server.opened(self)
        self.deadline = self._sweeper.now + self.server.idle_timeout
        self._sweeper.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sweeper.unwatch(self)
        self._watch_reading(False)
        self._leave()
        self.server.closed(self)

    def eof_received(self) -> None:
        """A client that closes its sending side has gone, as nginx and Go see it: otherwise nobody would notice an abort."""
        self._leave()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            if self._discarding is not None:
                self._discard(self._discarding, data)
                return
            if self.buffer:
                self._append(data)
            else:
                self.buffer = data
            self._advance()
            if self._write_paused and len(self.buffer) > PIPELINE_BUFFER and not self._paused and not self._closing():
                self._paused = True  # it sends requests but does not read the answers
                self.transport.pause_reading()
        elif self._tunnel:
            exchange.deliver(data)
        elif exchange.attached and not exchange.body_done:
            self.deadline = self._sweeper.now + self.server.body_timeout
            self._feed(exchange, data)
        else:
            self._append(data)
            if not exchange.body_done or len(self.buffer) > PIPELINE_BUFFER:
                self.pause_body()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._watch_reading(True)
        if self.exchange is not None:
            self.exchange.writable(False)

    def resume_writing(self) -> None:
        self._write_paused = False
        self._watch_reading(False)
        if self.exchange is not None:
            self.exchange.writable(True)
        else:
            self._advance()

    # Requests, one after another.

    def _append(self, data: bytes) -> None:
        if not isinstance(self.buffer, bytearray):
            self.buffer = bytearray(self.buffer)
        self.buffer += data

    def _advance(self) -> None:
        """Begin requests from the buffer as long as each one before is answered and its answer could be written."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self.buffer and self.exchange is None and not self._write_paused and not self._closing():
                if not self._begin():
                    break
        finally:
            self._advancing = False
        if self._paused and self.exchange is None and not self._write_paused:
            self._read_on()

    def _begin(self) -> bool:
        """Take one request head from the buffer; False when there is none yet, or what there is was refused."""
        buffer = self.buffer
        if buffer.startswith(b"\r\n"):  # RFC 9112 §2.2: ignore empty lines before a request
            self.buffer = buffer.lstrip(b"\r\n")
            return bool(self.buffer)
        server = self.server
        settings = server.settings
        end = buffer.find(b"\r\n\r\n", self._scanned - 3 if self._scanned > 3 else 0) + 4
        try:
            if end < 4 or end > settings.max_head:
                return self._wait_for_head(buffer)
            head = bytes(buffer[:end])
            self.buffer = bytes(buffer[end:])
            self._scanned = 0
            request = self._memory.recall(head)
            if request is None:
                request = parse_request(head, settings.max_target, settings.max_fields)
                self._memory.keep(head, request)
        except MalformedMessage as error:
            self._refuse(error)
            return False
        self.deadline = NEVER
        self._keep_alive = request.keep_alive
        framing = NO_BODY if request.content_length is None and not request.chunked else _body_of(request)
        exchange = self.exchange = Exchange(self, request, framing)
        server.active += 1
        server.app(exchange)
        return True

    def _wait_for_head(self, buffer: bytes | bytearray) -> bool:
        settings = self.server.settings
        if len(buffer) > settings.max_target and buffer.find(b"\n", 0, settings.max_target + 32) < 0:
            raise MalformedMessage(414, f"request target longer than {settings.max_target} bytes")
        if len(buffer) > settings.max_head:
            raise MalformedMessage(431, f"header block larger than {settings.max_head} bytes")
        check_partial(buffer, self._scanned)
        if not self._scanned:
            self.deadline = self._sweeper.now + (settings.head_timeout or NEVER)
        self._scanned = len(buffer)
        self._append(b"")
        return False

    def _refuse(self, error: MalformedMessage) -> None:
        """Answer a request that cannot become an exchange, and close."""
        body = f"{error}\n".encode()
        fields = date_line() + b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
        head = b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.write(head % (error.code, _reason(error.code), fields, len(body)) + body)
        self._keep_alive = False
        self.buffer = b""
        self._discarding = _Endless()
        self._end_sending()

    def _end_sending(self) -> None:
        """The client sees the end now, while what it still sends is read for a moment."""
        self.deadline = self._sweeper.now + LINGER
        if self._closing():
            return
        try:
            self.transport.write_eof()
        except OSError:  # plain asyncio shuts down at once, and the client may have reset the connection already
            self.transport.abort()

    def exchange_ended(self) -> None:
        """The exchange was answered completely."""
        exchange = self.exchange
        if exchange is None:
            return
        self.exchange = None
        self.server.active -= 1
        if not exchange.body_done:
            self._discarding = exchange.framing
            if self.keep_alive:
                self.deadline = self._sweeper.now + self.server.body_timeout
            else:
                self._end_sending()
            rest, self.buffer = bytes(self.buffer), b""
            self.resume_body()
            self._discard(exchange.framing, rest)
        else:
            self._next()

    def _next(self) -> None:
        if not self.keep_alive or self._closing():
            self._end_connection()
            return
        self.deadline = self._sweeper.now + self.server.idle_timeout
        if self.buffer:
            self._advance()
        elif self._paused:
            self._read_on()

    def _end_connection(self) -> None:
        """Close when everything is sent. Closing on bytes that nobody has read would reset it, and take the answer along."""
        if self._paused and not self._closing():
            self.buffer = b""
            self._discarding = _Endless()
            self._end_sending()
            self.resume_body()
        else:
            self.deadline = self._sweeper.now + LINGER
            self.transport.close()

    def _discard(self, framing: Body, data: bytes) -> None:
        """Read past a body that nobody wants."""
        if self.keep_alive:
            self.deadline = self._sweeper.now + self.server.body_timeout
        try:
            _, rest = framing.feed(data)
        except MalformedMessage:
            self.transport.close()
            return
        if framing.done:
            self._discarding = None
            self.buffer = rest
            self._next()

    def _leave(self) -> None:
        """The client is gone."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self.server.active -= 1
            exchange.gone()

    # For the exchange.

    @property
    def keep_alive(self) -> bool:
        return self._keep_alive and not self.server.draining

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._keep_alive = value

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def writelines(self, data: tuple[bytes, ...]) -> None:
        self.transport.writelines(data)

    def want_body(self, raw: bool) -> None:
        """A listener was attached: give it what has come, then the rest as it comes."""
        exchange = self.exchange
        if exchange is None:
            return
        if isinstance(exchange.framing, ChunkedBody):
            exchange.framing.raw = raw
        rest, self.buffer = bytes(self.buffer), b""
        self.deadline = self._sweeper.now + self.server.body_timeout
        if self._paused:
            self._read_on()  # before delivery, in which the listener may pause again
        self._feed(exchange, rest)
        if len(self.buffer) > PIPELINE_BUFFER and self.exchange is exchange:
            self.pause_body()  # the body had come, and what follows it can wait

    def take_body(self, raw: bool) -> bytes:
        exchange = self.exchange
        if exchange is None or not self.buffer:
            return b""
        if isinstance(exchange.framing, ChunkedBody):
            exchange.framing.raw = raw
        rest, self.buffer = bytes(self.buffer), b""
        try:
            data, self.buffer = exchange.framing.feed(rest)
        except MalformedMessage as error:
            self._broken_body(exchange, error)
            return b""
        if exchange.framing.done:
            exchange.body_done = True
            self.deadline = NEVER
            self.resume_body()
        return data

    def _feed(self, exchange: Exchange, data: bytes) -> None:
        framing = exchange.framing
        try:
            payload, rest = framing.feed(data)
        except MalformedMessage as error:
            self._broken_body(exchange, error)
            return
        if framing.done:
            self.deadline = NEVER
            self.buffer = rest
        if payload:
            exchange.deliver(payload)
        if framing.done:
            exchange.deliver_end()

    def _broken_body(self, exchange: Exchange, error: MalformedMessage) -> None:
        """Malformed or late: whoever works on it stops; the client is told if that is still possible."""
        self.exchange = None
        self.server.active -= 1
        head_sent = exchange.head_sent
        exchange.gone()
        if head_sent:
            self.transport.abort()
        else:
            self._refuse(error)

    def pause_body(self) -> None:
        if not self._paused and not self._closing():
            self._paused = True
            self.transport.pause_reading()
            self.deadline = self._sweeper.now + PEEK

    def _read_on(self) -> None:
        if not self._closing():
            self._paused = False
            self.transport.resume_reading()

    def resume_body(self) -> None:
        if self._paused and len(self.buffer) <= PIPELINE_BUFFER:
            self._read_on()
            exchange = self.exchange
            if exchange is not None:
                wanted = exchange.attached and not exchange.body_done and not self._tunnel
                self.deadline = self._sweeper.now + self.server.body_timeout if wanted else NEVER

    def excuse_body(self) -> None:
        if not self._paused:
            self.deadline = NEVER

    def start_tunnel(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        self._tunnel = True
        self._keep_alive = False
        self.deadline = NEVER
        rest, self.buffer = bytes(self.buffer), b""
        self.resume_body()
        exchange.deliver(rest)

    def abort(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self.server.active -= 1
            if exchange.request.http10:
                # Its answer may be one that ends by closing: only a reset cannot be taken for that.
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # Time.

    def expire(self) -> None:
        exchange = self.exchange
        if exchange is None:
            if self.buffer and self._discarding is None and not self._closing():
                self._refuse(MalformedMessage(408, "the request head did not arrive in time"))
            elif self._closing() or self._discarding is not None:
                self._expire_closing()
            else:
                self.deadline = self._sweeper.now + LINGER
                self.transport.close()
        elif self._paused:
            self.deadline = self._sweeper.now + PEEK
            if not self._tunnel and self._hung_up():  # what a tunnel's client sent before it closed is still owed
                self._leave()
                self.transport.abort()
        elif exchange.attached and not exchange.body_done:
            self._broken_body(exchange, MalformedMessage(408, "the request body did not arrive in time"))
        else:
            self.deadline = NEVER

    def stalled(self) -> None:
        """The client has read nothing for too long, and holds what waits for it."""
        self._watch_reading(False)
        self._leave()
        self.transport.abort()

    def _watch_reading(self, watched: bool) -> None:
        if self._unread is not None:
            self._sweeper.unwatch(self._unread)
            self._unread = None
        timeout = self.server.settings.send_timeout
        if watched and timeout:
            self._unread = _Unread(self, timeout)
            self._sweeper.watch(self._unread)

    def _expire_closing(self) -> None:
        """Cut a connection that does not come to its end, unless its client still reads, however slowly."""
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self.deadline = self._sweeper.now + self.server.body_timeout
        else:
            self.deadline = NEVER
            self.transport.abort()

    def _hung_up(self) -> bool:
        """Whether the peer closed, asked of the kernel since nobody reads."""
        sock = self.transport.get_extra_info("socket")
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def close_if_idle(self) -> None:
        if self.exchange is None and self._discarding is None and not self.buffer:
            self.transport.close()

    def _closing(self) -> bool:
        return self.transport.is_closing()


class _Unread:
    """Watches a client that does not read while something waits to be sent to it: as long as it takes anything, it is only slow."""

    __slots__ = ("_connection", "_least", "_timeout", "deadline")

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._least = connection.transport.get_write_buffer_size()
        self.deadline = connection.server.sweeper.now + timeout

    def expire(self) -> None:
        unsent = self._connection.transport.get_write_buffer_size()
        if unsent < self._least:
            self._least = unsent
            self.deadline = self._connection.server.sweeper.now + self._timeout
        else:
            self._connection.stalled()


class _Endless:
    """A body without end: everything is discarded until the linger time is over or the client closes."""

    done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return b"", b""

    def end_of_stream(self) -> bool:
        return False


def _body_of(request: RequestHead) -> Body:
    if request.chunked:
        return ChunkedBody(raw=False)
    return LengthBody(request.content_length) if request.content_length else NO_BODY


def _reason(code: int) -> bytes:
    return HTTPStatus(code).phrase.encode()
