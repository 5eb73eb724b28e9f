"""How many replicas: by alerts and by load (contract gateway §5.2, §5.6)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.scalelabels import Scaling
from penstock.core.scaling import Inputs, Recommendation, Verdict, after_alert, decide, replicas_for

SCALINGS = st.builds(
    lambda least, more, factor: Scaling(least=least, most=max(1, least + more), factor=factor),
    st.integers(0, 30),
    st.integers(0, 100),
    st.integers(1, 100),
)


@pytest.mark.parametrize(("most", "factor", "step"), [(5, 10, 1), (5, 100, 5), (4, 1, 1), (20, 10, 2), (14, 50, 7)])
def test_a_step_is_a_percentage_of_the_most_rounded_up(most: int, factor: int, step: int) -> None:
    assert Scaling(most=most, factor=factor).step == step


@pytest.mark.parametrize(("current", "wanted"), [(0, 2), (1, 3), (8, 10), (9, 10), (10, 10), (50, 10)])
def test_an_alert_that_fires_adds_a_step_and_never_exceeds_the_most(current: int, wanted: int) -> None:
    assert after_alert(current, True, Scaling(most=10, factor=20)) == wanted


@pytest.mark.parametrize("current", [0, 2, 5])
def test_an_alert_that_is_over_leaves_the_least(current: int) -> None:
    assert after_alert(current, False, Scaling(least=2, most=10)) == 2


@given(st.integers(0, 30), st.booleans(), SCALINGS)
def test_what_is_wanted_after_an_alert_is_within_bounds(current: int, firing: bool, scaling: Scaling) -> None:
    assert scaling.least <= after_alert(max(current, scaling.least), firing, scaling) <= scaling.most


LOADS = st.floats(0, 1e12) | st.floats(0, 2000)
PASTS = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 130)), max_size=20)
BY_LOAD = st.builds(
    lambda least, more, target, window: Scaling(least=least, most=least + more, target=target, window=window),
    st.integers(0, 30),
    st.integers(1, 100),
    st.floats(0.01, 500),
    st.floats(0, 300),
)
"""Where load has a choice."""

WIDE = Scaling(most=100, target=10.0, proportion=1.0, window=30.0)


def verdict(
    scaling: Scaling, *, past: Iterable[Recommendation] = (), now: float = 100.0, **inputs: float | None
) -> Verdict:
    return decide(scaling, Inputs(**{"load": 0.0, "desired": 1, **inputs}), tuple(past), now)[0]  # type: ignore[arg-type]


def recommended(pairs: Iterable[tuple[float, int]]) -> tuple[Recommendation, ...]:
    """A past as decisions leave it: ever later and ever fewer."""
    kept: tuple[Recommendation, ...] = ()
    for when, replicas in sorted(pairs):
        kept = (*(one for one in kept if one.replicas > replicas), Recommendation(when, replicas))
    return kept


def followed(scaling: Scaling, loads: Iterable[float | None], desired: int) -> list[int]:
    """What is wanted from second to second."""
    past: tuple[Recommendation, ...] = ()
    wanted = []
    for now, load in enumerate(loads):
        verdict, past = decide(scaling, Inputs(load=load, desired=desired), past, float(now))
        desired = verdict.replicas
        wanted.append(desired)
    return wanted


@pytest.mark.parametrize(
    ("load", "target", "proportion", "desired", "wanted"),
    [(15, 5, 1, 1, 3), (25, 5, 1, 3, 5), (90, 100, 0.7, 1, 2), (0, 5, 1, 1, 1)],
)
def test_the_examples_of_the_contract(load: float, target: float, proportion: float, desired: int, wanted: int) -> None:
    assert verdict(Scaling(target=target, proportion=proportion), load=load, desired=desired).replicas == wanted


@pytest.mark.parametrize(
    ("target", "proportion", "load"), [(3, 0.7, 2.1), (50, 0.9, 45), (70, 0.7, 49), (0.3, 0.1, 0.03)]
)
def test_a_load_of_exactly_one_replica_asks_for_one(target: float, proportion: float, load: float) -> None:
    assert replicas_for(load, Scaling(target=target, proportion=proportion)) == 1


@given(BY_LOAD, LOADS | st.none(), st.integers(1, 200), PASTS)
def test_what_load_asks_for_is_within_bounds_and_never_none(
    scaling: Scaling, load: float | None, desired: int, past: list[tuple[float, int]]
) -> None:
    found = verdict(scaling, load=load, desired=desired, past=recommended(past))
    assert max(scaling.least, 1) <= found.replicas <= scaling.most


@given(BY_LOAD, LOADS, LOADS, st.integers(1, 200), PASTS)
def test_more_load_never_means_fewer_replicas(
    scaling: Scaling, one: float, other: float, desired: int, past: list[tuple[float, int]]
) -> None:
    less, more = (
        verdict(scaling, load=load, desired=desired, past=recommended(past)).replicas for load in sorted((one, other))
    )
    assert less <= more


@given(BY_LOAD, st.lists(LOADS, max_size=10), LOADS, st.integers(1, 200))
def test_under_constant_load_the_number_settles_and_stays(
    scaling: Scaling, before: list[float], load: float, desired: int
) -> None:
    seconds = int(scaling.window) + 10
    constant = followed(scaling, [*before, *[load] * seconds], desired)[len(before) :]
    assert constant in (sorted(constant), sorted(constant, reverse=True))
    assert constant[-1] == min(max(replicas_for(load, scaling), scaling.least, 1), scaling.most)


@given(BY_LOAD, st.lists(LOADS | st.none(), min_size=1, max_size=40))
def test_what_is_remembered_has_a_bound_and_gets_ever_fewer(scaling: Scaling, loads: list[float | None]) -> None:
    past: tuple[Recommendation, ...] = ()
    for now, load in enumerate(loads):
        _, past = decide(scaling, Inputs(load=load, desired=5), past, float(now))
        numbers = [one.replicas for one in past]
        assert len(numbers) <= scaling.most
        assert numbers == sorted(set(numbers), reverse=True)


def test_fewer_are_wanted_only_when_they_were_enough_for_the_whole_window() -> None:
    wanted = followed(WIDE, [80, 80, *[10] * 29, 10], 8)
    assert wanted == [8] * 31 + [1]


def test_down_goes_to_the_highest_of_the_window() -> None:
    found = verdict(WIDE, load=10, desired=8, past=[Recommendation(80, 5), Recommendation(99, 2)])
    assert (found.replicas, found.rule, found.asked) == (5, "window", 1)


def test_without_a_window_fewer_come_at_once() -> None:
    assert followed(Scaling(window=0.0, target=10.0, proportion=1.0), [80, 10, 80, 10], 1) == [5, 1, 5, 1]


def test_a_load_that_has_just_begun_to_be_measured_takes_nothing_away() -> None:
    assert followed(WIDE, [0.0] * 31, 10) == [10] * 30 + [1]


def test_a_load_that_is_unknown_leaves_what_there_is_and_the_window_begins_after_it() -> None:
    assert followed(WIDE, [None] * 100 + [0.0] * 30, 10) == [10] * 129 + [1]


def test_one_step_at_most_doubles_or_adds_four() -> None:
    assert followed(WIDE, [1000] * 6, 1) == [5, 10, 20, 40, 80, 100]
    assert verdict(WIDE, load=1000, desired=1).rule == "limit"


def test_the_least_is_reached_in_one_step() -> None:
    found = verdict(Scaling(least=50, most=60), load=0, desired=1)
    assert (found.replicas, found.rule) == (50, "minimum")


@pytest.mark.parametrize("load", [None, math.nan, math.inf, -math.inf])
def test_no_number_is_an_unknown_load(load: float | None) -> None:
    found = verdict(WIDE, load=load, desired=7)
    assert (found.replicas, found.rule, found.asked) == (7, "unknown", 0)


def test_bounds_hold_where_the_load_is_unknown() -> None:
    scaling = Scaling(least=2, most=5)
    assert [verdict(scaling, load=None, desired=desired).replicas for desired in (1, 3, 9)] == [2, 3, 5]


def test_a_load_beyond_measure_asks_for_the_most() -> None:
    found = verdict(Scaling(target=1e-9, proportion=1e-9), load=1e300, desired=20)
    assert (found.replicas, found.rule) == (20, "maximum")


def test_a_load_below_nothing_is_none() -> None:
    assert verdict(WIDE, load=-5.0).asked == 0


@pytest.mark.parametrize(
    ("load", "floor", "wanted", "rule"), [(10, 7, 7, "floor"), (90, 7, 9, "load"), (None, 9, 9, "floor")]
)
def test_load_does_not_go_below_a_floor(load: float | None, floor: int, wanted: int, rule: str) -> None:
    found = verdict(WIDE, load=load, desired=7, floor=floor, past=[Recommendation(99, 1)])
    assert (found.replicas, found.rule) == (wanted, rule)


def test_a_floor_may_be_above_the_most() -> None:
    assert verdict(Scaling(most=5), desired=9, floor=9).replicas == 9


@pytest.mark.parametrize("scaling", [WIDE, Scaling(least=3, most=3)])
def test_none_are_wanted_once_idle_for_long_whatever_else_asks(scaling: Scaling) -> None:
    assert verdict(scaling, load=1000, desired=3, floor=5, idle=60.0, idle_limit=60.0).rule == "idle"
    assert verdict(scaling, load=1000, desired=3, floor=5, idle=60.0, idle_limit=60.0).replicas == 0
    assert verdict(scaling, desired=3, idle=59.0, idle_limit=60.0).replicas == 3


def test_a_function_at_rest_stays_there_whatever_its_load() -> None:
    found, past = decide(WIDE, Inputs(load=500.0, desired=0, floor=4), [Recommendation(99, 8)], 100.0)
    assert (found, past) == (Verdict(replicas=0, rule="resting", asked=50), ())


@given(LOADS | st.none(), st.integers(1, 9))
def test_bounds_that_leave_no_choice_leave_what_there_is(load: float | None, desired: int) -> None:
    found = verdict(Scaling(least=4, most=4), load=load, desired=desired)
    assert (found.replicas, found.rule) == (desired, "fixed")
