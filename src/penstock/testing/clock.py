"""A clock that stands still until a test moves it; it satisfies `penstock.providers.clock.Clock`."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Time that passes only in `advance`. Sleepers wake in the order of their deadlines, each before time goes on."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def sleepers(self) -> int:
        """How many tasks wait for time to pass."""
        return sum(not waiting.done() for _, _, waiting in self._sleepers)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock's time; zero or less lets other tasks run once."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiting = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), waiting))
        await waiting

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: every sleeper due by then wakes at its own moment and runs until it waits again."""
        target = self._elapsed + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, waiting = heapq.heappop(self._sleepers)
            if waiting.done():
                continue
            self._elapsed = due
            waiting.set_result(None)
            await self.settle()
        self._elapsed = target

    async def settle(self, turns: int = 20) -> None:
        """Let every task that can run do so; `turns` bounds chains of tasks that wake each other."""
        for _ in range(turns):
            await asyncio.sleep(0)
