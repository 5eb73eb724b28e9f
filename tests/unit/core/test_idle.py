"""How long idle functions stay up, and when they are started for a call that is due."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.idle import ENOUGH, LAST_BIN, LONGEST, LONGEST_GAP, SHORTEST, Idleness, Pauses

GAPS = st.lists(st.floats(0, 1e6) | st.floats(5, 4000), max_size=60)


def learned(gaps: Iterable[float], usual: float = 900.0) -> Idleness:
    idleness = Idleness(usual)
    for gap in gaps:
        idleness.note_gap(gap)
    return idleness


def cold(idleness: Idleness, gaps: Iterable[float]) -> float:
    """The share of pauses after which a call finds no replica."""
    found = [gap > idleness.keep_for() and not idleness.due(gap) for gap in gaps]
    return sum(found) / len(found)


def test_until_enough_pauses_are_known_the_usual_time_holds() -> None:
    assert Idleness(123.0).keep_for() == learned([60.0] * (ENOUGH - 1), 123.0).keep_for() == 123.0
    assert learned([600.0] * (ENOUGH - 1)).warm_after() is None
    assert learned([60.0] * ENOUGH, 123.0).keep_for() < 123.0


def test_one_pause_says_nothing() -> None:
    assert learned([86_000.0]).keep_for() == 900.0


@pytest.mark.parametrize("period", [120.0, 600.0, 3600.0, 86_400.0])
def test_a_call_at_regular_times_finds_a_replica_that_is_away_most_of_the_time(period: float) -> None:
    idleness = learned([period + shift for shift in (-1.0, 0.0, 1.0, 0.5) * 3])
    warm = idleness.warm_after()
    assert warm is not None
    assert 0.8 * period < warm < period
    assert idleness.keep_for() == SHORTEST
    assert cold(idleness, [period - 1, period, period + 1]) == 0
    assert [idleness.due(idle) for idle in (SHORTEST, warm - 0.1, warm, period * 1.3)] == [False, False, True, False]
    assert idleness.limit(SHORTEST) == SHORTEST
    assert period < idleness.limit(warm) == idleness.leave_after() < period * 1.2


def test_a_call_every_minute_is_not_worth_being_away_for() -> None:
    idleness = learned([59.0] * 20)
    assert idleness.warm_after() is None
    assert 59 < idleness.keep_for() < 70


def test_of_calls_at_random_times_few_find_no_replica() -> None:
    chance = random.Random(5)
    idleness = learned(chance.expovariate(1 / 200) for _ in range(300))
    assert idleness.warm_after() is None
    assert 300 < idleness.keep_for() < 1200
    assert cold(idleness, [chance.expovariate(1 / 200) for _ in range(1000)]) < 0.1


def test_pauses_within_a_burst_do_not_hide_those_between_bursts() -> None:
    idleness = learned([0.5, 2.0, 1.0, 3.0, 600.0] * 20)
    assert idleness.warm_after() is not None
    assert idleness.due(600.0)


def test_pauses_that_scatter_beyond_all_bounds_leave_the_usual_time() -> None:
    idleness = learned([20.0, 9000.0, 40_000.0, 100.0, 200_000.0] * 4)
    assert (idleness.keep_for(), idleness.warm_after()) == (900.0, None)


def test_pauses_too_long_to_tell_apart_foresee_nothing() -> None:
    assert learned([LONGEST_GAP * 2] * 20).warm_after() is None


def test_a_new_habit_takes_the_place_of_the_old_one() -> None:
    idleness = learned([600.0] * 1000 + [20.0] * 200)
    assert idleness.warm_after() is None
    assert 20 < idleness.keep_for() < 25


def test_long_lives_do_not_wear_out() -> None:
    idleness = learned([600.0] * 30_000)
    assert idleness.due(600.0)


@pytest.mark.parametrize("gap", [math.nan, -1.0, 0.0, -math.inf, 9.99])
def test_what_is_no_pause_is_not_noted(gap: float) -> None:
    assert learned([gap] * 100).keep_for() == 900.0


def test_an_endless_pause_is_a_long_one() -> None:
    assert learned([math.inf] * 20).keep_for() == 900.0


@given(GAPS, st.floats(1, 1e6))
def test_times_are_within_bounds(gaps: list[float], usual: float) -> None:
    idleness = learned(gaps, usual)
    assert idleness.keep_for() == usual or SHORTEST <= idleness.keep_for() <= LONGEST
    warm = idleness.warm_after()
    assert warm is None or idleness.keep_for() < warm < idleness.leave_after()


@given(GAPS, st.floats(0, 1e5))
def test_what_is_due_is_kept(gaps: list[float], idle: float) -> None:
    idleness = learned(gaps)
    assert not idleness.due(idle) or idle < idleness.limit(idle)


@given(st.lists(st.floats(0, 1e9), max_size=20))
def test_what_is_remembered_has_a_bound(gaps: list[float]) -> None:
    assert set(learned(gaps).pauses.weights) <= set(range(LAST_BIN + 1))


def test_the_longest_pause_is_in_the_last_bin() -> None:
    assert list(learned([LONGEST_GAP, math.inf]).pauses.weights) == [LAST_BIN]


@given(GAPS, st.floats(0, 1e5))
def test_what_is_made_of_known_pauses_goes_on_as_if_nothing_had_been(gaps: list[float], idle: float) -> None:
    before = learned(gaps)
    kept = msgspec.json.decode(msgspec.json.encode(before.pauses), type=Pauses)
    after = Idleness(before.usual, kept)
    for gap in (20.0, 600.0, 12.0):
        assert (after.due(idle), after.limit(idle)) == (before.due(idle), before.limit(idle))
        before.note_gap(gap)
        after.note_gap(gap)


def test_however_long_a_life_the_newest_pause_weighs_one() -> None:
    pauses = learned([20.0] * 30_000 + [600.0]).pauses
    assert pauses.seen == ENOUGH
    assert sorted(pauses.weights.values()) == pytest.approx([1.0, 49.0])


@pytest.mark.parametrize(
    "text",
    [
        '{"seen":8,"weights":{}}',
        '{"seen":0,"weights":{"3":1}}',
        '{"seen":9,"weights":{"3":1}}',
        '{"seen":8,"weights":{"188":1}}',
        '{"seen":8,"weights":{"-1":1}}',
        '{"seen":8,"weights":{"x":1}}',
        '{"seen":8,"weights":{"3":0}}',
        '{"seen":8,"weights":{"3":1e300}}',
    ],
)
def test_pauses_that_cannot_have_been_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Pauses)
