"""How many of something have been asked for at once, lately: what a pool should hold ready.

The watchdog's prefork pool notes every request here and asks how many processes the load makes worth keeping. Time is handed in.
"""

from __future__ import annotations

from collections import deque

BUCKET = 1.0
"""Seconds over which requests count as a burst: what starts slowly may take that long to be replaced."""

MEMORY = 60.0
"""Seconds for which a burst is remembered, so that a pool neither shrinks between two bursts nor stays large for ever."""


class Demand:
    """Counts of requests by second. `peak` is the largest of the last minute; both take seconds of a clock that never goes back."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: deque[tuple[float, int]] = deque()
        """Start and count of each second with a request, oldest first."""

    def note(self, now: float) -> None:
        """One more was asked for."""
        if self._buckets and now < self._buckets[-1][0] + BUCKET:
            start, count = self._buckets[-1]
            self._buckets[-1] = (start, count + 1)
        else:
            self._forget(now)
            self._buckets.append((now, 1))

    def peak(self, now: float) -> int:
        """The most that were asked for within a second, in the last minute; 0 for none."""
        self._forget(now)
        return max((count for _, count in self._buckets), default=0)

    def _forget(self, now: float) -> None:
        while self._buckets and self._buckets[0][0] + MEMORY <= now:
            self._buckets.popleft()


def pool_size(demand: int, least: int, most: int) -> int:
    """How many to keep ready for a burst of `demand`: one more than that, between `least` and `most`."""
    return max(least, min(demand + 1, most)) if demand else least
