from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import median_ratio, number, percentile, ratios, spread

FINITE = st.floats(min_value=-1e9, max_value=1e9)


def test_the_middle_of_an_odd_number_of_samples_is_one_of_them() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0


def test_the_middle_of_an_even_number_of_samples_lies_between_two() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5


def test_the_ends_of_the_scale_are_the_extremes() -> None:
    assert (percentile([5.0, 1.0, 9.0], 0.0), percentile([5.0, 1.0, 9.0], 1.0)) == (1.0, 9.0)


def test_one_sample_is_every_percentile() -> None:
    assert percentile([7.0], 0.99) == 7.0


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


@given(st.lists(FINITE, min_size=1), st.floats(min_value=0, max_value=1))
def test_a_percentile_lies_within_the_samples(samples: list[float], share: float) -> None:
    assert min(samples) - 1e-3 <= percentile(samples, share) <= max(samples) + 1e-3


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([1.0, 9.0], [2.0, 3.0]) == [0.5, 3.0]


def test_sides_with_different_numbers_of_rounds_cannot_be_compared() -> None:
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])


def test_one_disturbed_round_does_not_decide_the_ratio() -> None:
    assert median_ratio([8.0, 8.0, 1.0], [10.0, 10.0, 10.0]) == 0.8


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    assert median_ratio([1.0, 4.0, 9.0], [1.0, 2.0, 30.0]) == 1.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8734, "0.873"), (1.25, "1.25"), (12.44, "12.4"), (48212.3, "48,212"), (-12.44, "-12.4"), (0.0, "0.000")],
)
def test_numbers_keep_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_spread_names_lowest_and_highest() -> None:
    assert spread([0.5, 2.0, 1.0]) == "0.500 to 2.00"
