"""Numbers that the workers of one replica share with each other and with their parent: one anonymous mapping, no locks.

Each worker writes to its own slot and may read all of them. A slot outlives its worker, so that counters never go backwards;
the next worker that gets it goes on counting. The parent makes the board before it forks and hands the slots out.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from penstock.watchdog.limiter import Limiter

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the durations counted, in seconds; one more bucket takes what is longer."""

METHODS = (b"", b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT")
"""Methods counted by name; all others count as the first."""

_NUMBERS = {name: number for number, name in enumerate(METHODS)}
_HEARTBEAT, _INFLIGHT, _SERIES = 0, 1, 2
"""Words of a slot: when its worker's loop last turned, requests in flight, then the series."""
_KEY, _FIRST, _SECONDS, _WORDS = 0, 1, 1 + len(BUCKETS) + 1, 2 + len(BUCKETS) + 1
"""Words of a series: its key, the buckets, and the sum of the durations."""
_MOST_SERIES = 128
"""Series of a slot. A function has a few; one that answers every status there is has the rest counted by hundreds."""
_SLOT = _SERIES + _MOST_SERIES * _WORDS
_USED = 1 << 32
"""Bit of the keys that are in use."""
_PAGE = 4096


@dataclass(slots=True)
class Series:
    """Requests of one status and method, over all workers."""

    buckets: list[int]
    seconds: float


class Slot:
    """One worker's part of the board."""

    __slots__ = ("_known", "_reals", "_words")

    def __init__(self, memory: memoryview) -> None:
        self._words = memory.cast("Q")
        self._reals = memory.cast("d")
        self._known: dict[tuple[int, bytes], int] = {}

    @property
    def heartbeat(self) -> float:
        """Monotonic time, in seconds, at which the worker's loop last turned; 0 before it did."""
        return float(self._reals[_HEARTBEAT])

    @heartbeat.setter
    def heartbeat(self, now: float) -> None:
        self._reals[_HEARTBEAT] = now

    @property
    def inflight(self) -> int:
        """Requests that this worker is serving."""
        return int(self._words[_INFLIGHT])

    @inflight.setter
    def inflight(self, number: int) -> None:
        self._words[_INFLIGHT] = number

    def observe(self, status: int, method: bytes, seconds: float) -> None:
        """A request ended."""
        place = self._known.get((status, method))
        if place is None:
            place = self._known[status, method] = self._place(status, method)
        self._words[place + _FIRST + bisect_left(BUCKETS, seconds)] += 1
        self._reals[place + _SECONDS] += seconds

    def series(self) -> Iterator[tuple[int, bytes, list[int], float]]:
        """Status, method, buckets and seconds of all that was counted here."""
        for place in range(_SERIES, _SLOT, _WORDS):
            key = self._words[place + _KEY]
            if key:
                buckets = self._words[place + _FIRST : place + _SECONDS].tolist()
                yield (key ^ _USED) >> 8, METHODS[key & 255], buckets, self._reals[place + _SECONDS]

    def _place(self, status: int, method: bytes) -> int:
        """Where the series is, made if need be. The last six series are kept for the hundreds."""
        key = _USED | status << 8 | _NUMBERS.get(method, 0)
        for place in range(_SERIES, _SLOT - 6 * _WORDS, _WORDS):
            if self._words[place + _KEY] in (0, key):
                self._words[place + _KEY] = key
                return place
        key = _USED | status // 100 * 100 << 8
        for place in range(_SLOT - 6 * _WORDS, _SLOT, _WORDS):
            if self._words[place + _KEY] in (0, key):
                self._words[place + _KEY] = key
                return place
        return _SLOT - _WORDS


class Scoreboard:
    """All slots. With one slot it lives in ordinary memory, for a watchdog that is a single process."""

    def __init__(self, slots: int = 1) -> None:
        size = (_SLOT * 8 + _PAGE - 1) // _PAGE * _PAGE
        memory = memoryview(bytearray(size) if slots == 1 else mmap.mmap(-1, size * slots))
        self.slots = [Slot(memory[size * index : size * (index + 1)]) for index in range(slots)]

    @property
    def inflight(self) -> int:
        """Requests that all workers are serving."""
        return sum([slot.inflight for slot in self.slots])

    def series(self) -> dict[tuple[int, bytes], Series]:
        """What all workers have counted since the board was made."""
        total: dict[tuple[int, bytes], Series] = {}
        for slot in self.slots:
            for status, method, buckets, seconds in slot.series():
                known = total.get((status, method))
                if known is None:
                    total[status, method] = Series(buckets, seconds)
                else:
                    known.buckets = [a + b for a, b in zip(known.buckets, buckets, strict=True)]
                    known.seconds += seconds
        return total


class SharedLimiter(Limiter):
    """Counts against `max_inflight` over all workers. Two that take the last slot in the same instant may both get it."""

    __slots__ = ("_board", "_mine", "_slot")

    def __init__(self, limit: int, seat: _Seated) -> None:
        self._board = seat.board
        self._slot = seat.slot
        self._mine = 0
        super().__init__(limit)

    @property
    def inflight(self) -> int:
        return self._board.inflight

    @inflight.setter
    def inflight(self, number: int) -> None:
        self._slot.inflight = self._mine = number

    def acquire(self) -> bool:
        if self.limit and self.full:
            return False
        self._slot.inflight = self._mine = self._mine + 1
        return True

    def release(self) -> None:
        self._slot.inflight = self._mine = self._mine - 1


class _Seated(Protocol):
    @property
    def board(self) -> Scoreboard: ...

    @property
    def slot(self) -> Slot: ...
