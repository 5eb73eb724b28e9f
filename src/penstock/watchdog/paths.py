"""Paths with doubled slashes or dot segments: functions never see one (contract watchdog §1.2, §7 no. 19).

The app asks for each request whose path holds `//` or `/.`, or is `*`. One that came straight from its client is redirected, as
the originals do it; one that came through a gateway is answered under its cleaned path, since only the gateway knows what stood
before that path.
"""

from __future__ import annotations

from penstock.core.headers import Field
from penstock.wire.exchange import Exchange
from penstock.wire.message import RequestHead

_HTML: Field = (b"Content-Type", b"text/html; charset=utf-8")
_ESCAPES = {b"&": b"&amp;", b"'": b"&#39;", b"<": b"&lt;", b">": b"&gt;", b'"': b"&#34;"}


def clean_path(path: bytes) -> bytes:
    """The path without empty and dot segments; `/..` at the root is the root. Escapes stay as they are."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    cleaned = b"/" + b"/".join(kept)
    return cleaned + b"/" if kept and path.endswith(b"/") else cleaned


def settle(exchange: Exchange, request: RequestHead) -> RequestHead | None:
    """The request as the function may see it; None when it has been answered here."""
    path = request.path
    if path == b"*":  # RFC 9110 §9.3.7: about the server, not about anything it serves
        exchange.respond(200 if request.method == b"OPTIONS" else 400)
        return None
    cleaned = clean_path(path)
    if cleaned == path:
        return request
    target = cleaned + (b"?" + request.query if b"?" in request.target else b"")
    if request.get(b"x-call-id") is None:
        _redirect(exchange, request.method, target)
        return None
    return request.rewritten(target, request.raw_fields)


def _redirect(exchange: Exchange, method: bytes, target: bytes) -> None:
    target = target.replace(b"\\", b"%5C")  # browsers take /\host for another host
    if method not in (b"GET", b"HEAD"):
        exchange.respond(307, ((b"Location", target),))
        return
    shown = b"".join(_ESCAPES.get(bytes((byte,)), bytes((byte,))) for byte in target)
    exchange.respond(307, (_HTML, (b"Location", target)), b'<a href="%b">Temporary Redirect</a>.\n\n' % shown)
