"""Loads over time for the simulation of scaling: requests that begin in each second, made or read from a file.

`tools.simulate_scaling` plays them. Chance comes from a fixed seed, so that every run has the same numbers. Run as
`python -m tools.scaling_traces` to write the day of `traces/day.csv` anew.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Sequence
from pathlib import Path

DAY = Path(__file__).parent / "traces" / "day.csv"
MINUTES = 1440

Trace = tuple[int, ...]
"""Requests that begin in each second."""


def step(before: int, after: int, at: int, seconds: int) -> Trace:
    return tuple(before if second < at else after for second in range(seconds))


def ramp(low: int, high: int, seconds: int) -> Trace:
    """Up in the first half, down in the second."""
    half = seconds / 2
    return tuple(round(high - (high - low) * abs(second - half) / half) for second in range(seconds))


def sine(middle: int, swing: int, period: int, seconds: int) -> Trace:
    return tuple(round(middle + swing * math.sin(2 * math.pi * second / period)) for second in range(seconds))


def spikes(base: int, height: int, every: int, width: int, seconds: int) -> Trace:
    """A burst of `width` seconds at the end of every `every`."""
    return tuple(height if second % every >= every - width else base for second in range(seconds))


def poisson(mean: float, seconds: int, seed: int = 1) -> Trace:
    """Callers that know nothing of each other, `mean` requests a second."""
    chance = random.Random(seed)
    counts = [0] * seconds
    when = chance.expovariate(mean)
    while when < seconds:
        counts[int(when)] += 1
        when += chance.expovariate(mean)
    return tuple(counts)


def day(path: Path = DAY) -> tuple[float, ...]:
    """Requests a second in each minute of a day."""
    with path.open(newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(float(row["requests_per_second"]) for row in rows)


def arrivals(rates: Sequence[float], seconds_each: int, seed: int = 1) -> Trace:
    """Requests by the second, at random, where each rate holds for some seconds."""
    chance = random.Random(seed)
    return tuple(_poisson_count(chance, rate) for rate in rates for _ in range(seconds_each))


def _poisson_count(chance: random.Random, mean: float) -> int:
    """Arrivals in one second."""
    count, when = 0, chance.expovariate(mean) if mean else 1.0
    while when < 1:
        count += 1
        when += chance.expovariate(mean)
    return count


def _write_day(path: Path, seed: int = 20261128) -> None:
    """A night, a morning's rise, noon, an evening's peak, and three bursts of a few minutes; noise of a tenth."""
    chance = random.Random(seed)
    bursts = {chance.randrange(480, 1320): chance.uniform(1.5, 2.5) for _ in range(3)}
    lines = [
        "# Requests a second of a web site in each minute of a day. Not recorded: made by tools/scaling_traces.py from a curve with",
        "# two peaks, three bursts and noise, with a fixed seed.",
        "minute,requests_per_second",
    ]
    for minute in range(MINUTES):
        hour = minute / 60
        rate = 4 + 60 * math.exp(-(((hour - 11.5) / 3) ** 2)) + 90 * math.exp(-(((hour - 19.5) / 2) ** 2))
        burst = max((factor for at, factor in bursts.items() if at <= minute < at + 4), default=1.0)
        lines.append(f"{minute},{rate * burst * chance.uniform(0.9, 1.1):.1f}")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    _write_day(DAY)
