"""What a worker counts: plain integers and fixed arrays, sent to control as differences (`messages.Counters`)."""

from __future__ import annotations

from bisect import bisect_left

from penstock.gateway.messages import LATENCY_BUCKETS, Completed, Counters

_SLOTS = len(LATENCY_BUCKETS) + 1


class FunctionCounters:
    """Counts of one function. `inflight` is a level, everything else is what came since the last report."""

    __slots__ = ("_codes", "inflight", "key", "removed", "started")

    def __init__(self, key: str) -> None:
        self.key = key
        self.started = 0
        self.inflight = 0
        self.removed = False
        self._codes: dict[int, Completed] = {}

    def begin(self) -> None:
        self.started += 1
        self.inflight += 1

    def end(self, code: int, seconds: float) -> None:
        self.inflight -= 1
        completed = self._codes.get(code)
        if completed is None:
            completed = Completed(key=self.key, code=code, count=0, seconds=0.0, buckets=[0] * _SLOTS)
            self._codes[code] = completed
        completed.count += 1
        completed.seconds += seconds
        completed.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1

    @property
    def dirty(self) -> bool:
        return bool(self.started or self._codes)

    def take(self) -> list[Completed]:
        """What was completed since the last call."""
        codes, self._codes = self._codes, {}
        return list(codes.values())


class WorkerCounters:
    """Counts of all functions that this worker has seen. A function that was removed is counted until it is reported."""

    def __init__(self) -> None:
        self._functions: dict[str, FunctionCounters] = {}

    def of(self, key: str) -> FunctionCounters:
        counters = self._functions.get(key)
        if counters is None:
            counters = self._functions[key] = FunctionCounters(key)
        counters.removed = False
        return counters

    def forget(self, key: str) -> None:
        """The function is gone: drop it when nothing of it is left to report."""
        if key in self._functions:
            self._functions[key].removed = True

    @property
    def dirty(self) -> bool:
        """Whether anything changed since the last report."""
        return any(counters.dirty for counters in self._functions.values())

    def report(self, flush: int, connections: int) -> Counters:
        """Everything since the last report; starts anew."""
        started: dict[str, int] = {}
        completed: list[Completed] = []
        for key, counters in self._functions.items():
            if counters.started:
                started[key], counters.started = counters.started, 0
            completed += counters.take()
        inflight = {key: counters.inflight for key, counters in self._functions.items() if counters.inflight}
        for key in [key for key, counters in self._functions.items() if counters.removed and not counters.inflight]:
            del self._functions[key]
        return Counters(flush=flush, started=started, completed=completed, inflight=inflight, connections=connections)
