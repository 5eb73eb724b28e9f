"""Counters of the watchdog and their Prometheus text form (contract watchdog §1.10).

The app counts, `/_/metrics` and the metrics port render. Written by hand since the client library is heavier than a replica.
"""

from __future__ import annotations

from bisect import bisect_left

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_METHODS = {
    name: name.lower().decode()
    for name in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT")
}


class _Series:
    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class Metrics:
    """Requests by status and method, their durations, and how many run."""

    def __init__(self) -> None:
        self._series: dict[tuple[int, bytes], _Series] = {}

    def observe(self, status: int, method: bytes, seconds: float) -> None:
        """A request ended. `status` 499 means that the client left first."""
        key = (status, method if method in _METHODS else b"")
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        series.buckets[bisect_left(BUCKETS, seconds)] += 1
        series.seconds += seconds

    def render(self, inflight: int) -> bytes:
        """The exposition, ending in a newline."""
        totals: list[str] = []
        durations: list[str] = []
        for (status, method), series in sorted(self._series.items()):
            labels = f'code="{status}",method="{_METHODS.get(method, "unknown")}"'
            count = 0
            for bound, number in zip((*BUCKETS, "+Inf"), series.buckets, strict=True):
                count += number
                shown = bound if isinstance(bound, str) else f"{bound:g}"
                durations.append(f'http_request_duration_seconds_bucket{{{labels},le="{shown}"}} {count}')
            durations.append(f"http_request_duration_seconds_sum{{{labels}}} {series.seconds!r}")
            durations.append(f"http_request_duration_seconds_count{{{labels}}} {count}")
            totals.append(f"http_requests_total{{{labels}}} {count}")
        return "\n".join(
            (
                "# HELP http_requests_total Requests answered, by status code and method.",
                "# TYPE http_requests_total counter",
                *totals,
                "# HELP http_request_duration_seconds Time from a request's head to the end of its answer.",
                "# TYPE http_request_duration_seconds histogram",
                *durations,
                "# HELP http_requests_in_flight Requests being served now.",
                "# TYPE http_requests_in_flight gauge",
                f"http_requests_in_flight {inflight}",
                "",
            )
        ).encode()
