"""A call's way through the relay to a program that speaks HTTP, and its entry in the books.

Used by the modes `http` and `afterburn`, which say by their `Upstream` where programs are reached and what failures mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from penstock.core.headers import forward_fields
from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.wire.client import Connections
from penstock.wire.message import RequestHead, ResponseHead
from penstock.wire.relay import Failure, Relay

_ENDLESS = (b"text/event-stream", b"application/x-ndjson")


class Upstream(Protocol):
    """The mode that relays."""

    @property
    def connections(self) -> Connections:
        """Where connections to the program come from."""

    def failed(self, call: Call, failure: Failure) -> None:
        """Answer for the program."""


class Passage:
    """One request's way; the owner of its relay. `retries`: attempts to make again when a repeatable request came to nothing
    because its connection was closed."""

    __slots__ = ("_call", "_retries", "_upstream")

    def __init__(self, upstream: Upstream, call: Call, retries: int = 0) -> None:
        self._upstream = upstream
        self._call = call
        self._retries = retries

    def go(self, head: bytes, body: bytes = b"") -> None:
        """Send `head`; `body` is what was gathered of the request's body already."""
        timeout = 0.0 if _shape_of(self._call.request).endless else self._call.timeout
        Relay(self, self._call.exchange, self._upstream.connections, head, timeout).start(body)

    def relay_response(self, relay: Relay, head: ResponseHead) -> bytes:
        call = self._call
        if call.on_head is not None:
            call.on_head(head.fields)
        call.reason = head.reason
        call.size = -1 if head.content_length is None else head.content_length
        if head.lasting is None:  # once: the program's own duration stands
            head.lasting = head.status != 101 and b"x-duration-seconds" not in head.raw_fields.lower()
        return b"%b: %b\r\n" % call.duration() if head.lasting else b""

    def relay_done(self, relay: Relay, status: int, complete: bool) -> None:
        self._call.end(status)

    def relay_failed(self, relay: Relay, failure: Failure) -> None:
        if not (failure.retryable and failure.reason == "closed" and self._retries):
            self._upstream.failed(self._call, failure)
            return
        self._retries -= 1
        call = self._call
        left = 0.0 if _shape_of(call.request).endless or not call.timeout else max(call.timeout - call.elapsed(), 0.1)
        Relay(self, relay.exchange, self._upstream.connections, relay.head, left).start(relay.sent_body)


class Gathering:
    """Listener that takes a request's body whole, and then has it sent. A body of more than `most` bytes is answered 413."""

    __slots__ = ("_call", "_most", "_pieces", "_send", "_size")

    def __init__(self, call: Call, most: int, send: Callable[[bytes], None]) -> None:
        self._call = call
        self._most = most
        self._send = send
        self._pieces: list[bytes] = []
        self._size = 0

    def body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._most:
            self._pieces.append(data)
        elif self._pieces:
            self._pieces.clear()
            self._call.refuse(413, f"a body that is gathered before it is sent on may have at most {self._most} bytes")

    def body_end(self) -> None:
        self._send(b"".join(self._pieces))

    def client_gone(self) -> None:
        self._pieces.clear()
        self._call.end(CLIENT_GONE)

    def writable(self, ready: bool) -> None:
        """Nothing is written meanwhile."""


class _Shape:
    """What is sent to the program of a request, besides its fields; the same for all that differ in their call alone."""

    __slots__ = ("endless", "line", "own")

    def __init__(self, request: RequestHead) -> None:
        self.line = b""
        """The request line; empty until the program's prefix is known."""
        upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade if request.upgrade else b""
        host = b"Host: localhost\r\n" if request.get(b"host") is None else b""
        self.own = upgrade + host + b"\r\n"
        """Field lines of ours, and the empty line."""
        self.endless = is_endless(request)


def _shape_of(request: RequestHead) -> _Shape:
    if request.lasting is None:
        request.lasting = _Shape(request)
    return request.lasting  # type: ignore[no-any-return]


def request_head(request: RequestHead, prefix: bytes = b"") -> bytes:
    """The request head for the program: its fields without hop-by-hop ones, its target as sent behind the prefix, which is
    always the same for one program."""
    shape = _shape_of(request)
    if not shape.line:
        target = prefix + request.path + (b"?" + request.query if b"?" in request.target else b"")
        shape.line = b"%b %b HTTP/1.1\r\n" % (request.method, target)
    return b"".join((shape.line, forward_fields(request), shape.own))


def is_endless(request: RequestHead) -> bool:
    """Whether the answer may go on for ever: server-sent events, NDJSON, an upgrade. exec_timeout is not for those."""
    accept = (request.get(b"accept") or b"").lower()
    return bool(request.upgrade) or any(kind in accept for kind in _ENDLESS)
