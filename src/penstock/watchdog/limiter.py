"""How many requests run at once, and the answer to one too many (contract watchdog §1.7)."""

from __future__ import annotations

from penstock.core.headers import Field

REJECTION_FIELDS: tuple[Field, ...] = (
    (b"Content-Type", b"text/plain"),
    (b"X-OpenFaaS-Internal", b"faas-middleware"),
)
"""As the originals have it, without Retry-After: how soon to come back is the gateway's to say (contract §7 no. 10)."""


class Limiter:
    """Counts requests in flight against `max_inflight`; 0 means no limit."""

    __slots__ = ("inflight", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inflight = 0

    @property
    def full(self) -> bool:
        return 0 < self.limit <= self.inflight

    def acquire(self) -> bool:
        """Take a slot, if there is one."""
        if self.full:
            return False
        self.inflight += 1
        return True

    def release(self) -> None:
        self.inflight -= 1

    def rejection(self) -> bytes:
        """Body of the 429."""
        return b"Concurrent request limit exceeded. Max concurrent requests: %d\n" % self.limit
