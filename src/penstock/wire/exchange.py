"""One request and its answer, seen from the server.

The server hands an `Exchange` to the application as soon as the request head is complete. The application answers whole
(`respond`) or in pieces (`start`, `write`, `finish`) and, if it wants the body, attaches a listener. What it does after the
exchange ended is ignored: an answer that comes too late harms nobody.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from penstock.core.headers import Field, field_lines
from penstock.wire.date import date_line
from penstock.wire.errors import BodyTooLarge, ClientGone
from penstock.wire.framing import Body
from penstock.wire.message import RequestHead

if TYPE_CHECKING:
    from penstock.wire.connection import Connection

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {code: b"HTTP/1.1 %d %b\r\n" % (code, reason) for code, reason in _REASONS.items()}

_DATED = re.compile(rb"^date:", re.IGNORECASE | re.MULTILINE)

CLOSE = b"Connection: close\r\n"
"""The field line that tells a client not to send another request here."""

_WRITELINES_FROM = 16 << 10
"""Bytes of a piece from which it is handed to the transport uncopied."""


class Listener(Protocol):
    """Hears of the request body and of the client. Pieces that have already arrived are delivered within `attach`."""

    def body(self, data: bytes) -> None:
        """A piece of the body."""

    def body_end(self) -> None:
        """The body is complete."""

    def client_gone(self) -> None:
        """The client closed, or its body was malformed or late. At most once, and nothing after it."""

    def writable(self, ready: bool) -> None:
        """False: the client reads slower than you write, stop producing. True: go on."""


class Exchanging(Protocol):
    """What a relay, and whoever answers, needs of the side that asks: an `Exchange`, or what stands in its place."""

    request: RequestHead

    @property
    def head_sent(self) -> bool:
        """Whether the head of an answer is on its way."""

    @property
    def done(self) -> bool:
        """Whether it is over: answered, aborted, or nobody waits any more."""

    @property
    def fault(self) -> int:
        """Status of what has gone wrong on this side, or of what a cut answer has become; 0 where the client has left."""

    @property
    def body_done(self) -> bool:
        """Whether the whole request body has come."""

    def attach(self, listener: Listener, raw: bool = False) -> None: ...

    def take_arrived(self, raw: bool) -> bytes: ...

    def watch(self, listener: Listener) -> None: ...

    def detach(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def respond(self, status: int, fields: Iterable[Field] = (), body: bytes = b"") -> None: ...

    def send_head(self, data: bytes, close: bool) -> None: ...

    def send_interim(self, data: bytes) -> None: ...

    def send(self, data: bytes) -> None: ...

    def send_chunk(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def abort(self) -> None: ...

    def tunnel(self) -> None: ...

    def connection_field(self) -> bytes: ...


class Asking(Exchanging, Protocol):
    """The same of somebody whose address is known."""

    @property
    def peer(self) -> str:
        """`ip:port` of the client, empty on unix sockets."""


class Exchange:
    """A request under way. `done` once it was answered completely, aborted, or the client went away."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_expect",
        "_left",
        "_listener",
        "_omit_body",
        "attached",
        "body_done",
        "done",
        "framing",
        "head_sent",
        "request",
    )

    fault = 0

    def __init__(self, connection: Connection, request: RequestHead, framing: Body) -> None:
        self.request = request
        self.framing = framing
        self.head_sent = False
        self.done = False
        self.body_done = framing.done
        self.attached = False
        self._connection = connection
        self._listener: Listener | None = None
        self._expect = request.expect_continue
        self._chunked = False
        self._omit_body = False
        self._left: int | None = None

    @property
    def peer(self) -> str:
        """`ip:port` of the client, empty on unix sockets."""
        return self._connection.peer

    @property
    def keep_alive(self) -> bool:
        """Whether the connection will take another request after this one."""
        return self._connection.keep_alive

    # The request body.

    def attach(self, listener: Listener, raw: bool = False) -> None:
        """Start delivery of the body; asks for it where the client waits for 100 Continue.

        With `raw`, a chunked body comes with its framing, checked. What has already arrived is delivered before this returns.
        """
        if self.done:
            return
        self._listener = listener
        self.attached = True
        self._grant()
        if self.body_done:
            listener.body_end()
        else:
            self._connection.want_body(raw)

    def take_arrived(self, raw: bool) -> bytes:
        """What has already come of the body, before a listener is attached; `body_done` tells whether that is all."""
        return b"" if self.body_done or self.done else self._connection.take_body(raw)

    def watch(self, listener: Listener) -> None:
        """Hear of a client that leaves, without taking any of the body yet."""
        self._listener = listener

    def detach(self) -> None:
        """Whoever listened has given up: what comes is kept for the next listener, or discarded with the answer."""
        self._listener = None
        self.attached = False

    def pause(self) -> None:
        """Take no more of the body for now; the client feels it. Attaching a listener begins unpaused."""
        if not self.done:
            self._connection.pause_body()

    def resume(self) -> None:
        if not self.done:
            self._connection.resume_body()

    def excuse_body(self) -> None:
        """The rest of the body comes another way: its time limit does not count until more of it comes here."""
        if not self.done:
            self._connection.excuse_body()

    async def read(self, limit: int = 0) -> bytes:
        """The whole body, of at most `limit` bytes where that is not 0. Raises BodyTooLarge, ClientGone."""
        if self.done:
            raise ClientGone("the exchange was over before its body was read")
        gatherer = _Gatherer(limit)
        self.attach(gatherer)
        return await gatherer.result

    # The answer.

    def respond(self, status: int, fields: Iterable[Field] = (), body: bytes = b"") -> None:
        """The whole answer; Content-Length is added. Ignored once a head was sent."""
        if self.head_sent or self.done:
            return
        self._listener = None  # who answers hears nothing more
        self.take_arrived(raw=False)
        if self._connection.exchange is not self:  # what had arrived of the body was malformed and has been answered
            return
        head = self._head(status, fields, b"", self._length_field(status, len(body)))
        self.head_sent = True
        self._connection.write(head if self._omit_body or not body else head + body)
        self._end()

    def start(
        self, status: int, fields: Iterable[Field] = (), content_length: int | None = None, reason: bytes = b""
    ) -> None:
        """Begin an answer in pieces: of known length, or chunked, or (for HTTP/1.0) ended by closing."""
        if self.head_sent or self.done:
            return
        if content_length is not None:
            framing = self._length_field(status, content_length)
            self._left = content_length
        elif self.request.http10:
            self._connection.keep_alive = False
            framing = b""
        else:
            self._chunked = not _bodyless(status)
            framing = b"Transfer-Encoding: chunked\r\n" if self._chunked else b""
        head = self._head(status, fields, reason, framing)
        self.head_sent = True
        self._connection.write(head)

    def write(self, data: bytes) -> None:
        """A piece of the answer, sent at once. Raises ValueError when it exceeds the announced length."""
        if self.done or not data:
            return
        if self._left is not None:
            if len(data) > self._left:
                raise ValueError(f"answer longer than its Content-Length by {len(data) - self._left} bytes")
            self._left -= len(data)
        if self._omit_body:
            return
        if self._chunked:
            self.send_chunk(data)
        else:
            self._connection.write(data)

    def finish(self, trailers: Iterable[Field] = ()) -> None:
        """The answer is complete. One that is shorter than announced is aborted instead."""
        if self.done:
            return
        if self._left and not self._omit_body:
            self.abort()
            return
        if self._chunked and not self._omit_body:
            self._connection.write(b"0\r\n%b\r\n" % field_lines(trailers))
        self._end()

    def abort(self) -> None:
        """Cut the connection, so that the client cannot mistake what it has for the whole answer."""
        if not self.done:
            self.done = True
            self._connection.abort()

    # For the relay, which frames its own answer.

    def send_head(self, data: bytes, close: bool) -> None:
        """A response head (and perhaps some body) ready for the wire; `close` ends the connection after the answer."""
        if close:
            self._connection.keep_alive = False
        self.head_sent = True
        self._connection.write(data)

    def send_interim(self, data: bytes) -> None:
        """A 1xx head ready for the wire."""
        self._connection.write(data)

    def send(self, data: bytes) -> None:
        """Body bytes ready for the wire."""
        self._connection.write(data)

    def send_chunk(self, data: bytes) -> None:
        """Body bytes, to be sent as one chunk (RFC 9112 §7.1)."""
        if len(data) < _WRITELINES_FROM:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._connection.writelines((b"%x\r\n" % len(data), data, b"\r\n"))

    def end(self) -> None:
        """Everything was sent."""
        if not self.done:
            self._end()

    def tunnel(self) -> None:
        """From now on all bytes go to the listener as they come, and `send` writes them (101, RFC 9110 §7.8)."""
        self._connection.start_tunnel()

    # For the connection.

    def deliver(self, data: bytes) -> None:
        """Bytes of the body, or of a tunnel, arrived."""
        if self._listener is not None and data:
            self._listener.body(data)

    def deliver_end(self) -> None:
        self.body_done = True
        if self._listener is not None and not self.done:
            self._listener.body_end()

    def gone(self) -> None:
        """The client is gone."""
        if not self.done:
            self.done = True
            if self._listener is not None:
                self._listener.client_gone()

    def writable(self, ready: bool) -> None:
        if self._listener is not None and not self.done:
            self._listener.writable(ready)

    def _grant(self) -> None:
        if self._expect and not self.head_sent and not self.body_done:
            self._expect = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _head(self, status: int, fields: Iterable[Field], reason: bytes, framing: bytes) -> bytes:
        self._omit_body = self.request.method == b"HEAD" or _bodyless(status)
        if not self.body_done and (self._expect or status >= 400):
            self._connection.keep_alive = False
        line = _STATUS_LINES.get(status) if not reason else None
        if line is None:
            line = b"HTTP/1.1 %d %b\r\n" % (status, reason or _REASONS.get(status, b""))
        lines = field_lines(fields)
        date = b"" if status < 200 or _DATED.search(lines) else date_line()
        # Framing first: a watchdog's last field is the one that is new in each answer (`wire.memory`).
        return b"".join((line, date, framing, self.connection_field(), lines, b"\r\n"))

    def connection_field(self) -> bytes:
        """The `Connection` line that tells the client what becomes of the connection; empty where it is the default."""
        if not self._connection.keep_alive:
            return CLOSE
        return b"Connection: keep-alive\r\n" if self.request.http10 else b""

    def _length_field(self, status: int, length: int) -> bytes:
        return b"" if status < 200 or status == 204 else b"Content-Length: %d\r\n" % length

    def _end(self) -> None:
        self.done = True
        self._listener = None
        self._connection.exchange_ended()


def _bodyless(status: int) -> bool:
    return status < 200 or status in (204, 304)


class _Gatherer:
    """Listener that keeps the whole body."""

    def __init__(self, limit: int) -> None:
        self.result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._size = 0
        self._pieces: list[bytes] = []

    def body(self, data: bytes) -> None:
        self._size += len(data)
        if self._limit and self._size > self._limit:
            self._fail(BodyTooLarge(f"request body larger than {self._limit} bytes"))
        else:
            self._pieces.append(data)

    def body_end(self) -> None:
        if not self.result.done():
            self.result.set_result(b"".join(self._pieces))

    def client_gone(self) -> None:
        self._fail(ClientGone("the client went away before its request was complete"))

    def writable(self, ready: bool) -> None:
        pass  # the answer is written whole, after this

    def _fail(self, error: Exception) -> None:
        self._pieces.clear()
        if not self.result.done():
            self.result.set_exception(error)
