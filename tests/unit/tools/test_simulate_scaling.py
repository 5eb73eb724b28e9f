from __future__ import annotations

import itertools
import math

import pytest

from penstock.autoscaler.meter import LOAD_WINDOW
from penstock.core.scalelabels import Scaling
from tools import scaling_traces as traces
from tools.simulate_scaling import (
    Replicas,
    Setting,
    changes,
    follow_alerts,
    follow_load,
    overshoot,
)

TRACES = {
    "step": traces.step(1, 200, 20, 120),
    "ramp": traces.ramp(0, 300, 200),
    "sine": traces.sine(100, 100, 60, 240),
    "spikes": traces.spikes(0, 400, 30, 3, 150),
    "poisson": traces.poisson(90, 300),
    "day": traces.arrivals(traces.day(), 2),
    "none": (0,) * 60,
}

SETTINGS = {
    "defaults": Setting(),
    "small targets": Setting(Scaling(target=10, proportion=0.7, most=30)),
    "in flight": Setting(Scaling(kind="capacity", target=1, proportion=1)),
    "no window": Setting(Scaling(target=20, window=0)),
    "bounds": Setting(Scaling(target=5, least=2, most=6)),
    "zero": Setting(Scaling(target=20, zero=True, zero_after=10), start=3.0),
}

every_trace = pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


@every_trace
@every_setting
@pytest.mark.parametrize("way", [follow_load, follow_alerts])
def test_replicas_stay_within_the_bounds(way: object, trace: traces.Trace, setting: Setting) -> None:
    scaling = setting.scaling
    moments = (follow_load if way is follow_load else follow_alerts)(trace, setting)
    least = 0 if scaling.zero else scaling.least
    assert all(least <= one.desired <= scaling.most for one in moments)
    assert all(0 <= one.ready <= one.desired for one in moments)


@every_trace
@every_setting
def test_no_more_than_one_replica_beyond_what_the_load_needs_is_ever_wanted(
    trace: traces.Trace, setting: Setting
) -> None:
    """At each moment, of the highest load that the window and the measurement know."""
    scaling = setting.scaling
    moments = follow_load(trace, setting)
    known = math.ceil(scaling.window) + LOAD_WINDOW
    for at, one in enumerate(moments):
        highest = max(other.load for other in moments[max(0, at - known) : at + 1])
        assert one.desired <= max(scaling.least, 1, math.ceil(highest / scaling.each) + 1)
    assert overshoot(moments, scaling) <= 1


@every_trace
@every_setting
def test_a_load_that_stays_gets_what_it_needs(trace: traces.Trace, setting: Setting) -> None:
    """Once it has been at least so much for as many seconds as the climb may take."""
    scaling = setting.scaling
    moments = follow_load(trace, setting)
    climb = LOAD_WINDOW + 6
    for at in range(climb, len(moments)):
        lowest = min(one.load for one in moments[at - climb : at + 1])
        needed = min(math.ceil(lowest / scaling.each), scaling.most)
        assert moments[at].desired >= needed


@pytest.mark.parametrize("rate", [1, 6, 45, 90, 91, 200])
@every_setting
def test_a_constant_load_is_settled_for_good(rate: int, setting: Setting) -> None:
    moments = follow_load((rate,) * 120, setting)
    assert changes(moments[8:]) == 0


def test_callers_at_random_cause_no_swinging() -> None:
    """The noise of 90 requests a second is a tenth, which may or may not need the next replica."""
    moments = follow_load(traces.poisson(90, 600), Setting(Scaling(target=20, proportion=1)))[10:]
    assert {one.desired for one in moments} <= {5, 6}
    assert changes(moments) <= 2 * 600 / Scaling().window


@pytest.mark.parametrize("tenths", range(10))
def test_a_step_from_1_to_200_requests_has_its_replicas_within_three_seconds(tenths: int) -> None:
    """Wherever in a second it begins: the first tick sees only what is left of that."""
    setting = Setting(Scaling(kind="capacity", target=1, proportion=1))
    first = round(1 + 199 * (1 - tenths / 10))
    moments = follow_load((1,) * 60 + (first,) + (200,) * 60, setting)
    asked = next(one.second + 1 for one in moments if one.desired >= 10)
    assert asked - (60 + tenths / 10) + setting.start <= 3
    assert max(one.desired for one in moments) == 10


@pytest.mark.parametrize(("before", "after"), [(1, 160), (20, 200), (60, 100), (100, 200), (120, 200)])
def test_any_step_is_asked_for_within_three_seconds(before: int, after: int) -> None:
    scaling = Scaling(kind="capacity", target=1, proportion=1)
    for tenths in range(10):
        first = round(before + (after - before) * (1 - tenths / 10))
        moments = follow_load((before,) * 60 + (first,) + (after,) * 60, Setting(scaling))
        asked = next(one.second + 1 for one in moments if one.desired >= math.ceil(after * Setting().call))
        assert asked - (60 + tenths / 10) <= 3


def test_replicas_that_start_slowly_are_asked_for_once() -> None:
    moments = follow_load(traces.step(1, 200, 10, 60), Setting(Scaling(target=20, proportion=1), start=20.0))
    assert max(one.desired for one in moments) == 10
    assert moments[15].ready == 1


def test_fewer_are_wanted_only_after_the_window() -> None:
    setting = Setting(Scaling(target=20, proportion=1, window=30))
    moments = follow_load(traces.step(200, 10, 60, 120), setting)
    assert {one.desired for one in moments[60:88]} == {10}
    assert moments[95].desired == 1


def test_an_idle_function_rests_and_is_woken_by_a_request() -> None:
    setting = Setting(Scaling(zero=True, zero_after=30))
    moments = follow_load((1,) * 10 + (0,) * 60 + (1,) * 10, setting)
    assert [moments[at].desired for at in (9, 37, 39, 69, 70)] == [1, 1, 0, 0, 1]


def test_alerts_climb_to_the_maximum_a_little_above_the_threshold() -> None:
    moments = follow_alerts((6,) * 600, Setting())
    assert moments[-1].desired == Scaling().most


def test_alerts_do_nothing_a_little_below_the_threshold() -> None:
    assert changes(follow_alerts((5,) * 600, Setting())) == 0


def test_alerts_go_to_the_least_in_one_step() -> None:
    moments = follow_alerts(traces.step(50, 0, 400, 500), Setting())
    downs = [(one.desired, after.desired) for one, after in itertools.pairwise(moments) if after.desired < one.desired]
    assert downs == [(20, 1)]


def test_the_first_alert_comes_half_a_minute_after_the_load_and_the_next_half_a_minute_later() -> None:
    moments = follow_alerts(traces.step(0, 200, 0, 90), Setting())
    ups = [one.second + 1 for before, one in itertools.pairwise(moments) if one.desired > before.desired]
    assert ups == [35, 65]


def test_the_youngest_replicas_are_the_first_to_go() -> None:
    replicas = Replicas(1, start=5.0)
    replicas.want(3, now=0.0)
    replicas.want(2, now=1.0)
    assert (replicas.desired, replicas.ready(4.0), replicas.ready(5.0)) == (2, 1, 2)


def test_the_day_is_read_as_it_was_written() -> None:
    day = traces.day()
    assert len(day) == traces.MINUTES
    assert all(rate > 0 for rate in day)
    assert day.index(max(day)) in range(600, 1320)


def test_chance_is_the_same_in_every_run() -> None:
    assert traces.poisson(5, 20) == traces.poisson(5, 20)
    assert sum(traces.poisson(50, 200)) == pytest.approx(10_000, rel=0.05)
