"""Pauses between attempts to start a program: short at first, doubled with each failure, bounded.

Used by what keeps programs running in the watchdog. Time is handed in.
"""

from __future__ import annotations

FIRST, MOST = 0.1, 10.0
"""Seconds before the first further attempt; doubled each time up to the second."""


class Backoff:
    """The next pause. A program that ran for longer than the longest pause starts over."""

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next = FIRST
        """Seconds of the next pause."""

    def pause(self, ran: float = 0.0) -> float:
        """Seconds to wait after a failure of a program that had run for `ran` seconds."""
        if ran > MOST:
            self.next = FIRST
        pause, self.next = self.next, min(self.next * 2, MOST)
        return pause

    def reset(self) -> None:
        """It works again."""
        self.next = FIRST
