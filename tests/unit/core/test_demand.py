"""Demand: what a pool should hold ready, with time handed in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.demand import MEMORY, Demand, pool_size


def test_nothing_was_asked_for_yet() -> None:
    assert Demand().peak(0.0) == 0


def test_requests_within_a_second_are_one_burst_and_later_ones_another() -> None:
    demand = Demand()
    for now in (10.0, 10.2, 10.9, 11.0, 11.5):
        demand.note(now)
    assert demand.peak(11.5) == 3


def test_a_burst_is_forgotten_after_a_minute() -> None:
    demand = Demand()
    for _ in range(5):
        demand.note(10.0)
    demand.note(40.0)
    assert demand.peak(10.0 + MEMORY - 0.1) == 5
    assert demand.peak(10.0 + MEMORY) == 1
    assert demand.peak(40.0 + MEMORY) == 0


@given(st.lists(st.floats(0, 300), max_size=200))
def test_the_peak_is_never_more_than_what_was_asked_for_and_never_nothing_when_something_was(
    times: list[float],
) -> None:
    demand = Demand()
    for now in sorted(times):
        demand.note(now)
    end = max(times, default=0.0)
    recent = [now for now in times if now > end - MEMORY]
    assert (0 < demand.peak(end) <= len(times)) if recent else demand.peak(end) == 0


@pytest.mark.parametrize(
    ("demand", "least", "most", "size"),
    [(0, 1, 8, 1), (0, 0, 8, 0), (1, 1, 8, 2), (20, 1, 8, 8), (20, 10, 8, 10), (3, 0, 8, 4)],
)
def test_a_pool_holds_one_more_than_the_burst_within_its_bounds(demand: int, least: int, most: int, size: int) -> None:
    assert pool_size(demand, least, most) == size
