"""Counters of the watchdog and their Prometheus text form (contract watchdog §1.10).

The app counts, `/_/metrics` and the metrics port render. Written by hand since the client library is heavier than a replica.
The numbers are on the scoreboard, so that any worker can tell those of the whole replica.
"""

from __future__ import annotations

from penstock.watchdog.scoreboard import BUCKETS, Scoreboard, Slot

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Requests by status and method, their durations, and how many run. `slot` is the one of this process."""

    def __init__(self, board: Scoreboard | None = None, slot: Slot | None = None) -> None:
        self._board = board or Scoreboard()
        self.observe = (slot or self._board.slots[0]).observe
        """A request ended: its status (499 when the client left first), method and seconds."""

    def render(self, inflight: int) -> bytes:
        """The exposition, ending in a newline."""
        totals: list[str] = []
        durations: list[str] = []
        for (status, method), series in sorted(self._board.series().items()):
            labels = f'code="{status}",method="{method.decode().lower() or "unknown"}"'
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
