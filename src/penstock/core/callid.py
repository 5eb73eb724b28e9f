"""Call ids: UUIDs of version 4 (RFC 9562), made many at a time because one at a time costs a system call each."""

from __future__ import annotations

import struct
from collections.abc import Callable

BATCH = 64

_PARTS = struct.Struct("8s4s1s3s1s3s12s")
_VARIANTS = {b"%x" % digit: b"%x" % (8 | digit & 3) for digit in range(16)}
"""Random digit to the digit that says variant 10 (RFC 9562 §4.1)."""


class CallIds:
    """An endless supply of call ids, as ASCII bytes. `entropy(n)` returns n random bytes."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._ready: list[bytes] = []

    def next(self) -> bytes:
        if not self._ready:
            self._ready = self._make()
        return self._ready.pop()

    def _make(self) -> list[bytes]:
        digits = self._entropy(16 * BATCH).hex().encode()
        return [
            b"-".join((a, b, b"4" + c, _VARIANTS[variant] + d, e))
            for a, b, _, c, variant, d, e in _PARTS.iter_unpack(digits)
        ]
