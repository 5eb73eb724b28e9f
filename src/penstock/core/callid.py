"""Call ids: UUIDs of version 4 (RFC 9562), made many at a time because one at a time costs a system call each."""

from __future__ import annotations

from collections.abc import Callable

BATCH = 64


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
        digits = self._entropy(16 * BATCH).hex()
        ids = []
        for start in range(0, len(digits), 32):
            d = digits[start : start + 32]
            variant = "89ab"[int(d[16], 16) & 3]
            ids.append(f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{variant}{d[17:20]}-{d[20:]}".encode())
        return ids
