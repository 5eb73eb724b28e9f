"""Which header fields a proxy passes on (RFC 9110 §7.6.1) and how a list of them becomes bytes.

The usual message has nothing to remove; its block of field lines is then passed on as it came, without being rebuilt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

Field = tuple[bytes, bytes]
"""A field's name in lower case and its value without surrounding white space."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"expect",
    }
)
"""Never passed on. `Expect` is here because each hop of ours answers 100 itself; `Trailer` is not: trailers are passed on."""


_HOP_BY_HOP_LINES = re.compile(
    rb"^(?:" + b"|".join(sorted(HOP_BY_HOP)) + rb"):[^\r]*\r\n", re.IGNORECASE | re.MULTILINE
)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 §5.6.2."""
_HARMLESS_CONNECTION = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})
"""Options of `Connection` that name no field beyond those that are removed anyway."""


class Fields(Protocol):
    """The part of a head that decides what is passed on."""

    raw_fields: bytes
    hop_by_hop: bool
    named_by_connection: frozenset[bytes]
    chunked: bool


def forward_fields(head: Fields, drop: frozenset[bytes] = frozenset()) -> bytes:
    """Field lines of `head` to pass on, each ending in CRLF, names spelled as received.

    Removed are hop-by-hop fields, those that `Connection` names, and `drop`. `Transfer-Encoding: chunked` is stated anew
    where the body is chunked, since framing is kept; `Content-Length` stays.
    """
    if not head.hop_by_hop and not drop:
        return head.raw_fields
    lines = _HOP_BY_HOP_LINES.sub(b"", head.raw_fields) if head.hop_by_hop else head.raw_fields
    named = drop | head.named_by_connection
    if named:
        kept = [line for line in lines.split(b"\r\n") if line and line.partition(b":")[0].lower() not in named]
        lines = b"".join([line + b"\r\n" for line in kept])
    return lines + b"Transfer-Encoding: chunked\r\n" if head.chunked else lines


def connection_options(value: bytes) -> frozenset[bytes]:
    """Fields that a `Connection` value names, in lower case, beyond the hop-by-hop ones and those that may not be named
    away because they frame or address the message."""
    options = {option.strip(b" \t").lower() for option in value.split(b",")}
    return frozenset(options - _HARMLESS_CONNECTION - HOP_BY_HOP - {b"content-length", b"host", b""})


def field_lines(fields: Iterable[Field]) -> bytes:
    """Field lines as bytes, each ending in CRLF. Raises ValueError for a name or value that would break the framing."""
    lines = []
    for name, value in fields:
        if not _NAME.fullmatch(name) or b"\r" in value or b"\n" in value or b"\0" in value:
            raise ValueError(f"cannot send the field {name!r}: {value!r}")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)
