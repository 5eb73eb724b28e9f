"""mode=http: one long-lived HTTP server as the program, requests relayed to it (contract watchdog §2.6).

The program is supervised; while it is away, requests are answered 503 at once. Bodies stream both ways and WebSockets pass
through, since the relay is the gateway's own.
"""

from __future__ import annotations

import copy
import re

from penstock.core.headers import forward_fields
from penstock.errors import SettingsError
from penstock.settings import WireSettings
from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.watchdog.modes import Context
from penstock.watchdog.supervise import Supervised, free_port
from penstock.wire.client import Pool
from penstock.wire.message import RequestHead, ResponseHead
from penstock.wire.relay import Failure, Relay

BUFFER_MOST = 64 << 20
"""Bytes that `buffer_http` gathers; a larger body is answered 413. It exists for servers that refuse chunked bodies."""
UPSTREAM_IDLE = 0.5
"""Seconds that a connection to the program is kept, as the original: some servers close theirs after two."""
RETRIES = 1
"""Further attempts when the program closed a kept connection just as a repeatable request was sent on it."""

_UNIX_URL = re.compile(r"http://unix:(?P<path>/[^:]*):?(?P<prefix>/.*)?")
_TCP_URL = re.compile(
    r"http://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:?#@\s]+)(?::(?P<port>[0-9]{1,5}))?(?P<prefix>/[^?#\s]*)?"
)
_ENDLESS = (b"text/event-stream", b"application/x-ndjson")


class Http:
    """Supervise and relay."""

    def __init__(self, context: Context) -> None:
        self._context = context
        variables: dict[bytes, bytes] = {}
        url = context.settings.upstream_url
        if not url:
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            variables = {b"PORT": b"%d" % port, b"upstream_url": url.encode()}
        self.address, self._prefix = parse_upstream(url)
        self.program = Supervised(context, self.address, variables)
        self._pool = Pool(self.address, WireSettings(upstream_idle_timeout=UPSTREAM_IDLE))

    async def start(self) -> None:
        self.program.start()

    def handle(self, call: Call) -> None:
        if self.program.reason:
            call.refuse(503, f"the function is not ready: {self.program.reason}", ((b"Retry-After", b"1"),))
        elif self._context.settings.buffer_http and call.request.chunked:
            call.exchange.attach(_Gathering(self, call))
        else:
            self.relay(call, call.request, b"")

    def relay(self, call: Call, request: RequestHead, body: bytes) -> None:
        """Pass the request on; `body` is what was gathered of it already."""
        timeout = 0.0 if _is_endless(request) else call.timeout
        Relay(_Passage(self, call), call.exchange, self._pool, self._head(request), timeout).start(body)

    def again(self, relay: Relay, passage: _Passage, timeout: float) -> None:
        """Repeat what a relay could not do."""
        Relay(passage, relay.exchange, self._pool, relay.head, timeout).start(relay.sent_body)

    def unready(self) -> str:
        return self.program.reason

    def forward(self, number: int) -> None:
        """A signal to the watchdog that is meant for the program."""
        self.program.forward(number)

    async def stop(self) -> None:
        self._pool.close()
        await self.program.stop()

    def failed(self, call: Call, failure: Failure) -> None:
        """Answer for the program."""
        self._context.log.line(f"no answer from the program: {failure.reason}: {failure.detail}", call.call_id)
        if failure.reason == "timeout":
            call.refuse(504, f"the function gave no complete answer within {call.timeout:g} s", (call.duration(),))
        else:
            call.refuse(502, f"the function did not answer: {failure.detail}", (call.duration(),))

    def _head(self, request: RequestHead) -> bytes:
        """The request head for the program: its fields without hop-by-hop ones, its target as sent behind the prefix."""
        path, query = request.path, request.query
        target = self._prefix + path + (b"?" + query if query else b"")
        lines = [b"%b %b HTTP/1.1\r\n" % (request.method, target), forward_fields(request)]
        if request.upgrade:
            lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
        if request.get(b"host") is None:
            lines.append(b"Host: localhost\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)


class _Passage:
    """One request's way through the relay; its owner."""

    __slots__ = ("_call", "_mode", "_retries")

    def __init__(self, mode: Http, call: Call) -> None:
        self._mode = mode
        self._call = call
        self._retries = RETRIES

    def relay_response(self, relay: Relay, head: ResponseHead) -> bytes:
        call = self._call
        call.show(head.fields)
        call.reason = head.reason
        call.size = -1 if head.content_length is None else head.content_length
        return b"" if head.status == 101 else b"%b: %b\r\n" % call.duration()

    def relay_done(self, relay: Relay, status: int, complete: bool) -> None:
        self._call.end(status)

    def relay_failed(self, relay: Relay, failure: Failure) -> None:
        if failure.retryable and failure.reason == "closed" and self._retries:
            self._retries -= 1
            left = max(self._call.timeout - self._call.elapsed(), 0.1) if self._call.timeout else 0.0
            self._mode.again(relay, self, 0.0 if _is_endless(self._call.request) else left)
        else:
            self._mode.failed(self._call, failure)


class _Gathering:
    """Listener that takes a chunked body whole, so that it can go on with a Content-Length (`buffer_http`)."""

    __slots__ = ("_call", "_mode", "_pieces", "_size")

    def __init__(self, mode: Http, call: Call) -> None:
        self._mode = mode
        self._call = call
        self._pieces: list[bytes] = []
        self._size = 0

    def body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= BUFFER_MOST:
            self._pieces.append(data)
        elif self._pieces:
            self._pieces.clear()
            self._call.refuse(413, f"with buffer_http a chunked body may have at most {BUFFER_MOST} bytes")

    def body_end(self) -> None:
        body = b"".join(self._pieces)
        request = copy.copy(self._call.request)
        request.chunked = False
        request.raw_fields += b"Content-Length: %d\r\n" % len(body)
        self._mode.relay(self._call, request, body)

    def client_gone(self) -> None:
        self._pieces.clear()
        self._call.end(CLIENT_GONE)

    def writable(self, ready: bool) -> None:
        """Nothing is written meanwhile."""


def parse_upstream(url: str) -> tuple[str, bytes]:
    """Address and path prefix in `http://host:port/prefix` or `http://unix:/path:/prefix`. Raises SettingsError."""
    match = _UNIX_URL.fullmatch(url)
    if match:
        address = "unix:" + match["path"]
    else:
        match = _TCP_URL.fullmatch(url)
        if match is None or not 0 < int(match["port"] or 80) < 65536:
            raise SettingsError(
                f"upstream_url: {url!r} must look like http://127.0.0.1:5000 or http://unix:/run/app.sock:"
            )
        address = f"{match['host']}:{match['port'] or 80}"
    return address, (match["prefix"] or "").encode("utf-8", "surrogateescape")


def _is_endless(request: RequestHead) -> bool:
    """Whether the answer may go on for ever: server-sent events, NDJSON, an upgrade. exec_timeout is not for those."""
    accept = (request.get(b"accept") or b"").lower()
    return bool(request.upgrade) or any(kind in accept for kind in _ENDLESS)
