"""Requests in flight as the load generator itself counts them: how many at a time, as means over spans of time.

Whoever counts says what time it is; begins and ends come in the order of their times.
"""

from __future__ import annotations

import bisect


class InFlight:
    """One count for all requests of a generator."""

    def __init__(self) -> None:
        self._level = 0
        self._times = [0.0]
        self._levels = [0]
        """From each of the times on."""
        self._spent = [0.0]
        """Seconds that all requests together had spent by each of the times."""

    def begin(self, now: float) -> None:
        self._change(now, 1)

    def end(self, now: float) -> None:
        self._change(now, -1)

    def mean(self, since: float, until: float) -> float:
        """Requests in flight on the average of that span."""
        return (self._spent_by(until) - self._spent_by(since)) / (until - since)

    def highest(self, since: float, until: float, span: float = 1.0, pace: float = 0.01) -> float:
        """The highest mean of `span` seconds that lie between these moments, looked for every `pace` seconds. Raises ValueError
        when there are fewer seconds."""
        if until - since < span:
            raise ValueError(f"{until - since:.2f} s are shorter than {span:.2f} s")
        count = int((until - since - span) / pace) + 1
        return max(self.mean(start, start + span) for start in (since + pace * number for number in range(count)))

    def _change(self, now: float, by: int) -> None:
        spent = self._spent_by(now)
        self._times.append(now)
        self._spent.append(spent)
        self._level += by
        self._levels.append(self._level)

    def _spent_by(self, moment: float) -> float:
        at = bisect.bisect_right(self._times, moment) - 1
        return self._spent[at] + self._levels[at] * (moment - self._times[at])
