"""Numbers out of samples: percentiles, and ratios of runs that alternated. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which `share` (0 to 1) of all samples lie, interpolated. Raises ValueError when there are none."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, round by round: both sides of a round ran one after the other and met the same machine."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of `ratios`: one disturbed round moves it little."""
    return median(ratios(ours, theirs))


def spread(values: Sequence[float]) -> str:
    """Lowest and highest, to show how far rounds disagree."""
    return f"{number(min(values))} to {number(max(values))}"


def number(value: float) -> str:
    """Three or so significant digits, thousands apart: 0.873, 12.4, 48,212."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
