"""How many replicas a function should have: decisions from numbers that others have measured.

The bounds come from a function's labels (contract gateway §5.1). Called by providers when a function is deployed and by the
autoscaler afterwards; nothing here looks at a clock or waits.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.errors import InvalidInput

MIN_LABEL = "com.openfaas.scale.min"
MAX_LABEL = "com.openfaas.scale.max"
FACTOR_LABEL = "com.openfaas.scale.factor"

DEFAULT_MIN = 1
DEFAULT_MAX = 20
DEFAULT_FACTOR = 10


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Between how many replicas a function is scaled, and by how many per cent of the most for each alert."""

    least: int = DEFAULT_MIN
    most: int = DEFAULT_MAX
    factor: int = DEFAULT_FACTOR

    @property
    def step(self) -> int:
        """Replicas that an alert adds. In whole numbers, where the original's floats now and then come out one higher."""
        return -(-self.most * self.factor // 100)


def bounds_of(labels: Mapping[str, str]) -> Bounds:
    """The bounds that labels ask for. Raises InvalidInput naming the label that cannot be used."""
    least = _number(labels, MIN_LABEL, DEFAULT_MIN, 0)
    most = _number(labels, MAX_LABEL, max(DEFAULT_MAX, least), 1)
    if least > most:
        raise InvalidInput(f"labels: {MIN_LABEL}={least} must not be more than {MAX_LABEL}={most}")
    factor = _number(labels, FACTOR_LABEL, DEFAULT_FACTOR, 1)
    if factor > 100:
        raise InvalidInput(f"labels: {FACTOR_LABEL}={factor} must be from 1 to 100, it is a percentage")
    return Bounds(least=least, most=most, factor=factor)


def usable_bounds(labels: Mapping[str, str]) -> Bounds:
    """As `bounds_of`, with the default for each label that cannot be used: functions may have been made by other programs."""
    usable = dict(labels)
    for label in (MIN_LABEL, MAX_LABEL, FACTOR_LABEL):
        try:
            bounds_of({label: labels.get(label, "")})
        except InvalidInput:
            del usable[label]
    try:
        return bounds_of(usable)
    except InvalidInput:  # more wanted at least than at most, which is what protects the machine
        return bounds_of({**usable, MIN_LABEL: usable[MAX_LABEL]})


def initial_replicas(labels: Mapping[str, str]) -> int:
    """Replicas that a function begins with (contract gateway §5.1)."""
    return usable_bounds(labels).least


def after_alert(current: int, firing: bool, bounds: Bounds) -> int:
    """Replicas wanted after an alert: a step more while it fires, the least once it is over (contract gateway §5.2)."""
    return min(current + bounds.step, bounds.most) if firing else bounds.least


def _number(labels: Mapping[str, str], label: str, default: int, smallest: int) -> int:
    text = labels.get(label, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= smallest):
        raise InvalidInput(
            f"labels: {label}={text[:40]!r} must be a whole number of at most nine digits, {smallest} or more"
        )
    return int(text)
