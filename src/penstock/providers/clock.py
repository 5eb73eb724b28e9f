"""Time as providers see it: injected, so that tests and the memory provider can hold it still.

Used by the reconcile loop and the memory runtime; `penstock.testing.clock` has the one that tests move by hand.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A wall clock, a monotonic clock and a way to wait."""

    def now(self) -> datetime:
        """Wall-clock time, with zone UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
