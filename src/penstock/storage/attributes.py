"""What is kept with an object besides its bytes: how they are to be read and shown, and how many functions they have come through. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Attributes = Mapping[str, str]
"""By the names below."""

KEPT = ("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type")
"""Fields of an answer that S3 keeps with an object and gives back."""

HOPS = "penstock-hops"
"""Metadata of an object that a call about an event has stored: how many such calls, one after the other, it has come from."""

_LISTS = {"Cache-Control", "Content-Encoding", "Content-Language"}
"""Fields that may be there several times, which is the same as once with commas between (RFC 9110 §5.3)."""

_NAMES = {name.lower(): name for name in KEPT}


def kept(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those of an answer's fields, of any case, that are kept. What is not printable ASCII is left out: no store could give it back."""
    found: dict[str, str] = {}
    for field, value in fields:
        name = _NAMES.get(field.lower())
        if name is None or not value or not (value.isascii() and value.isprintable()):
            continue
        if name not in found:
            found[name] = value
        elif name in _LISTS:
            found[name] += f", {value}"
    return found


def hops(attributes: Attributes) -> int:
    """The number in `HOPS`; 0 where there is none, or one that somebody else has made up."""
    text = attributes.get(HOPS, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0
