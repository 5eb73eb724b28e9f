"""How many replicas a function should have: pure decisions from numbers that others have measured.

`decide` follows the load towards a target (contract gateway §5.6), `after_alert` follows alerts (§5.2). Called by the
autoscaler with the time of its choosing; nothing here looks at a clock or waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from penstock.core.scalelabels import Scaling

Rule = Literal["load", "minimum", "maximum", "window", "limit", "floor", "idle", "unknown", "fixed", "resting"]
"""What decided: the load itself, a bound, the window in which fewer would have been too few, the limit of a step, replicas that an
alert or a person asked for, idleness, a load that nobody knows, bounds that leave no choice, a function at rest."""

MOST_AT_ONCE = 4
"""Replicas that one step may always add; beyond that it at most doubles what there is."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one function at one moment."""

    load: float | None
    """All of it together, in units of the target. None when it is not known."""
    desired: int
    """Replicas wanted now; those that still start count, so that a burst does not ask for them twice."""
    idle: float = 0.0
    """Seconds since a request began or was in flight."""
    idle_limit: float = math.inf
    """Seconds of idleness after which none are wanted; infinite where they are always kept."""
    floor: int = 0
    """Replicas that an alert or a person asked for and that load does not go below, unless the function has been idle for long."""


class Recommendation(msgspec.Struct, frozen=True):
    """What the load asked for at a moment (seconds of a monotonic clock)."""

    when: float
    replicas: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How many, and why."""

    replicas: int
    rule: Rule
    asked: int
    """What the load alone asks for."""


def decide(
    scaling: Scaling, inputs: Inputs, past: Sequence[Recommendation], now: float
) -> tuple[Verdict, tuple[Recommendation, ...]]:
    """What is wanted now, and the recommendations that later decisions have to know; those older than the window are dropped.

    The result is within [least, most], but for 0 when the function is idle or at rest, and for what a floor asks.
    """
    asked = 0 if inputs.load is None else replicas_for(inputs.load, scaling)
    if inputs.desired == 0:
        return Verdict(replicas=0, rule="resting", asked=asked), ()
    if inputs.idle >= inputs.idle_limit:
        return Verdict(replicas=0, rule="idle", asked=asked), ()
    if scaling.fixed or inputs.load is None:
        rule: Rule = "fixed" if scaling.fixed else "unknown"
        return Verdict(replicas=inputs.desired, rule=rule, asked=asked), tuple(past)
    wanted = min(max(asked, scaling.least), scaling.most)
    kept = _remember(past, Recommendation(now, wanted), now - scaling.window)
    replicas, rule = _step(inputs.desired, wanted, kept[0].replicas)
    if rule == "load" and wanted != asked:
        rule = "minimum" if asked < wanted else "maximum"
    replicas = min(max(replicas, scaling.least), scaling.most)
    if inputs.floor > replicas:
        replicas, rule = inputs.floor, "floor"
    return Verdict(replicas=replicas, rule=rule, asked=asked), kept


def _remember(past: Sequence[Recommendation], latest: Recommendation, oldest: float) -> tuple[Recommendation, ...]:
    """What later decisions need: the highest first, and of each lower one only the last; no more than there are numbers."""
    return (*(one for one in past if one.when > oldest and one.replicas > latest.replicas), latest)


def _step(desired: int, wanted: int, highest: int) -> tuple[int, Rule]:
    """From `desired` towards `wanted`: up by no more than a step, down to no less than the `highest` of the window."""
    if wanted > desired:
        limit = desired + max(desired, MOST_AT_ONCE)
        return (limit, "limit") if wanted > limit else (wanted, "load")
    if wanted < desired and highest > wanted:
        return min(desired, highest), "window"
    return wanted, "load"


def replicas_for(load: float, scaling: Scaling) -> int:
    """`ceil(load / (target x proportion))`, not bounded (contract gateway §5.6)."""
    return math.ceil(load / scaling.each)


def after_alert(current: int, firing: bool, scaling: Scaling) -> int:
    """Replicas wanted after an alert: a step more while it fires, the least once it is over (contract gateway §5.2)."""
    return min(current + scaling.step, scaling.most) if firing else scaling.least
