"""What a worker counts: plain integers and fixed arrays, sent to control as differences (`messages.Counters`)."""

from __future__ import annotations

from bisect import bisect_left

from penstock.gateway.messages import LATENCY_BUCKETS, Completed, Counters

_SLOTS = len(LATENCY_BUCKETS) + 1


class FunctionCounters:
    """Counts of one function. `inflight` is a level, everything else is what came since the last report. Whoever counts says
    what time it is, in seconds of one clock: a request reads it anyway."""

    __slots__ = ("_busy", "_codes", "_since", "inflight", "key", "removed", "started")

    def __init__(self, key: str) -> None:
        self.key = key
        self.started = 0
        self.inflight = 0
        self.removed = False
        self._busy = 0.0
        self._since = 0.0
        """When `inflight` last changed or was reported: until then `_busy` holds its integral over time."""
        self._codes: dict[int, Completed] = {}

    def begin(self, now: float) -> None:
        if self.inflight:
            self._busy += self.inflight * (now - self._since)
        self._since = now
        self.started += 1
        self.inflight += 1

    def end(self, code: int, seconds: float, now: float) -> None:
        self._busy += self.inflight * (now - self._since)
        self._since = now
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
        """Whether there is something to report: what came, and time that requests in flight spend."""
        return bool(self.inflight or self.started or self._codes)

    def take(self) -> list[Completed]:
        """What was completed since the last call."""
        codes, self._codes = self._codes, {}
        return list(codes.values())

    def take_busy(self, now: float) -> float:
        """Seconds that all requests together were in flight since the last call, those that waited included."""
        busy = self._busy + self.inflight * (now - self._since)
        self._busy, self._since = 0.0, now
        return busy


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
        counters = self._functions.get(key)
        if counters is None:
            return
        if counters.dirty:
            counters.removed = True
        else:
            del self._functions[key]

    @property
    def dirty(self) -> bool:
        """Whether anything changed since the last report, or will as time goes by."""
        return any(counters.dirty for counters in self._functions.values())

    def report(self, flush: int, connections: int, now: float) -> Counters:
        """Everything since the last report; starts anew."""
        started: dict[str, int] = {}
        busy: dict[str, float] = {}
        completed: list[Completed] = []
        inflight: dict[str, int] = {}
        gone: list[str] = []
        for key, counters in self._functions.items():
            if not counters.dirty:
                continue
            if counters.started:
                started[key], counters.started = counters.started, 0
            if counters.inflight:
                inflight[key] = counters.inflight
            elif counters.removed:
                gone.append(key)
            if seconds := counters.take_busy(now):
                busy[key] = seconds
            completed += counters.take()
        for key in gone:
            del self._functions[key]
        return Counters(
            flush=flush,
            started=started,
            busy=busy,
            completed=completed,
            inflight=inflight,
            connections=connections,
        )
