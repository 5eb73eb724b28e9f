"""The request as environment variables of the program and as JSON on its stdin (contract watchdog §1.4, §1.5).

Pure: called by the forking modes for every request. Works in bytes throughout, so that no request byte can fail to encode.
"""

from __future__ import annotations

import base64
import functools
import json
import re

from penstock.core.headers import Field
from penstock.errors import InvalidInput
from penstock.wire.message import RequestHead

_RESERVED = frozenset(
    {
        b"Http_Method",
        b"Http_Path",
        b"Http_Query",
        b"Http_Host",
        b"Http_ContentLength",
        b"Http_Content_Length",
        b"Http_Transfer_Encoding",
    }
)
"""Set from the request line and framing only. A header field named `Query` must not pass for the query (§7 no. 14)."""

PROMOTED = frozenset({b"host", b"transfer-encoding"})
"""Fields that are none to the originals, whose server takes them out of the header."""

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")


def cgi_variables(request: RequestHead) -> dict[bytes, bytes]:
    """The Http_* variables of a request. Raises InvalidInput when its path cannot be decoded or holds NUL."""
    variables: dict[bytes, bytes] = {}
    for name, value in request.fields:
        variable = variable_name(name)
        if variable not in variables and variable not in _RESERVED and b"\0" not in value:
            variables[variable] = value
    path = decode_path(request.path)
    host = request.get(b"host")
    length = b"-1" if request.chunked else b"%d" % (request.content_length or 0)
    variables[b"Http_Method"] = request.method
    variables[b"Http_ContentLength"] = variables[b"Http_Content_Length"] = length
    if request.chunked:
        variables[b"Http_Transfer_Encoding"] = b"chunked"
    if request.query:
        variables[b"Http_Query"] = request.query
    if path:
        variables[b"Http_Path"] = path
    if host:
        variables[b"Http_Host"] = host
    return variables


def decode_path(path: bytes) -> bytes:
    """Percent-decoded path. Raises InvalidInput for a broken escape and for NUL, which no variable or file name can hold."""
    if b"%" in path:
        path = _ESCAPE.sub(_unescape, path)
    if b"\0" in path:
        raise InvalidInput("the path holds a NUL byte")
    return path


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise InvalidInput("the path holds a percent sign that two hexadecimal digits do not follow")
    return bytes.fromhex(match[1].decode())


@functools.lru_cache(maxsize=512)
def variable_name(name: bytes) -> bytes:
    """`custom-header` → `Http_Custom_Header`, `x_under` → `Http_X_under`: Go's canonical form, then `-` to `_`."""
    return b"Http_" + canonical_name(name).replace(b"-", b"_")


def canonical_name(name: bytes) -> bytes:
    """`content-type` → `Content-Type`; upper case at the start and after dashes only, so `x_under` → `X_under`."""
    return b"-".join(part[:1].upper() + part[1:].lower() for part in name.split(b"-"))


class Marshaller:
    """Turns a request into the JSON object of contract §1.5, piece by piece, so that a large body needs no memory."""

    def __init__(self, request: RequestHead) -> None:
        self._rest = b""
        self._opening = b'{"header":' + _header_json(request.fields) + b',"body":{"raw":"'

    def feed(self, data: bytes) -> bytes:
        """JSON of the next piece of the body."""
        data = self._rest + data
        whole = len(data) - len(data) % 3  # base64 of three bytes stands by itself
        self._rest = data[whole:]
        opening, self._opening = self._opening, b""
        return opening + base64.b64encode(data[:whole])

    def end(self) -> bytes:
        """What closes the object."""
        closing = self._opening + base64.b64encode(self._rest) + b'"}}'
        self._opening = self._rest = b""
        return closing


def _header_json(fields: list[Field]) -> bytes:
    header: dict[str, list[str]] = {}
    for name, value in fields:
        if name not in PROMOTED:
            header.setdefault(canonical_name(name).decode("latin-1"), []).append(value.decode("utf-8", "replace"))
    return json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
