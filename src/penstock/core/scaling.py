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

_MANY = 1e12
"""More replicas than any number in a label; what a load beyond all measure asks for."""


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

    The result is within [least, most], but for 0 when the function is idle or at rest, and for what a floor asks. Load alone
    never asks for 0. Where nothing is known of the past, or the load was not, what is wanted now counts as recommended: a load
    that seems small because it has just begun to be measured takes nothing away.
    """
    load = inputs.load if inputs.load is not None and math.isfinite(inputs.load) else None
    asked = 0 if load is None else replicas_for(load, scaling)
    if inputs.desired == 0:
        return Verdict(replicas=0, rule="resting", asked=asked), ()
    if inputs.idle >= inputs.idle_limit:
        return Verdict(replicas=0, rule="idle", asked=asked), ()
    if scaling.fixed:
        return Verdict(replicas=inputs.desired, rule="fixed", asked=asked), tuple(past)
    rule: Rule = "unknown"
    least, present = max(scaling.least, 1), Recommendation(now, min(inputs.desired, scaling.most))
    if load is None:
        kept = _remember(past, present, now - scaling.window)
        replicas = min(max(inputs.desired, least), scaling.most)
    else:
        wanted = min(max(asked, least), scaling.most)
        kept = _remember(past or (present,), Recommendation(now, wanted), now - scaling.window)
        replicas, rule = _step(inputs.desired, wanted, kept[0].replicas, least)
        if rule == "load" and wanted != asked:
            rule = "minimum" if asked < wanted else "maximum"
        replicas = min(replicas, scaling.most)
    if inputs.floor > replicas or (inputs.floor == replicas and rule == "window"):
        replicas, rule = inputs.floor, "floor"
    return Verdict(replicas=replicas, rule=rule, asked=asked), kept


def _remember(past: Sequence[Recommendation], latest: Recommendation, oldest: float) -> tuple[Recommendation, ...]:
    """What later decisions need: the highest first, and of each lower one only the last; no more than there are numbers."""
    return (*(one for one in past if one.when > oldest and one.replicas > latest.replicas), latest)


def _step(desired: int, wanted: int, highest: int, least: int) -> tuple[int, Rule]:
    """From `desired` towards `wanted`: up by no more than a step, down to no less than the `highest` of the window."""
    if wanted > desired:
        limit = max(desired + max(desired, MOST_AT_ONCE), least)
        return (limit, "limit") if wanted > limit else (wanted, "load")
    if wanted < desired and highest > wanted:
        return min(desired, highest), "window"
    return wanted, "load"


def replicas_for(load: float, scaling: Scaling) -> int:
    """`ceil(load / (target x proportion))`, not bounded (contract gateway §5.6). Rounded to a millionth first: 0.7 and its
    like are no exact numbers, and 2.1 at a target of 3 x 0.7 is one replica's load."""
    return math.ceil(round(min(max(load / scaling.each, 0.0), _MANY), 6))


def after_alert(current: int, firing: bool, scaling: Scaling) -> int:
    """Replicas wanted after an alert: a step more while it fires, the least once it is over (contract gateway §5.2)."""
    return min(current + scaling.step, scaling.most) if firing else scaling.least
