"""Durations as people write them for functions: bare seconds or Go's syntax (contract watchdog, shared parsing rules)."""

from __future__ import annotations

import re

from penstock.errors import InvalidInput

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST = float((1 << 63) // 10**9)
"""Seconds. Go's durations are nanoseconds in 64 bits."""

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds in `text`: `30`, `1m30s`, `1.5h`, `100ms`, `-5s`. Raises InvalidInput; there is no `d` and no space."""
    if text.isascii() and text.isdigit():
        return _bounded(float(text), text)
    sign, body = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if body == "0":
        return 0.0
    if not _WHOLE.fullmatch(body):
        raise InvalidInput(f"{text[:40]!r} is not a duration: use seconds (30) or units (1m30s, 100ms, 1.5h)")
    return sign * _bounded(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(body)), text)


def _bounded(seconds: float, text: str) -> float:
    if seconds > LONGEST:
        raise InvalidInput(f"{text[:40]!r} is longer than a duration can be: 292 years")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration for people, in Go's syntax: `0s`, `250ms`, `1m30s`."""
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:g}ms"
    sign = "-" if seconds < 0 else ""
    minutes, rest = divmod(abs(seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}h"] if hours else []
    parts += [f"{minutes}m"] if minutes or hours else []
    return sign + "".join([*parts, f"{rest:g}s"])
