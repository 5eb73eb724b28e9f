"""Which header fields a proxy passes on (RFC 9110 §7.6.1) and how a list of them becomes bytes.

The usual message has nothing to remove; its block of field lines is then passed on as it came, without being rebuilt.
"""

from __future__ import annotations

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


class Fields(Protocol):
    """The part of a head that decides what is passed on."""

    fields: list[Field]
    raw_fields: bytes
    hop_by_hop: bool
    chunked: bool


def forward_fields(head: Fields, drop: frozenset[bytes] = frozenset()) -> bytes:
    """Field lines of `head` to pass on, each ending in CRLF, names spelled as received.

    Removed are hop-by-hop fields, those that `Connection` names, and `drop`. `Transfer-Encoding: chunked` is stated anew
    where the body is chunked, since framing is kept; `Content-Length` stays.
    """
    if not head.hop_by_hop and not (drop and any(name in drop for name, _ in head.fields)):
        return head.raw_fields
    gone = HOP_BY_HOP | drop | connection_options(head.fields)
    kept = [
        line + b"\r\n"
        for line in head.raw_fields.split(b"\r\n")
        if line and line.partition(b":")[0].lower() not in gone
    ]
    if head.chunked:
        kept.append(b"Transfer-Encoding: chunked\r\n")
    return b"".join(kept)


def connection_options(fields: Iterable[Field]) -> frozenset[bytes]:
    """Lower-case names in all `Connection` fields, except those that frame or address the message and so may not be named away."""
    options = {
        option.strip(b" \t").lower() for name, value in fields if name == b"connection" for option in value.split(b",")
    }
    return frozenset(options - {b"content-length", b"transfer-encoding", b"host", b""})


def field_lines(fields: Iterable[Field]) -> bytes:
    """Field lines as bytes, each ending in CRLF. Raises ValueError for a name or value that would break the framing."""
    lines = []
    for name, value in fields:
        if not name or b"\r" in value or b"\n" in value or b"\0" in value or not name.isascii() or b":" in name:
            raise ValueError(f"cannot send the field {name!r}: {value!r}")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)
