"""Plays a load against the rules of scaling in simulated time: load, desired and ready replicas second by second.

`follow_load` asks `autoscaler.meter.followed` and `core.scaling.decide` once a second as the autoscaler does; `follow_alerts` is
the way by Prometheus and Alertmanager, with the times that OpenFaaS ships. Calls take a fixed time however many there are: what
a function does when it has too few replicas is not simulated. `tools.plot_scaling` draws what comes out.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.autoscaler.meter import LOAD_WINDOW, followed
from penstock.core.scalelabels import Scaling
from penstock.core.scaling import Inputs, Recommendation, after_alert, decide

SCRAPE = 5
EVALUATION = 15
RATE_WINDOW = 10
PENDING = 5
GROUP_WAIT = 5
GROUP_INTERVAL = 10
REPEAT = 30
"""Seconds, as OpenFaaS ships them (contract gateway §5.5)."""

ALERT_ABOVE = 5.0
"""Requests a second at which the shipped rule fires (contract gateway §6.5)."""


@dataclass(frozen=True)
class Setting:
    """A function under load: how it is scaled, how long a call takes and how long a replica takes to start."""

    scaling: Scaling = Scaling()  # noqa: RUF009  it is frozen
    call: float = 0.05
    start: float = 0.4


@dataclass(frozen=True)
class Moment:
    """The end of one second."""

    second: int
    load: float
    """In units of the target, in that second alone."""
    desired: int
    ready: int


def follow_load(trace: Sequence[int], setting: Setting) -> list[Moment]:
    """Target tracking, from the least replicas on, all of them ready."""
    scaling = setting.scaling
    replicas = Replicas(max(scaling.least, 1), setting.start)
    past: tuple[Recommendation, ...] = ()
    recent: deque[tuple[float, float]] = deque(maxlen=LOAD_WINDOW)
    moments, last_active = [], 0.0
    for second, begun in enumerate(trace):
        now = float(second + 1)
        load = load_of(begun, setting)
        recent.append((load, 1.0))
        if begun:
            last_active = now
            if replicas.desired == 0:  # the request itself wakes it
                replicas.want(max(1, scaling.least), now - 1)
        inputs = Inputs(
            load=followed(list(recent)),
            desired=replicas.desired,
            idle=now - last_active,
            idle_limit=scaling.zero_after if scaling.zero else math.inf,
        )
        verdict, past = decide(scaling, inputs, past, now)
        replicas.want(verdict.replicas, now)
        moments.append(Moment(second, load, replicas.desired, replicas.ready(now)))
    return moments


def follow_alerts(trace: Sequence[int], setting: Setting) -> list[Moment]:
    """The rule `more than five requests a second`, and a step for each notification."""
    replicas = Replicas(max(setting.scaling.least, 1), setting.start)
    alert = Alert()
    moments = []
    for second, begun in enumerate(trace):
        now = second + 1
        firing = alert.tick(now, trace[:now])
        if firing is not None:
            replicas.want(after_alert(replicas.desired, firing, setting.scaling), now)
        moments.append(Moment(second, load_of(begun, setting), replicas.desired, replicas.ready(now)))
    return moments


def load_of(begun: int, setting: Setting) -> float:
    """Load of a second in which so many requests began: their number, or how many are in flight at once."""
    kinds = {"rps": 1.0, "capacity": setting.call}
    return begun * kinds[setting.scaling.kind]


class Replicas:
    """Those that are wanted, and when each of them is ready."""

    def __init__(self, count: int, start: float) -> None:
        self._start = start
        self._ready_at = [0.0] * count

    @property
    def desired(self) -> int:
        return len(self._ready_at)

    def want(self, count: int, now: float) -> None:
        """The youngest go first, as do those that still start."""
        more = count - self.desired
        self._ready_at = self._ready_at[:count] + [now + self._start] * more

    def ready(self, now: float) -> int:
        return sum(when <= now for when in self._ready_at)


class Alert:
    """Prometheus' rule and Alertmanager's notifications about one function."""

    def __init__(self) -> None:
        self._since: int | None = None
        """When the rule first held."""
        self._firing = False
        self._group: int | None = None
        """When Alertmanager first looks at it; then every `GROUP_INTERVAL`."""
        self._told: int | None = None

    def tick(self, now: int, trace: Sequence[int]) -> bool | None:
        """A notification of this second: whether the alert fires; None when there is none."""
        if now % EVALUATION == 0:
            self._evaluate(now, trace)
        if self._group is None or now < self._group or (now - self._group) % GROUP_INTERVAL:
            return None
        if not self._firing:
            told, self._group, self._told = self._told, None, None
            return None if told is None else False
        if self._told is not None and now - self._told < REPEAT:
            return None
        self._told = now
        return True

    def _evaluate(self, now: int, trace: Sequence[int]) -> None:
        last = now - now % SCRAPE
        rate = sum(trace[max(0, last - RATE_WINDOW) : last]) / RATE_WINDOW
        if rate <= ALERT_ABOVE:
            self._since, self._firing = None, False
            return
        self._since = now if self._since is None else self._since
        self._firing = now - self._since >= PENDING
        if self._firing and self._group is None:
            self._group = now + GROUP_WAIT


def overshoot(moments: Sequence[Moment], scaling: Scaling) -> int:
    """Replicas beyond what the highest load needed; 0 or less when there were none."""
    highest = max(moment.load for moment in moments)
    return max(moment.desired for moment in moments) - max(scaling.least, math.ceil(highest / scaling.each))


def changes(moments: Sequence[Moment]) -> int:
    """How often the number of replicas changed."""
    return sum(one.desired != other.desired for one, other in itertools.pairwise(moments))
