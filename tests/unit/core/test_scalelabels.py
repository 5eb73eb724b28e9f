"""How a function wants to be scaled, from its labels (contract gateway §5.1)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import scalelabels
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


EVERY = [value for name, value in vars(scalelabels).items() if name.endswith("_LABEL")]
ANYTHING = st.sampled_from(["0", "1", "3", "0.5", "true", "query", "cpu", "auto", "30s", "10m", "x" * 5000]) | st.text(
    max_size=20
)


def whole(**values: str) -> dict[str, str]:
    """By the name of the constant: `OWN_ZERO_AFTER="auto"`."""
    return {getattr(scalelabels, f"{name}_LABEL"): value for name, value in values.items()}


def test_every_label_is_read() -> None:
    given = whole(
        MIN="2",
        MAX="9",
        FACTOR="20",
        TARGET="7.5",
        PROPORTION="1",
        WINDOW="1m",
        ZERO="True",
        ZERO_AFTER="10m",
        QUERY="up",
    )
    assert scaling_of(given) == Scaling(
        least=2,
        most=9,
        factor=20,
        kind="query",
        target=7.5,
        proportion=1.0,
        window=60.0,
        zero=True,
        zero_after=600.0,
        query="up",
    )


def test_defaults_are_those_of_the_contract_but_for_the_window() -> None:
    scaling = scaling_of({})
    assert (scaling.kind, scaling.target, scaling.proportion, scaling.zero, scaling.zero_after) == (
        "rps",
        50,
        0.9,
        False,
        900,
    )
    assert scaling.window == 30
    assert scaling.each == 45


@pytest.mark.parametrize("kind", ["rps", "capacity", "cpu", "queue", "jobs:waiting.a_b-c"])
def test_a_type_is_one_of_ours_or_any_word(kind: str) -> None:
    assert scaling_of(whole(TYPE=kind)).kind == kind


def test_our_label_of_zero_wins_over_the_original_one_and_may_learn() -> None:
    assert scaling_of(whole(ZERO_AFTER="1m", OWN_ZERO_AFTER="2m")).zero_after == 120
    learned = scaling_of(whole(ZERO_AFTER="1m", OWN_ZERO_AFTER="auto"))
    assert (learned.learned, learned.zero_after) == (True, 60)


BAD = [
    ("TYPE", ["a b", "-x", "x" * 64, 'a"}', "\n", "é"]),
    ("TARGET", ["0", "0.0", "-1", "1e3", "nan", "inf", "x", "1,5", "1" * 10, " 1"]),
    ("PROPORTION", ["0", "1.1", "2", "90%", "-0.5", "nan"]),
    ("WINDOW", ["-1s", "5m1s", "301", "x", "1d", "9" * 5000]),
    ("ZERO", ["yes", "1", "0", "x"]),
    ("ZERO_AFTER", ["0", "-15m", "999ms", "auto", "721h", "x"]),
    ("OWN_ZERO_AFTER", ["0", "-1s", "Auto", "721h", "x" * 5000]),
    ("QUERY", ["x" * 4097]),
]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD for text in texts])
def test_what_cannot_be_used_is_refused_by_name_and_shortly(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(getattr(scalelabels, f"{name}_LABEL"))) as caught:
        scaling_of(whole(**{name: text}))
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "text"), [(name, texts[0]) for name, texts in BAD])
def test_what_cannot_be_used_of_others_is_a_fault_with_its_name(name: str, text: str) -> None:
    scaling, faults = usable_scaling(whole(**{name: text}))
    assert scaling == Scaling()
    assert len(faults) == 1
    assert getattr(scalelabels, f"{name}_LABEL") in faults[0]


def test_all_faults_are_told() -> None:
    scaling, faults = usable_scaling(whole(MIN="x", MAX="y", TARGET="0", ZERO="?", TYPE="query"))
    assert scaling == Scaling()
    assert len(faults) == 5


@pytest.mark.parametrize(("given", "named"), [(whole(TYPE="query"), "QUERY"), (whole(TYPE="cpu", QUERY="up"), "TYPE")])
def test_a_type_and_an_expression_that_do_not_fit_are_refused_with_both_names(
    given: dict[str, str], named: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(getattr(scalelabels, f"{named}_LABEL"))):
        scaling_of(given)


@given(st.dictionaries(st.sampled_from(EVERY), ANYTHING))
def test_whatever_others_wrote_something_usable_is_read(given: dict[str, str]) -> None:
    scaling, faults = usable_scaling(given)
    assert scaling.each > 0
    assert 0 <= scaling.window <= 300
    assert scaling.zero_after >= 1
    assert len(faults) <= len(given)


def test_load_decides_nothing_where_another_autoscaler_does() -> None:
    found = scaling_of({"com.penstock.kubernetes.hpa": "true", f"{PREFIX}max": "7"})
    assert found.fixed and found == Scaling(most=7, handed_over=True)
    assert not scaling_of({"com.penstock.kubernetes.hpa": "false"}).fixed
