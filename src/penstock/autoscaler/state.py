"""What the scaler remembers of one function between two ticks: its labels as read, floors, what it has said already."""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime
from typing import Literal, NamedTuple

from penstock.core.idle import Idleness, Pauses
from penstock.core.scalelabels import usable_scaling
from penstock.core.scaling import Recommendation
from penstock.model import Function

MANUAL_HOLD = 300.0
"""Seconds for which load does not go below a number that a person has set."""

SELDOM = 60.0
"""Seconds between two notifications of an alert that fires from which on it climbs too slowly to be of use."""

UNSEEN = 10.0
"""Seconds for which a number that was asked for counts although the provider has not told of it yet."""

Holder = Literal["hand", "alert"]


class Floor(NamedTuple):
    """Replicas that load does not go below."""

    replicas: int
    holder: Holder
    until: float = math.inf
    """Of the monotonic clock."""


class Ask(NamedTuple):
    """A number of replicas that this process has asked for."""

    replicas: int
    when: float


class State:
    """One function, as of its deployment: one of the same name that comes later has a state of its own."""

    def __init__(self, function: Function, now: float, known: Pauses | None = None) -> None:
        """`known` is what an earlier process has learned of its pauses."""
        self.deployed = function.created_at
        self.scaling, self.faults = usable_scaling(function.spec.labels)
        self.spec = function.spec
        self.idleness = Idleness(self.scaling.zero_after, known) if self._learns else None
        self.past: tuple[Recommendation, ...] = ()
        """Empty, what there is counts as recommended: a new control process lowers nothing before it has watched for a window."""
        self.floor: Floor | None = None
        self.shared = 0
        """What the provider has last told of the floors of alerts."""
        self.share(function.floor)
        self.awake_since = now
        """When it was first seen, woken, or ready after that: idleness counts from there at the earliest."""
        self._starts = function.desired > 0
        """Whether no replica has been ready since then."""
        self.last_active: float | None = None
        self.warmed = False
        """Whether it was started for the call that is due, or shall not be."""
        self.seen = function.desired
        """Replicas wanted when last looked at."""
        self._asks: deque[Ask] = deque(maxlen=4)
        """What this process has asked for, whoever told it to, and the provider has not told of yet."""
        self.said: set[str] = set()
        """Reasons for no change that are in the journal since the last change."""
        self.unknown_since: float | None = None
        self.failing = False
        self.alert_at: datetime | None = None
        self.alert_gap: float | None = None

    def read(self, function: Function) -> None:
        """Labels, when an update has changed them."""
        if function.spec is self.spec:
            return
        if function.spec.labels != self.spec.labels:
            self.scaling, self.faults = usable_scaling(function.spec.labels)
            self.past = ()
            self.said.clear()
            known = self.idleness.pauses if self.idleness else None
            self.idleness = Idleness(self.scaling.zero_after, known) if self._learns else None
        self.spec = function.spec

    @property
    def _learns(self) -> bool:
        """What was learned is kept as long as the labels ask for it."""
        return self.scaling.zero and self.scaling.learned

    def ask(self, replicas: int, now: float) -> Ask:
        """Remember that so many are asked for."""
        ask = Ask(replicas, now)
        self._asks.append(ask)
        return ask

    def take_back(self, ask: Ask) -> None:
        """The provider has refused."""
        if ask in self._asks:
            self._asks.remove(ask)

    def expected(self, replicas: int) -> bool:
        """Whether this process has asked for the number of which the provider tells now."""
        if replicas not in (ask.replicas for ask in self._asks):
            return False
        while self._asks.popleft().replicas != replicas:
            pass
        return True

    def desired(self, function: Function, now: float) -> int:
        """Replicas wanted, though the provider may not have told of it yet."""
        if self._asks and now - self._asks[-1].when < UNSEEN:
            return self._asks[-1].replicas
        return function.desired

    def floor_at(self, now: float) -> int:
        """Replicas of a floor that still holds."""
        if self.floor and now >= self.floor.until:
            self.floor = None
        return self.floor.replicas if self.floor else 0

    def hold(self, replicas: int, holder: Holder, now: float) -> None:
        """Keep at least this many; none lets go."""
        until = now + MANUAL_HOLD if holder == "hand" else math.inf
        self.floor = Floor(replicas, holder, until) if replicas else None

    def share(self, floor: int) -> bool:
        """Take over the floor of an alert as the provider tells it, whichever control process was told of the alert. Whether it is
        another than before."""
        if floor == self.shared:
            return False
        self.shared = floor
        if floor:
            self.hold(floor, "alert", 0.0)
        elif self.floor and self.floor.holder == "alert":
            self.floor = None
        return True

    def wake(self, now: float) -> None:
        """It is wanted again."""
        self.awake_since, self._starts = now, True

    def note_start(self, function: Function, now: float) -> None:
        """Replicas as the provider tells of them. A start may take longer than idleness is allowed to: that begins when the first
        one is ready. One that has ended and is started again may never be, and is not waited for."""
        if not self._starts:
            return
        if function.available:
            self._starts = False
        if function.available or any(one.state == "starting" and not one.restarts for one in function.replicas):
            self.awake_since = now

    def idle(self, now: float) -> float:
        """Seconds since it was last of use."""
        return max(0.0, now - max(self.awake_since, self.last_active or self.awake_since))

    def idle_limit(self, now: float) -> float:
        """Seconds of idleness after which it rests; infinite when it never does."""
        if not self.scaling.zero:
            return math.inf
        return self.idleness.limit(self.idle(now)) if self.idleness else self.scaling.zero_after

    def note_activity(self, when: float | None) -> None:
        """When it was last active; a pause that has ended teaches how long to keep it."""
        if when is None or when == self.last_active:
            return
        if self.idleness and self.last_active is not None:
            self.idleness.note_gap(when - self.last_active)
        self.last_active, self.warmed = when, False

    def due(self, now: float) -> bool:
        """Whether a call is to be expected soon at a function that rests."""
        return bool(self.idleness and self.last_active and not self.warmed and self.idleness.due(self.idle(now)))

    def note_alert(self, when: datetime) -> None:
        """An alert that fires has come."""
        self.alert_gap = (when - self.alert_at).total_seconds() if self.alert_at else None
        self.alert_at = when

    def alert_hint(self) -> str:
        """What keeps alerts from scaling it well."""
        if self.alert_gap is None or self.alert_gap <= SELDOM:
            return ""
        return (
            f"its alert came after {self.alert_gap:.0f} s; each notification adds {self.scaling.step}: "
            "a shorter repeat_interval in Alertmanager climbs sooner"
        )
