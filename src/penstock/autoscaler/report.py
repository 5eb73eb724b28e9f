"""What is known about the scaling of one function, as the REST API tells it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from penstock.autoscaler.journal import Decision
from penstock.core.idle import ENOUGH
from penstock.core.scalelabels import Scaling


class Labels(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The labels as they were read, defaults included."""

    min: int
    max: int
    factor: int
    type: str
    target: float
    proportion: float
    down_window: float
    zero: bool
    zero_after: float
    learned: bool
    query: str


class LoadNow(msgspec.Struct, frozen=True, kw_only=True):
    """The load as of the last tick."""

    kind: str
    value: float | None
    unknown: str = ""


class LearningNow(msgspec.Struct, frozen=True, kw_only=True):
    """How far learning from a function's own pauses is."""

    pauses: int
    """Seen, at most as many as are needed: until there are that many the usual time holds."""
    needed: int = ENOUGH


class AlertNow(msgspec.Struct, frozen=True, kw_only=True):
    """The last alert that fired."""

    last: datetime | None = None
    hint: str = ""


class ScalingReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything; times in seconds."""

    function: str
    namespace: str
    replicas: int
    available: int
    autoscaling: bool
    """Whether load decides at all; `penstock serve --no-autoscaling` has it off."""
    leader: bool
    """Whether this gateway is the one that decides."""
    scaling: Labels
    faults: tuple[str, ...]
    load: LoadNow
    floor: int
    floor_by: str
    """`hand`, `alert` or empty."""
    idle_for: float
    """Since a request began or was in flight, or since the first replica was ready, when that was later."""
    rests_after: float | None
    """Idleness after which none are kept; None when some always are."""
    learning: LearningNow | None
    """None when nothing is to be learned."""
    alert: AlertNow
    decisions: tuple[Decision, ...]
    """Newest last."""


def labels_of(scaling: Scaling) -> Labels:
    return Labels(
        min=scaling.least,
        max=scaling.most,
        factor=scaling.factor,
        type=scaling.kind,
        target=scaling.target,
        proportion=scaling.proportion,
        down_window=scaling.window,
        zero=scaling.zero,
        zero_after=scaling.zero_after,
        learned=scaling.learned,
        query=scaling.query,
    )
