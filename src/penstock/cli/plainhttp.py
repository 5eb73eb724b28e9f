"""One small GET for the verbs that must answer at once.

`http.client` brings TLS and the parser of e-mail with it, whose import takes longer than all that these verbs do: plain HTTP
is spoken on a socket instead, in HTTP/1.0, whose answers end with the connection (RFC 9112 §6.3). Only HTTPS imports it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

MAX_ANSWER = 64 << 20
"""Bytes of an answer, its head included; ten thousand functions have a sixth of that."""


def get(
    url: str, headers: Mapping[str, str], timeout: float | None, *, verify_tls: bool = True
) -> tuple[int, str, bytes]:
    """Status, its words and body of an answer. `timeout` is in seconds for the whole of it, None for ever.

    Raises OSError where nobody answers; ValueError for what is no HTTP, or is too large. Redirects are answers.
    """
    parts = urlsplit(url)
    if parts.scheme == "https":
        return _get_https(url, headers, timeout, verify_tls)
    deadline = None if timeout is None else time.monotonic() + timeout
    host = parts.hostname or ""
    # As bytes, a name is not looked at by the codec for international ones, whose import takes long.
    address: Any = (host.encode() if host.isascii() else host, parts.port or 80)
    with socket.create_connection(address, timeout) as connection:
        fields = {"Host": parts.netloc, "Connection": "close", **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        connection.sendall(f"GET {_target(url)} HTTP/1.0\r\n{head}\r\n".encode("latin-1"))
        return _parse(_read(connection, deadline))


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _read(connection: socket.socket, deadline: float | None) -> bytes:
    pieces, size = [], 0
    while piece := _piece(connection, deadline):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER:
            raise ValueError(f"its answer is larger than {MAX_ANSWER >> 20} MiB")
    return b"".join(pieces)


def _piece(connection: socket.socket, deadline: float | None) -> bytes:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
    return connection.recv(1 << 16)


def _parse(data: bytes) -> tuple[int, str, bytes]:
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    status = rest[:3]
    if not end or not version.startswith(b"HTTP/1.") or len(status) != 3 or not status.isdigit():
        raise ValueError(
            f"its answer is no HTTP: {data[:40]!r}" if data else "it closed the connection without an answer"
        )
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    length = fields.get(b"content-length", b"")
    if b"transfer-encoding" in fields or (length and (not length.isdigit() or len(body) != int(length))):
        raise ValueError("its answer is cut, or of another length than it says")
    return int(status), rest[4:].decode("latin-1").strip(), body


def _get_https(url: str, headers: Mapping[str, str], timeout: float | None, verify_tls: bool) -> tuple[int, str, bytes]:
    import ssl
    from http.client import HTTPException, HTTPSConnection

    parts = urlsplit(url)
    context = ssl.create_default_context() if verify_tls else ssl._create_unverified_context()  # noqa: S323 - as asked
    connection = HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    try:
        connection.request("GET", _target(url), headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.reason, response.read(MAX_ANSWER)
    except HTTPException as error:
        raise ValueError(f"its answer is no HTTP: {error!r}") from error
    finally:
        connection.close()
