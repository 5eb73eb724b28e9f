"""How a function wants to be scaled, from its labels (contract gateway §5.1)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.scalelabels import Scaling, initial_replicas, scaling_of, usable_scaling
from penstock.errors import InvalidInput

PREFIX = "com.openfaas.scale."
NUMBERS = st.integers(0, 2000).map(str)
LABELS = st.dictionaries(st.sampled_from([f"{PREFIX}min", f"{PREFIX}max", f"{PREFIX}factor"]), NUMBERS | st.text())


def labels(**values: str) -> dict[str, str]:
    return {f"{PREFIX}{name}": value for name, value in values.items()}


def test_without_labels_there_are_from_1_to_20_replicas() -> None:
    assert scaling_of({}) == scaling_of(labels(min="", max="", factor="")) == Scaling(least=1, most=20, factor=10)


def test_labels_set_the_bounds() -> None:
    assert scaling_of(labels(min="0", max="7", factor="100")) == Scaling(least=0, most=7, factor=100)


def test_more_than_the_usual_most_may_be_wanted_at_least() -> None:
    assert scaling_of(labels(min="30")) == Scaling(least=30, most=30)


@pytest.mark.parametrize("text", ["-1", "1.5", "many", " 1", "1\n", "٣", "²", "0x1", "1_0", "+1", "9" * 5000])
@pytest.mark.parametrize("name", ["min", "max", "factor"])
def test_a_label_that_is_no_whole_number_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"{PREFIX}{name}")):
        scaling_of(labels(**{name: text}))


@pytest.mark.parametrize(("name", "text"), [("max", "0"), ("factor", "0"), ("factor", "101")])
def test_a_label_outside_of_its_range_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"{PREFIX}{name}")):
        scaling_of(labels(**{name: text}))


def test_more_at_least_than_at_most_is_refused_with_both_names() -> None:
    with pytest.raises(InvalidInput, match=re.escape("scale.min=3 must not be more than com.openfaas.scale.max=2")):
        scaling_of(labels(min="3", max="2"))


def test_where_labels_come_from_others_the_default_takes_the_place_of_each_that_cannot_be_used() -> None:
    assert usable_scaling(labels(min="2", max="many", factor="0"))[0] == Scaling(least=2, most=20, factor=10)
    assert usable_scaling(labels(min="x", max="5", factor="50"))[0] == Scaling(least=1, most=5, factor=50)
    assert usable_scaling(labels(min="9", max="5"))[0] == Scaling(least=5, most=5)


@given(LABELS)
def test_bounds_are_always_usable(given: dict[str, str]) -> None:
    scaling, _ = usable_scaling(given)
    assert 0 <= scaling.least <= scaling.most
    assert 1 <= scaling.step <= scaling.most
    assert initial_replicas(given) == scaling.least


@given(LABELS)
def test_bounds_that_are_not_refused_are_those_that_are_used(given: dict[str, str]) -> None:
    try:
        wanted = scaling_of(given)
    except InvalidInput:
        return
    assert usable_scaling(given) == (wanted, ())


@pytest.mark.parametrize(
    ("text", "replicas"),
    [("0", 0), ("5", 5), ("", 1), ("x", 1), ("-1", 1), ("1.5", 1), ("٣", 1), ("²", 1), (" 2", 1), ("9" * 5000, 1)],
)
def test_a_function_begins_with_its_least_number_of_replicas(text: str, replicas: int) -> None:
    assert initial_replicas(labels(min=text)) == replicas
    assert initial_replicas({}) == 1
