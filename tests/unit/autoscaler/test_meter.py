"""Load from counters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.autoscaler.meter import BURST, LOAD_WINDOW, Meter, followed


def noted(*started: int, busy: tuple[float, ...] = (), seconds: float = 1.0) -> Meter:
    """A meter that noted these cumulative counts, one each `seconds`."""
    meter = Meter()
    for tick, count in enumerate(started):
        meter.note(tick * seconds, {"f": count}, {"f": busy[tick]} if busy else {}, {})
    return meter


def test_nothing_is_known_before_the_second_note() -> None:
    assert not noted(5).knows
    assert noted(5).rps("f") == 0
    assert noted(5, 6).knows


def test_what_was_begun_before_the_first_note_is_no_load() -> None:
    assert noted(1000, 1010).rps("f") == 10


def test_a_steady_load_is_its_mean_over_three_ticks() -> None:
    assert noted(0, 90, 190, 300).rps("f") == pytest.approx(100)
    assert noted(0, 500, 590, 690, 800).rps("f") == pytest.approx(100)


def test_ticks_that_come_late_count_for_their_length() -> None:
    assert noted(0, 100, 200, seconds=2.0).rps("f") == pytest.approx(50)


def test_a_burst_in_the_last_tick_counts_alone() -> None:
    assert noted(0, 1, 2, 202).rps("f") == pytest.approx(200)
    assert noted(0, 100, 200, 340).rps("f") == pytest.approx(340 / 3)


def test_a_load_that_holds_for_two_ticks_is_known_whatever_was_before() -> None:
    assert noted(0, 1, 201, 401).rps("f") == pytest.approx(200)
    assert noted(0, 100, 240, 370).rps("f") == pytest.approx(130)


def test_a_single_tick_that_is_higher_only_adds_to_the_mean() -> None:
    assert noted(0, 100, 240, 340).rps("f") == pytest.approx(340 / 3)


def test_a_load_that_falls_is_its_mean() -> None:
    assert noted(0, 200, 300, 310).rps("f") == pytest.approx(310 / 3)


@pytest.mark.parametrize("jitter", [0.03, -0.03])
def test_requests_that_neither_begin_nor_end_are_counted_exactly(jitter: float) -> None:
    """Workers are not asked at the very moment of the tick."""
    meter = Meter()
    for tick in range(1, 6):
        meter.note(tick, {"f": 4}, {"f": 4 * (tick + jitter * (tick % 2))}, {"f": 4})
    assert meter.inflight("f") == 4


def test_requests_that_take_the_place_of_others_are_measured() -> None:
    meter = Meter()
    for tick in range(1, 6):
        meter.note(tick, {"f": 4 * tick}, {"f": 2.5 * tick}, {"f": 4})
    assert meter.inflight("f") == pytest.approx(2.5)


def test_requests_that_end_are_measured() -> None:
    meter = Meter()
    for tick, (busy, level) in enumerate([(0.0, 4), (3.0, 2), (5.0, 2)]):
        meter.note(tick, {"f": 4}, {"f": busy}, {"f": level})
    assert meter.inflight("f") == pytest.approx(2.5)


amounts = st.integers(min_value=0, max_value=10**9)
lengths = st.floats(min_value=0.1, max_value=10)


@given(st.lists(st.tuples(amounts, lengths), min_size=1, max_size=LOAD_WINDOW))
def test_the_load_is_between_the_mean_and_the_highest_tick(ticks: list[tuple[float, float]]) -> None:
    rates = [amount / seconds for amount, seconds in ticks]
    mean = sum(amount for amount, _ in ticks) / sum(seconds for _, seconds in ticks)
    assert mean <= followed(ticks) <= max(rates) * (1 + 1e-9)
    assert followed(ticks) == rates[-1] or followed(ticks) <= max(mean, rates[-1])
    assert followed(ticks) * BURST >= rates[-1]


@given(amounts, st.lists(lengths, min_size=1, max_size=LOAD_WINDOW))
def test_a_constant_load_is_what_it_is_however_long_ticks_are(rate: float, seconds: list[float]) -> None:
    assert followed([(rate * each, each) for each in seconds]) == pytest.approx(rate)


def test_no_tick_is_no_load() -> None:
    assert followed([]) == 0


def test_requests_in_flight_are_a_mean_over_time() -> None:
    assert noted(0, 4, 8, busy=(0.0, 4.0, 8.0)).inflight("f") == pytest.approx(4)


def test_no_more_requests_are_in_flight_than_there_were_and_began() -> None:
    """The process has stood still for ten seconds after it had asked the workers: by its clock, the next tick has only one second
    for all that the requests took which began meanwhile."""
    meter = Meter()
    meter.note(1, {"f": 12}, {"f": 12.0}, {"f": 12})
    meter.note(12, {"f": 12}, {"f": 24.0}, {"f": 12})
    meter.note(13, {"f": 15}, {"f": 24.0 + 11 * 15}, {"f": 15})
    assert 12 < meter.inflight("f") <= 15


def test_a_counter_that_shrinks_begins_anew() -> None:
    assert noted(0, 1000, 10).rps("f") == pytest.approx(505)
    assert noted(5000, 10, 20).rps("f") == pytest.approx(10)


def test_a_function_that_appears_later_counts_from_nothing() -> None:
    meter = Meter()
    meter.note(0, {}, {}, {})
    meter.note(1, {"f": 7}, {"f": 0.5}, {})
    assert (meter.rps("f"), meter.inflight("f")) == (7, 0.5)


def test_a_request_that_runs_keeps_a_function_active_though_none_begins() -> None:
    meter = Meter()
    meter.note(0, {"f": 1}, {}, {})
    for second in range(1, 10):
        meter.note(second, {"f": 1}, {}, {"f": 1} if second < 6 else {"f": 0})
    assert meter.last_active("f") == 5


def test_a_function_without_requests_was_never_active() -> None:
    meter = noted(0, 0, 0)
    assert meter.last_active("f") is None
    assert meter.loaded == set()


def test_load_lasts_for_as_long_as_the_window() -> None:
    meter = noted(0, 5, 5, 5)
    assert meter.loaded == {"f"}
    meter.note(4, {"f": 5}, {}, {})
    assert meter.loaded == set()
    assert meter.rps("f") == 0


def test_a_note_at_the_same_moment_changes_no_load() -> None:
    meter = noted(0, 10)
    meter.note(1, {"f": 30}, {}, {})
    assert meter.rps("f") == 10
    meter.note(2, {"f": 30}, {}, {})
    assert meter.rps("f") == 15


def test_a_forgotten_function_has_no_load() -> None:
    meter = noted(0, 10, 20)
    meter.forget("f")
    assert (meter.rps("f"), meter.last_active("f"), meter.loaded) == (0, None, set())
