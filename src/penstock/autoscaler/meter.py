"""Load of functions from counters that only grow, noted once a tick by `autoscaler.scaler`.

No clock and no I/O: whoever notes says what time it is. What a load means for replicas is decided in `core.scaling`. The
simulation in `tools` asks `followed` too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

LOAD_WINDOW = 3
"""Ticks over which load is averaged; at one second each, a load that holds is known within three."""

BURST = 1.5
"""A last tick of more than this many times the average counts alone, so that a burst is followed at once. With a lower one callers at
random would look like bursts."""

N = TypeVar("N", int, float)


class Meter:
    """What was begun and what was in flight in the last ticks, by function."""

    def __init__(self) -> None:
        self._ticks: deque[_Tick] = deque(maxlen=LOAD_WINDOW)
        self._started: Mapping[str, int] = {}
        self._busy: Mapping[str, float] = {}
        self._level: Mapping[str, int] = {}
        self._noted: float | None = None
        self._active: dict[str, float] = {}
        self._loaded: set[str] = set()

    @property
    def knows(self) -> bool:
        """Whether there was time to measure anything."""
        return bool(self._ticks)

    @property
    def loaded(self) -> set[str]:
        """Functions with any load in the window."""
        return self._loaded

    def note(
        self, now: float, started: Mapping[str, int], busy: Mapping[str, float], inflight: Mapping[str, int]
    ) -> None:
        """Cumulative counts (begun requests, seconds of requests in flight) and the level, once per tick. A counter that shrinks
        begins anew. Where none began and the level is as before, none ended: what was in flight is exact, and does not depend on
        the moments at which workers were asked. Otherwise four requests would now and then be a little more than four, and ask for
        another replica. Nor were more in flight than there were and began: a process that stood still between asking workers and
        looking at the clock finds many seconds of requests in one tick."""
        if self._noted is not None and now <= self._noted:
            return  # no time to measure anything in: the next note counts it
        begun, spent = _growth(self._started, started), _growth(self._busy, busy)
        running = {key for key, level in inflight.items() if level > 0}
        if self._noted is not None:
            seconds = now - self._noted
            for key, amount in spent.items():
                most = max(self._level.get(key, 0) + begun.get(key, 0), inflight.get(key, 0))
                spent[key] = min(amount, most * seconds)
            spent |= {
                key: inflight[key] * seconds for key in running - begun.keys() if inflight[key] == self._level.get(key)
            }
            self._ticks.append(_Tick(seconds, begun, spent))
        self._noted, self._started, self._busy, self._level = now, dict(started), dict(busy), dict(inflight)
        for key in running.union(begun):
            self._active[key] = now
        self._loaded = running.union(*(tick.begun for tick in self._ticks), *(tick.spent for tick in self._ticks))

    def rps(self, key: str) -> float:
        """Requests begun a second."""
        return followed([(tick.begun.get(key, 0), tick.seconds) for tick in self._ticks])

    def inflight(self, key: str) -> float:
        """Requests in flight, those that wait included, as a mean over time."""
        return followed([(tick.spent.get(key, 0.0), tick.seconds) for tick in self._ticks])

    def last_active(self, key: str) -> float | None:
        """When a request last began or was in flight; None when that was never seen."""
        return self._active.get(key)

    def forget(self, key: str) -> None:
        """The function is gone; one of its name that comes later has no load yet."""
        self._active.pop(key, None)
        self._loaded.discard(key)
        for tick in self._ticks:
            tick.begun.pop(key, None)
            tick.spent.pop(key, None)


class _Tick(NamedTuple):
    seconds: float
    begun: dict[str, int]
    spent: dict[str, float]


def _growth(before: Mapping[str, N], after: Mapping[str, N]) -> dict[str, N]:
    """By how much each counter grew, for those that did."""
    grown: dict[str, N] = {}
    for key, value in after.items():
        old = before.get(key, 0)
        if value != old and value > 0:
            grown[key] = value - old if value > old else value
    return grown


def followed(ticks: Sequence[tuple[float, float]]) -> float:
    """The load by the last `LOAD_WINDOW` ticks, oldest first, each an amount and its seconds; 0 when there are none.

    The mean; what both of the last two had, when that is more, since a load that has come to stay is known by its second tick;
    the last one's alone, when it is a burst. Never more than the highest tick.
    """
    if not ticks:
        return 0.0
    mean = sum(amount for amount, _ in ticks) / sum(seconds for _, seconds in ticks)
    latest = [amount / seconds for amount, seconds in ticks[-2:]]
    return latest[-1] if latest[-1] > BURST * mean else max(mean, min(latest))
