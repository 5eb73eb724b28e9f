"""How many replicas: by alerts and by load (contract gateway §5.2, §5.6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.scalelabels import Scaling
from penstock.core.scaling import after_alert

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
