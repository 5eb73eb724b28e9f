"""How long and how often to measure: one plan for a full run, one for a quick look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Sizes of one run."""

    quick: bool
    rounds: int
    """Rounds of runs that alternate; each gives one ratio, and their median counts."""
    seconds: float
    """One run of wrk."""
    requests: int
    """Requests to each server whose latency is measured."""
    starts: int
    """Cold starts."""
    body: int
    """Bytes of a large body."""
    body_rounds: int
    idle: int
    """Idle connections to hold open."""
    functions: int
    """Functions at zero replicas."""


FULL = Plan(False, 7, 5.0, 10000, 30, 1 << 30, 5, 10000, 1000)
QUICK = Plan(True, 3, 2.0, 5000, 10, 1 << 28, 2, 10000, 1000)
