"""Deadlines without a timer per request: one tick for all that wait, and none while nothing does.

Whoever waits sets its own `deadline` (loop time, seconds) and is watched by a sweeper, which calls `expire()` on those that
are late. Changing a deadline costs an assignment; precision is the sweeper's interval.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

NEVER = float("inf")


class Expiring(Protocol):
    """Something that waits."""

    deadline: float

    def expire(self) -> None:
        """The deadline has passed. May unwatch, or set a new deadline."""


class Sweeper:
    """Watches what waits; `now` is the loop's time at the last tick, at most one interval old while anything is watched."""

    __slots__ = ("_handle", "_interval", "_loop", "_watched", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._loop = loop
        self._interval = interval
        self._watched: set[Expiring] = set()
        self._handle: asyncio.TimerHandle | None = None
        self.now = loop.time()

    def watch(self, item: Expiring) -> None:
        self._watched.add(item)
        if self._handle is None:
            self.now = self._loop.time()
            self._handle = self._loop.call_later(self._interval, self._tick)

    def unwatch(self, item: Expiring) -> None:
        self._watched.discard(item)

    def _tick(self) -> None:
        self.now = now = self._loop.time()
        try:
            for item in [item for item in self._watched if item.deadline <= now]:
                if item.deadline <= now and item in self._watched:  # unless the end of another one changed that
                    item.expire()
        finally:  # whatever one of them raises, the others still have their deadlines
            self._handle = self._loop.call_later(self._interval, self._tick) if self._watched else None


class Timers:
    """The sweepers that the connections of one process share: relays end on time, idle connections roughly so."""

    __slots__ = ("idle", "relays")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.relays = Sweeper(loop, 0.05)
        self.idle = Sweeper(loop, 1.0)
