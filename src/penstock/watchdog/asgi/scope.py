"""A request as the scope of an ASGI application (ASGI 3.0, HTTP and WebSocket specification 2.4).

Pure. What was worked out from a head is kept with it, so that a client that repeats itself costs one copy of a dictionary.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from penstock.watchdog.cgi import decode_path
from penstock.wire.message import RequestHead

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_ENDLESS = (b"text/event-stream", b"application/x-ndjson")


class Disconnected(OSError):
    """What `send` raises when nobody receives the answer any more."""


def http_scope(request: RequestHead, peer: str, state: dict[str, Any]) -> tuple[Scope, bool]:
    """The scope of an HTTP request, and whether its answer may be endless. Raises InvalidInput for a path that cannot be decoded.

    `client` is what the gateway says in X-Forwarded-For, else the peer; `scheme` what an ingress says in X-Forwarded-Proto.
    `root_path` is empty and `path` begins behind the function's name, which the gateway removes.
    """
    if request.note is None:
        template = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.0" if request.http10 else "1.1",
            "method": request.method.decode("ascii"),
            "scheme": scheme_of(request),
            **_address(request, peer),
            "headers": [],
            "state": {},
        }
        request.note = template, is_endless(request)
    template, endless = request.note
    scope = template.copy()
    scope["headers"] = request.fields.copy()
    scope["state"] = state.copy()
    return scope, endless


def websocket_scope(request: RequestHead, peer: str, state: dict[str, Any]) -> Scope:
    """The scope of a WebSocket handshake. Raises InvalidInput as `http_scope` does."""
    offered = [value for name, value in request.fields if name == b"sec-websocket-protocol"]
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if scheme_of(request) == "https" else "ws",
        **_address(request, peer),
        "headers": request.fields.copy(),
        "subprotocols": [part.strip() for part in b",".join(offered).decode("latin-1").split(",") if part.strip()],
        "extensions": {"websocket.http.response": {}},
        "state": state.copy(),
    }


def is_endless(request: RequestHead) -> bool:
    """Whether the client asks for an answer that may go on for ever: server-sent events or NDJSON (contract watchdog §2.6)."""
    accept = request.get(b"accept")
    return accept is not None and any(kind in accept.lower() for kind in _ENDLESS)


def _address(request: RequestHead, peer: str) -> dict[str, Any]:
    path = request.path
    return {
        "path": decode_path(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": request.query,
        "root_path": "",
        "client": host_and_port(last_forwarded(request) or peer),
        "server": _server(request),
    }


def scheme_of(request: RequestHead) -> str:
    forwarded = (request.get(b"x-forwarded-proto") or b"").partition(b",")[0].strip().lower()
    return "https" if forwarded == b"https" else "http"


def last_forwarded(request: RequestHead) -> str:
    """The entry that the nearest proxy has written."""
    return (request.get(b"x-forwarded-for") or b"").rpartition(b",")[2].strip().decode("latin-1")


def _server(request: RequestHead) -> tuple[str, int] | None:
    """What the request was addressed to: the listening address means nothing outside the replica."""
    host = (request.get(b"host") or b"").decode("latin-1")
    address = host_and_port(host)
    if address is None:
        return None
    return address[0], address[1] or (443 if scheme_of(request) == "https" else 80)


def host_and_port(text: str) -> tuple[str, int] | None:
    """`ip:port`, `[ip]:port`, or an address alone, whose port is given as 0."""
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or (":" in host and not host.startswith("[")):
        host, port = text, "0"
    return host.removeprefix("[").removesuffix("]"), int(port) if len(port) < 6 else 0
