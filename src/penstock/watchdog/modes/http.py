"""mode=http: one long-lived HTTP server as the program, requests relayed to it (contract watchdog §2.6).

The program is supervised; while it is away, requests are answered 503 at once. Bodies stream both ways and WebSockets pass
through, since the relay is the gateway's own.
"""

from __future__ import annotations

import copy
import functools
import re

from penstock.errors import SettingsError
from penstock.watchdog.call import Call
from penstock.watchdog.modes import Context
from penstock.watchdog.passage import Gathering, Passage, request_head
from penstock.watchdog.supervise import Supervised, free_port
from penstock.wire.client import Pool
from penstock.wire.message import RequestHead
from penstock.wire.relay import Failure
from penstock.wiresettings import WireSettings

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
        self.connections = Pool(self.address, WireSettings(upstream_idle_timeout=UPSTREAM_IDLE))

    async def start(self) -> None:
        self.program.start()

    def handle(self, call: Call) -> None:
        if self.program.reason:
            call.refuse(503, f"the function is not ready: {self.program.reason}", ((b"Retry-After", b"1"),))
        elif self._context.settings.buffer_http and call.request.chunked:
            call.exchange.attach(Gathering(call, BUFFER_MOST, functools.partial(self._relay_gathered, call)))
        else:
            self._relay(call, call.request, b"")

    def _relay_gathered(self, call: Call, body: bytes) -> None:
        """A chunked body goes on with a Content-Length."""
        request = copy.copy(call.request)
        request.chunked = False
        request.raw_fields += b"Content-Length: %d\r\n" % len(body)
        self._relay(call, request, body)

    def _relay(self, call: Call, request: RequestHead, body: bytes) -> None:
        """Pass the request on; `body` is what was gathered of it already."""
        Passage(self, call, RETRIES).go(request_head(request, self._prefix), body)

    def unready(self) -> str:
        return self.program.reason

    def forward(self, number: int) -> None:
        """A signal to the watchdog that is meant for the program."""
        self.program.forward(number)

    async def stop(self) -> None:
        self.connections.close()
        await self.program.stop()

    def failed(self, call: Call, failure: Failure) -> None:
        """Answer for the program."""
        self._context.log.line(f"no answer from the program: {failure.reason}: {failure.detail}", call.call_id)
        if failure.reason == "timeout":
            call.refuse(504, f"the function gave no complete answer within {call.timeout:g} s", (call.duration(),))
        else:
            call.refuse(502, f"the function did not answer: {failure.detail}", (call.duration(),))


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
