"""Everything that is not a function: passed on to the control API over its unix socket, by the same relay."""

from __future__ import annotations

from penstock.core.headers import forward_fields
from penstock.wire.client import Pool
from penstock.wire.exchange import Exchange
from penstock.wire.message import ResponseHead
from penstock.wire.relay import Failure, Relay

MAX_ATTEMPTS = 2


class ControlProxy:
    """Relays to control. Requests have no deadline here: following logs may take hours, and control limits the rest."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def relay(self, exchange: Exchange) -> None:
        _Passage(self._pool, exchange).start(b"")


class _Passage:
    """One request to control."""

    __slots__ = ("_attempts", "_exchange", "_head", "_pool")

    def __init__(self, pool: Pool, exchange: Exchange) -> None:
        request = exchange.request
        self._pool = pool
        self._exchange = exchange
        self._attempts = 0
        host = b"Host: penstock\r\n" if request.get(b"host") is None else b""
        line = b"%b %b HTTP/1.1\r\n" % (request.method, request.target)
        self._head = b"".join((line, forward_fields(request), host, b"\r\n"))

    def start(self, body: bytes) -> None:
        self._attempts += 1
        Relay(self, self._exchange, self._pool, self._head, 0).start(body)

    def relay_response(self, relay: Relay, head: ResponseHead) -> bytes:
        return b""

    def relay_done(self, relay: Relay, status: int, complete: bool) -> None:
        pass  # only invocations are counted

    def relay_failed(self, relay: Relay, failure: Failure) -> None:
        if failure.retryable and failure.reason == "closed" and self._attempts < MAX_ATTEMPTS:
            self.start(relay.sent_body)
            return
        text = f"the control process does not answer, it may be restarting: {failure.detail}\n"
        fields = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Retry-After", b"1"),
            (b"X-OpenFaaS-Internal", b"gateway"),
        ]
        self._exchange.respond(503, fields, text.encode())
