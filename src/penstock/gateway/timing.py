"""Where the time of one request went, for the `Server-Timing` field (W3C Server Timing) of its answer.

`invoke` drives a stopwatch through the phases of a request that asked for it; all others have none. It reads no clock.
"""

from __future__ import annotations

from typing import Literal

Phase = Literal["queue", "wake", "function"]
"""Waiting for a free slot; waiting for a replica; at replicas, up to the head of the answer."""


class Stopwatch:
    """Seconds spent in each phase. Begins in `queue`."""

    __slots__ = ("_phase", "_seconds", "_since")

    def __init__(self, now: float) -> None:
        self._phase: Phase = "queue"
        self._since = now
        self._seconds: dict[Phase, float] = {"queue": 0.0, "wake": 0.0, "function": 0.0}

    def enter(self, phase: Phase, now: float) -> None:
        """From now on time counts for `phase`."""
        self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def field(self, now: float) -> bytes:
        """The field line for an answer that is sent now, in milliseconds, ending in CRLF."""
        self.enter(self._phase, now)
        metrics = ", ".join([f"{phase};dur={seconds * 1000:.1f}" for phase, seconds in self._seconds.items()])
        return f"Server-Timing: {metrics}\r\n".encode()
