"""One request's passage to an upstream and its answer's way back.

The relay joins an `Exchange` to a `ClientConnection`: bodies stream both ways as they come, each side feels the other's
back-pressure, chunked framing is passed on rather than rebuilt, and an upgraded connection becomes a tunnel. Its owner says
what is added to the answer and decides what a failure means; a small request and a small answer each cost one write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from penstock.core.headers import forward_fields
from penstock.wire.client import ClientConnection, Connections
from penstock.wire.exchange import CLOSE, Exchanging
from penstock.wire.message import CHUNKED, ResponseHead
from penstock.wire.timeouts import NEVER, Sweeper

FailureReason = Literal["connect", "closed", "timeout", "malformed"]

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})
"""RFC 9110 §9.2.2."""

CLIENT_GONE = 499
"""Counted as the status of a request whose client left before there was a response head (nginx's convention)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why no answer could be passed on. `retryable`: no response byte was seen, and the request is idempotent or was
    not accepted by the peer at all, and all of it is still at hand."""

    reason: FailureReason
    retryable: bool
    detail: str


class RelayOwner(Protocol):
    """Decides around a relay. Exactly one of `relay_done` and `relay_failed` is called, once."""

    def relay_response(self, relay: Relay, head: ResponseHead) -> bytes:
        """Field lines, each ending in CRLF, to add to the client's response head."""

    def relay_done(self, relay: Relay, status: int, complete: bool) -> None:
        """The answer was passed on, or cut after its head (`complete` false), or the client left (status 499)."""

    def relay_failed(self, relay: Relay, failure: Failure) -> None:
        """Nothing was sent to the client: answer it, or start another relay with `relay.head` and `relay.sent_body`."""


class Relay:
    """A request under way to an upstream. Create, then `start`."""

    __slots__ = (
        "_complete",
        "_connection",
        "_encode",
        "_ended",
        "_owner",
        "_pool",
        "_status",
        "_sweeper",
        "_timeout",
        "_written",
        "deadline",
        "exchange",
        "head",
        "sent_body",
    )

    def __init__(self, owner: RelayOwner, exchange: Exchanging, pool: Connections, head: bytes, timeout: float) -> None:
        """`head`: the whole request head for the upstream, with its closing empty line. `timeout`: seconds to the end of
        the answer, 0 for none."""
        self.exchange = exchange
        self.head = head
        self.sent_body = b""
        self.deadline = NEVER
        self._owner = owner
        self._pool = pool
        self._timeout = timeout
        self._connection: ClientConnection | None = None
        self._sweeper: Sweeper | None = None
        self._status = CLIENT_GONE
        self._ended = False
        self._encode = False
        self._complete = True
        self._written = False

    def start(self, body: bytes = b"") -> None:
        """Go. `body` is what a failed relay had already taken from the same exchange (`sent_body`)."""
        self.sent_body = body
        connection = self._pool.get()
        if self._timeout:
            self._sweeper = sweeper = self._pool.timers.relays
            sweeper.watch(self)
            self.deadline = sweeper.now + self._timeout
        if connection is not None:
            self._send(connection)
        else:
            self.exchange.watch(self)
            self._pool.connect(self)

    # Connecting

    def connected(self, connection: ClientConnection) -> None:
        if self._ended:
            self._pool.put(connection)
        else:
            self._send(connection)

    def connect_failed(self, error: OSError) -> None:
        self._fail("connect", f"cannot connect: {error.strerror or error}", retryable=True)

    def _send(self, connection: ClientConnection) -> None:
        exchange = self.exchange
        self._connection = connection
        if not exchange.body_done:
            self.sent_body += exchange.take_arrived(raw=True)
            if exchange.done:  # its body was malformed; the server has answered
                self._connection = None
                self._end_gone()
                self._pool.put(connection)
                return
        request = exchange.request
        connection.raw = not request.http10
        self._complete = complete = exchange.body_done
        data = self.head + self.sent_body if self.sent_body else self.head
        connection.send(data, self, head_only=request.method == b"HEAD", complete=complete)
        if complete:
            exchange.watch(self)
        else:
            exchange.attach(self, raw=True)

    # Listener: the client's side

    def body(self, data: bytes) -> None:
        connection = self._connection
        if connection is not None:
            self._written = True
            connection.write(data)

    def body_end(self) -> None:
        if self._connection is not None:
            self._connection.request_ended()

    def client_gone(self) -> None:
        connection = self._connection
        if connection is not None:
            if self._status == 101:
                connection.shut()
            else:
                connection.abandon()
        self._status = self.exchange.fault or self._status
        self._end_gone()

    def writable(self, ready: bool) -> None:
        connection = self._connection
        if connection is not None:
            if ready:
                connection.resume()
            else:
                connection.pause()

    # ResponseListener: the upstream's side

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        exchange = self.exchange
        self._status = head.status
        if done:
            self._connection = None  # it is in its pool again and no longer ours to pause
        if head.status == 101:
            self._switch(head, body)
            return
        extra = self._owner.relay_response(self, head)
        framing, close = b"", False
        http10 = exchange.request.http10
        unframed = head.content_length is None and not head.chunked
        if unframed or (head.chunked and http10):
            if done:
                framing = b"" if unframed or _bodyless(exchange, head) else b"Content-Length: %d\r\n" % len(body)
            elif http10:
                close = True
            else:
                self._encode = True
                framing = b"Transfer-Encoding: chunked\r\n"
        if not exchange.body_done and head.status >= 400:
            close = True
        connection_field = CLOSE if close else exchange.connection_field()
        if body and self._encode:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        passed_on = head.passed_on if not http10 else _for_http10(head)
        data = b"".join((passed_on, framing, connection_field, extra, b"\r\n", body))
        exchange.send_head(data, connection_field is CLOSE)
        if done:
            self._end()

    def interim(self, head: ResponseHead) -> None:
        if not self.exchange.request.http10:
            self.exchange.send_interim(head.passed_on + b"\r\n")

    def response_body(self, data: bytes) -> None:
        if self._encode:
            self.exchange.send_chunk(data)
        else:
            self.exchange.send(data)

    def response_end(self) -> None:
        self._connection = None
        if self._encode:
            self.exchange.send(b"0\r\n\r\n")
        self._end()

    def upstream_failed(self, reason: str, detail: str) -> None:
        connection = self._connection
        unheard = reason == "closed" and connection is not None and not connection.heard
        self._fail("malformed" if reason == "malformed" else "closed", detail, unheard and self._may_retry())

    def upstream_writable(self, ready: bool) -> None:
        if ready:
            self.exchange.resume()
        else:
            self.exchange.pause()

    # Ends

    def expire(self) -> None:
        """The answer took too long."""
        if self._connection is not None:
            self._connection.close()
        self._fail("timeout", f"no complete answer within {self._timeout:g} s", retryable=False)

    def _may_retry(self) -> bool:
        """Only what is safe to run twice, and only while all of it is still here."""
        whole = self._complete and not self._written
        return whole and self.exchange.request.method in IDEMPOTENT and self.exchange.request.get(b"upgrade") is None

    def _switch(self, head: ResponseHead, rest: bytes) -> None:
        """101: the rest of the connection belongs to the new protocol (RFC 9110 §7.8)."""
        exchange, connection = self.exchange, self._connection
        if not exchange.request.upgrade or connection is None:
            self._fail("malformed", "101 without a request to upgrade", retryable=False)
            return
        self.deadline = NEVER
        extra = self._owner.relay_response(self, head)
        upgrade = head.get(b"upgrade") or exchange.request.upgrade
        switch = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
        data = (b"HTTP/1.1 101 Switching Protocols\r\n", forward_fields(head), switch, extra, b"\r\n", rest)
        exchange.send_head(b"".join(data), True)
        exchange.tunnel()

    def _end(self) -> None:
        if self._ended:
            return
        self._forget()
        self.exchange.end()
        self._owner.relay_done(self, self._status, True)

    def _end_gone(self) -> None:
        if not self._ended:
            self._forget()
            self._owner.relay_done(self, self._status, False)

    def _fail(self, reason: FailureReason, detail: str, retryable: bool) -> None:
        if self._ended:
            return
        self._forget()
        if self._connection is not None and not self._connection.closed:
            self._connection.close()
        if self.exchange.head_sent:
            self.exchange.abort()
            self._owner.relay_done(self, self.exchange.fault or self._status, False)
        else:
            self.exchange.detach()
            self._owner.relay_failed(self, Failure(reason, retryable, detail))

    def _forget(self) -> None:
        self._ended = True
        if self._sweeper is not None:
            self._sweeper.unwatch(self)


def _bodyless(exchange: Exchanging, head: ResponseHead) -> bool:
    return exchange.request.method == b"HEAD" or head.status in (204, 304)


def _for_http10(head: ResponseHead) -> bytes:
    """Status line and fields for an old client: a chunked answer loses its coding, and is ended by closing."""
    return head.passed_on.removesuffix(CHUNKED) if head.chunked else head.passed_on
