"""How the row about scaling judges, and that its tick decides about every function."""

from __future__ import annotations

import pytest

from bench.rows import scaling
from bench.rows.scaling import Step


@pytest.mark.parametrize(
    ("seconds", "highest", "verdicts"),
    [(2.5, 10, ["met", "met"]), (3.5, 10, ["missed", "met"]), (2.5, 11, ["met", "met"]), (2.5, 12, ["met", "missed"])],
)
def test_a_step_is_judged_by_its_time_and_by_replicas_beyond_need(
    seconds: float, highest: int, verdicts: list[str]
) -> None:
    steps = [Step(seconds, highest), Step(seconds, 10), Step(seconds, 10)]
    found = list(scaling.step_findings(steps, Step(150.0, 20)))
    assert [finding.verdict for finding in found] == verdicts
    assert found[0].measured == f"{seconds:.2f} s (by alerts 150 s)"


def test_the_right_number_is_that_of_requests_in_flight() -> None:
    assert scaling.RIGHT == 10


async def test_every_tick_is_timed() -> None:
    times = await scaling.tick_times(functions=20, ticks=3)
    assert len(times) == 3
    assert scaling.tick_finding(times, 20).row == "scaling"
