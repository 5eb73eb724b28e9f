"""Bounds from labels, and what an alert makes of them (contract gateway §5.1, §5.2)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.scaling import Bounds, after_alert, bounds_of, initial_replicas, usable_bounds
from penstock.errors import InvalidInput

PREFIX = "com.openfaas.scale."
NUMBERS = st.integers(0, 2000).map(str)
LABELS = st.dictionaries(st.sampled_from([f"{PREFIX}min", f"{PREFIX}max", f"{PREFIX}factor"]), NUMBERS | st.text())


def labels(**values: str) -> dict[str, str]:
    return {f"{PREFIX}{name}": value for name, value in values.items()}


def test_without_labels_there_are_from_1_to_20_replicas() -> None:
    assert bounds_of({}) == bounds_of(labels(min="", max="", factor="")) == Bounds(least=1, most=20, factor=10)


def test_labels_set_the_bounds() -> None:
    assert bounds_of(labels(min="0", max="7", factor="100")) == Bounds(least=0, most=7, factor=100)


def test_more_than_the_usual_most_may_be_wanted_at_least() -> None:
    assert bounds_of(labels(min="30")) == Bounds(least=30, most=30)


@pytest.mark.parametrize("text", ["-1", "1.5", "many", " 1", "1\n", "٣", "²", "0x1", "1_0", "+1", "9" * 5000])
@pytest.mark.parametrize("name", ["min", "max", "factor"])
def test_a_label_that_is_no_whole_number_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"{PREFIX}{name}")):
        bounds_of(labels(**{name: text}))


@pytest.mark.parametrize(("name", "text"), [("max", "0"), ("factor", "0"), ("factor", "101")])
def test_a_label_outside_of_its_range_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"{PREFIX}{name}")):
        bounds_of(labels(**{name: text}))


def test_more_at_least_than_at_most_is_refused_with_both_names() -> None:
    with pytest.raises(InvalidInput, match=re.escape("scale.min=3 must not be more than com.openfaas.scale.max=2")):
        bounds_of(labels(min="3", max="2"))


def test_where_labels_come_from_others_the_default_takes_the_place_of_each_that_cannot_be_used() -> None:
    assert usable_bounds(labels(min="2", max="many", factor="0")) == Bounds(least=2, most=20, factor=10)
    assert usable_bounds(labels(min="x", max="5", factor="50")) == Bounds(least=1, most=5, factor=50)
    assert usable_bounds(labels(min="9", max="5")) == Bounds(least=5, most=5)


@given(LABELS)
def test_bounds_are_always_usable(given: dict[str, str]) -> None:
    bounds = usable_bounds(given)
    assert 0 <= bounds.least <= bounds.most
    assert 1 <= bounds.step <= bounds.most
    assert initial_replicas(given) == bounds.least


@given(LABELS)
def test_bounds_that_are_not_refused_are_those_that_are_used(given: dict[str, str]) -> None:
    try:
        wanted = bounds_of(given)
    except InvalidInput:
        return
    assert usable_bounds(given) == wanted


@pytest.mark.parametrize(
    ("text", "replicas"),
    [("0", 0), ("5", 5), ("", 1), ("x", 1), ("-1", 1), ("1.5", 1), ("٣", 1), ("²", 1), (" 2", 1), ("9" * 5000, 1)],
)
def test_a_function_begins_with_its_least_number_of_replicas(text: str, replicas: int) -> None:
    assert initial_replicas(labels(min=text)) == replicas
    assert initial_replicas({}) == 1


@pytest.mark.parametrize(("most", "factor", "step"), [(5, 10, 1), (5, 100, 5), (4, 1, 1), (20, 10, 2), (14, 50, 7)])
def test_a_step_is_a_percentage_of_the_most_rounded_up(most: int, factor: int, step: int) -> None:
    assert Bounds(most=most, factor=factor).step == step


@pytest.mark.parametrize(("current", "wanted"), [(0, 2), (1, 3), (8, 10), (9, 10), (10, 10), (50, 10)])
def test_an_alert_that_fires_adds_a_step_and_never_exceeds_the_most(current: int, wanted: int) -> None:
    assert after_alert(current, True, Bounds(most=10, factor=20)) == wanted


@pytest.mark.parametrize("current", [0, 2, 5])
def test_an_alert_that_is_over_leaves_the_least(current: int) -> None:
    assert after_alert(current, False, Bounds(least=2, most=10)) == 2


@given(st.integers(0, 30), st.booleans(), LABELS)
def test_what_is_wanted_after_an_alert_is_within_bounds(current: int, firing: bool, given: dict[str, str]) -> None:
    bounds = usable_bounds(given)
    assert bounds.least <= after_alert(max(current, bounds.least), firing, bounds) <= bounds.most
