"""One small document by HTTP GET: what `jwtauth` needs to ask a token's issuer, without a client library in every watchdog.

One connection for each request, no redirects, no proxies, and a bound on time and size. Framing is `wire`'s.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.errors import PenstockError
from penstock.wire.errors import MalformedMessage
from penstock.wire.framing import Body, ChunkedBody, LengthBody, UntilClose
from penstock.wire.message import parse_response

if TYPE_CHECKING:
    import ssl

MOST = 1 << 20
"""Bytes of a document; key sets have a few thousand."""
HEAD_MOST = 64 << 10
"""Bytes of a response head, as asyncio's streams have it by default."""
TIMEOUT = 5.0
"""Seconds for everything."""

_SAFE = re.compile(r"[!-~]+")


class FetchFailed(PenstockError):
    """No document; the message says why."""

    blame = "platform"


async def fetch(url: str, timeout: float = TIMEOUT) -> bytes:
    """The document at an http or https URL. Raises FetchFailed for everything but a complete 200."""
    try:
        async with asyncio.timeout(timeout):
            return await _fetch(url)
    except TimeoutError:
        raise FetchFailed(f"{url}: no answer within {timeout:g} s") from None
    except (
        OSError,
        EOFError,
        ValueError,
        MalformedMessage,
        asyncio.LimitOverrunError,
    ) as error:  # ValueError: host names
        raise FetchFailed(f"{url}: {str(error) or type(error).__name__}") from error


async def _fetch(url: str) -> bytes:
    host, port, target, tls = _split(url)
    reader, writer = await asyncio.open_connection(host.strip("[]"), port, ssl=tls, limit=HEAD_MOST)
    try:
        name = host if port == (443 if tls else 80) else f"{host}:{port}"
        lines = f"GET {target} HTTP/1.1\r\nHost: {name}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
        writer.write(lines.encode("ascii"))
        head = parse_response(await reader.readuntil(b"\r\n\r\n"))
        if head.status != 200:
            raise FetchFailed(f"{url}: answered {head.status}")
        body: Body = UntilClose()
        if head.chunked:
            body = ChunkedBody(False)
        elif head.content_length is not None:
            body = LengthBody(head.content_length)
        return await _read(url, reader, body)
    finally:
        writer.close()


async def _read(url: str, reader: asyncio.StreamReader, body: Body) -> bytes:
    document = bytearray()
    while not body.done:
        data = await reader.read(64 << 10)
        if not data:
            if not body.end_of_stream():
                raise FetchFailed(f"{url}: the answer was cut")
            break
        document += body.feed(data)[0]
        if len(document) > MOST:
            raise FetchFailed(f"{url}: the answer is larger than {MOST} bytes")
    return bytes(document)


def _split(url: str) -> tuple[str, int, str, ssl.SSLContext | None]:
    """Host, port, target and, for https, how to check the peer. Raises FetchFailed for any other URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchFailed(f"{url!r} is not a URL: {error}") from error
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
    if parts.scheme not in ("http", "https") or not host or "@" in host or not _SAFE.fullmatch(url):
        raise FetchFailed(f"{url!r} is not an http or https URL that can be asked without a password")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http":
        return host, port or 80, target, None
    import ssl

    return host, port or 443, target, ssl.create_default_context()
