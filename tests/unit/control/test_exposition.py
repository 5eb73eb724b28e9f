"""Lines of the text format, each part for itself; whole pages are in `test_metrics`."""

from __future__ import annotations

import pytest

from penstock.control.exposition import family, histogram, label, number
from penstock.gateway.messages import LATENCY_BUCKETS


def test_a_histogram_counts_up_and_its_total_is_that_of_its_buckets() -> None:
    lines = histogram("taken", 'code="200"', [1, 2, *[0] * 9, 4], 2.5).splitlines()
    assert lines[:2] == ['taken_bucket{code="200",le="0.005"} 1', 'taken_bucket{code="200",le="0.01"} 3']
    assert lines[-3:] == [
        'taken_bucket{code="200",le="+Inf"} 7',
        'taken_sum{code="200"} 2.5',
        'taken_count{code="200"} 7',
    ]
    assert len(lines) == len(LATENCY_BUCKETS) + 3


@pytest.mark.parametrize("count", [len(LATENCY_BUCKETS), len(LATENCY_BUCKETS) + 2])
def test_counts_for_other_buckets_are_no_histogram(count: int) -> None:
    with pytest.raises(TypeError):
        histogram("taken", "", [1] * count, 2.5)


def test_what_looks_like_a_place_to_fill_in_stays_as_it_is() -> None:
    assert '{function_name="%s%d{x}"} 0.5' in histogram("taken", label("function_name", "%s%d{x}"), [0] * 12, 0.5)


def test_a_label_holds_whatever_its_value_is() -> None:
    for _ in range(2):  # the second time it is known already
        assert label("a", 'x"y\\z\n') == r'a="x\"y\\z\n"'
        assert label("b", 'x"y\\z\n') == r'b="x\"y\\z\n"'


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (3.0, "3"), (0.1, "0.1"), (-2, "-2"), (10**20, "1" + "0" * 20)])
def test_numbers_are_as_short_as_they_can_be(value: float, text: str) -> None:
    assert number(value) == text


def test_functions_of_a_family_are_in_the_order_of_their_names() -> None:
    lines = list(family("wanted", "gauge", "How many.", {"b": 2, "a": 1.5}))
    assert lines == [
        "# HELP wanted How many.",
        "# TYPE wanted gauge",
        'wanted{function_name="a"} 1.5',
        'wanted{function_name="b"} 2',
    ]
