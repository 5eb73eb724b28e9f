"""Which replica gets the next request, and how long a failing one is left alone.

The gateway keeps the replicas' state and passes in time and chance; this module only decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

FIRST_REST = 0.1
"""Seconds that a replica rests after its first failure in a row; doubled by each further one."""

LONGEST_REST = 5.0
"""Seconds. Bounded, because a replica that really is gone leaves the routes by itself."""


class Candidate(Protocol):
    """A replica that may be chosen."""

    inflight: int
    resting_until: float


C = TypeVar("C", bound=Candidate)


def choose(candidates: Sequence[C], now: float, draw: Callable[[], float]) -> C:
    """The less busy of two random candidates that do not rest; where all rest, the one whose rest ends first.

    Two choices come close to the least busy of all without looking at all (Mitzenmacher 2001). `draw` returns numbers in
    [0, 1), `now` is on the clock of `resting_until`. Raises IndexError when there is no candidate.
    """
    count = len(candidates)
    if count <= 1:
        return candidates[0]
    first = int(draw() * count)
    second = int(draw() * (count - 1))
    one, other = candidates[first], candidates[second if second < first else second + 1]
    if one.resting_until > now or other.resting_until > now:
        awake = [candidate for candidate in candidates if candidate.resting_until <= now]
        if not awake:
            return min(candidates, key=lambda candidate: candidate.resting_until)
        return min(awake, key=lambda candidate: candidate.inflight)
    return other if other.inflight < one.inflight else one


def rest_after(failures: int) -> float:
    """Seconds of rest after this many failures in a row (1 or more)."""
    return float(min(FIRST_REST * 2 ** (min(failures, 16) - 1), LONGEST_REST))
