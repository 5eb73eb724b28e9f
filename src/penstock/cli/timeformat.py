"""Timestamps as users ask for them: by name, as a Go layout, or in strftime's language.

Used by `penstock logs`. Go writes a layout as the moment `Mon Jan 2 15:04:05 MST 2006` would look in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from penstock.errors import InvalidInput

_NAMED = {
    "ansic": "Mon Jan _2 15:04:05 2006",
    "unixdate": "Mon Jan _2 15:04:05 MST 2006",
    "rubydate": "Mon Jan 02 15:04:05 -0700 2006",
    "rfc822": "02 Jan 06 15:04 MST",
    "rfc822z": "02 Jan 06 15:04 -0700",
    "rfc850": "Monday, 02-Jan-06 15:04:05 MST",
    "rfc1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "rfc1123z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "rfc3339": "2006-01-02T15:04:05Z07:00",
    "rfc3339nano": "2006-01-02T15:04:05.999999999Z07:00",
    "kitchen": "3:04PM",
    "stamp": "Jan _2 15:04:05",
    "stampmilli": "Jan _2 15:04:05.000",
    "stampmicro": "Jan _2 15:04:05.000000",
    "stampnano": "Jan _2 15:04:05.000000000",
}

_PIECES: Mapping[str, Callable[[datetime], str]] = {
    "January": lambda t: t.strftime("%B"),
    "Jan": lambda t: t.strftime("%b"),
    "Monday": lambda t: t.strftime("%A"),
    "Mon": lambda t: t.strftime("%a"),
    "MST": lambda t: t.tzname() or "",
    "2006": lambda t: f"{t.year:04}",
    "-07:00": lambda t: _offset(t),
    "-0700": lambda t: t.strftime("%z"),
    "Z07:00": lambda t: "Z" if not t.utcoffset() else _offset(t),
    "01": lambda t: f"{t.month:02}",
    "02": lambda t: f"{t.day:02}",
    "03": lambda t: t.strftime("%I"),
    "04": lambda t: f"{t.minute:02}",
    "05": lambda t: f"{t.second:02}",
    "06": lambda t: t.strftime("%y"),
    "15": lambda t: f"{t.hour:02}",
    "PM": lambda t: t.strftime("%p"),
    "pm": lambda t: t.strftime("%p").lower(),
    "_2": lambda t: f"{t.day:2}",
    "1": lambda t: str(t.month),
    "2": lambda t: str(t.day),
    "3": lambda t: str(t.hour % 12 or 12),
    "4": lambda t: str(t.minute),
    "5": lambda t: str(t.second),
}
_PIECE = re.compile(r"[.,]0+|[.,]9+|" + "|".join(re.escape(piece) for piece in sorted(_PIECES, key=len, reverse=True)))
_FRACTION = re.compile(r"(\.\d{6})\d+")


def parse_timestamp(text: str) -> datetime | None:
    """A moment from RFC 3339, fractions beyond microseconds cut off; None when it is none."""
    try:
        return datetime.fromisoformat(_FRACTION.sub(r"\1", text))
    except ValueError:
        return None


def time_formatter(layout: str) -> Callable[[str], str]:
    """A function from RFC 3339 timestamps to text in `layout`; what is no timestamp passes unchanged. Raises InvalidInput."""
    if not layout:
        raise InvalidInput("--time-format is empty: give a name such as RFC3339, a Go layout or a strftime format")
    go_layout = _NAMED.get(layout.lower(), layout)

    def formatted(text: str) -> str:
        moment = parse_timestamp(text)
        if moment is None:
            return text
        if "%" in go_layout:
            return moment.strftime(go_layout)
        return _PIECE.sub(lambda match: _render(match.group(), moment), go_layout)

    return formatted


def _render(piece: str, moment: datetime) -> str:
    if piece[0] not in ".,":
        return _PIECES[piece](moment)
    digits = f"{moment.microsecond:06}".ljust(9, "0")[: len(piece) - 1]
    if piece[1] == "9":  # Go leaves trailing zeros away, and the point with the last of them
        digits = digits.rstrip("0")
    return piece[0] + digits if digits else ""


def _offset(moment: datetime) -> str:
    text = moment.strftime("%z")
    return f"{text[:3]}:{text[3:5]}" if text else "Z"
