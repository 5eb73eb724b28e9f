"""The gateway's Prometheus metrics: sums over all workers, and their text form (contract gateway §6.1).

The feed adds what workers report; `control.app` renders at each scrape. The gateway's own families are written here
rather than by prometheus-client, which would rename `gateway_function_invocation_started` and needs 150 ms for a
thousand functions on the event loop; the process's metrics come from that library.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from penstock.control.exposition import family, head, histogram, label
from penstock.gateway.messages import LATENCY_BUCKETS, Completed, Counters
from penstock.model import Function

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

CHUNK = 100
"""Texts rendered before other work gets its turn: a tenth of a millisecond, or half of one where each is a histogram."""

MAX_GONE = 1000
"""Removed functions whose counts are kept. A platform on which names come and go must not grow with each of them."""

MAX_SECONDS = 1e15
"""More than this no report of a worker can mean, and sums of what is less stay finite."""

_BUCKETS = len(LATENCY_BUCKETS) + 1

Lines = Callable[[], Iterable[str]]
"""Families of metrics that others have, as texts of one line or a few; asked at each scrape."""


@dataclass(slots=True)
class Series:
    """Finished requests of one function with one status code."""

    count: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)
    text: str = ""
    """What the last scrape made of it, kept because most functions rest most of the time; empty once it has grown."""

    def add(self, completed: Completed) -> None:
        self.text = ""
        self.count += completed.count
        self.seconds += completed.seconds
        # A new list: a scrape may be reading the old one.
        self.buckets = list(map(operator.add, self.buckets, completed.buckets))


class Totals:
    """Counters of all workers since this process started."""

    def __init__(self) -> None:
        self.started: dict[str, int] = {}
        self.busy: dict[str, float] = {}
        """Seconds that requests were in flight, by function: its growth in a second is the mean number in flight."""
        self.completed: dict[str, dict[int, Series]] = {}

    def add(self, counters: Counters) -> None:
        """Add one worker's differences. Raises ValueError, having added nothing, when they make no sense."""
        _check(counters)
        for key, count in counters.started.items():
            self.started[key] = self.started.get(key, 0) + count
        for key, seconds in counters.busy.items():
            self.busy[key] = self.busy.get(key, 0.0) + seconds
        for completed in counters.completed:
            codes = self.completed.setdefault(completed.key, {})
            series = codes.get(completed.code)
            if series is None:
                series = codes[completed.code] = Series()
            series.add(completed)

    def forget_gone(self, present: Collection[str]) -> None:
        """Drop counts of functions that are no more, once they are far more than those `present`.

        Until then they stay, so that the last calls before a removal are scraped too.
        """
        for counts in (self.started, self.busy, self.completed):
            if len(counts) > len(present) + MAX_GONE:
                for key in [key for key in counts if key not in present]:
                    del counts[key]

    def invocations(self, key: str) -> int:
        """Finished requests of a function, all status codes together."""
        return sum(series.count for series in self.completed.get(key, {}).values())


def _check(counters: Counters) -> None:
    """Counters only ever grow: refuse what would make one shrink or mean two things."""
    if any(count < 0 for count in counters.started.values()):
        raise ValueError("a negative count of started requests")
    if not all(0 <= seconds < MAX_SECONDS for seconds in counters.busy.values()):
        raise ValueError("an impossible time in flight")
    for completed in counters.completed:
        buckets = completed.buckets
        whole = len(buckets) == _BUCKETS and min(buckets) >= 0 and completed.count >= 0
        if not (whole and 0 <= completed.seconds < MAX_SECONDS):
            raise ValueError("impossible counts of finished requests")


class Source(Protocol):
    """What a scrape reads; the feed is one."""

    @property
    def totals(self) -> Totals: ...

    @property
    def functions(self) -> Mapping[str, Function]: ...

    def inflight(self) -> dict[str, int]: ...

    def connections(self) -> dict[int, int]: ...


async def exposition(source: Source, *more: Lines) -> bytes:
    """All metrics in Prometheus' text format 0.0.4. Yields to the event loop every CHUNK texts."""
    texts = itertools.chain(_gateway_lines(source), *(each() for each in more))
    parts: list[bytes] = []
    while chunk := list(itertools.islice(texts, CHUNK)):
        parts.append("\n".join([*chunk, ""]).encode())
        await asyncio.sleep(0)
    return b"".join([*parts, _process_metrics()])


def _gateway_lines(source: Source) -> Iterator[str]:
    # Copies of the keys, because counters go on arriving between two chunks.
    completed = source.totals.completed
    rows = [(key, code) for key in sorted(completed) for code in sorted(completed[key])]
    functions = sorted(source.functions.items())
    yield from head("gateway_functions_seconds", "histogram", "Function time taken")
    for key, code in rows:
        series = completed[key][code]
        if not series.text:
            labels = f'code="{code}",{label("function_name", key)}'
            series.text = histogram("gateway_functions_seconds", labels, series.buckets, series.seconds)
        yield series.text
    yield from head("gateway_function_invocation_total", "counter", "Function metrics")
    for key, code in rows:
        yield f'gateway_function_invocation_total{{code="{code}",{label("function_name", key)}}} {completed[key][code].count}'
    started = dict(source.totals.started)
    help_text = "The total number of function HTTP requests started."
    yield from family("gateway_function_invocation_started", "counter", help_text, started)
    help_text = "Function HTTP requests in progress."
    inflight = dict.fromkeys(source.functions, 0) | source.inflight()
    yield from family("gateway_function_invocation_inflight", "gauge", help_text, inflight)
    functions = [(key, function) for key, function in functions if not function.spec.stages]
    desired = {key: function.desired for key, function in functions}
    yield from family("gateway_service_count", "gauge", "Current count of replicas for function", desired)
    ready = {key: function.available for key, function in functions}
    yield from family("gateway_service_ready_count", "gauge", "Replicas of the function that answer.", ready)
    yield from head("penstock_gateway_connections", "gauge", "Open client connections of a gateway worker.")
    for worker, count in sorted(source.connections().items()):
        yield f'penstock_gateway_connections{{worker="{worker}"}} {count}'


@functools.cache
def _process_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _process_metrics() -> bytes:
    """CPU, memory, open files and garbage collection of the control process itself."""
    return generate_latest(_process_registry())
