"""How the row about scaling judges, and that its tick decides about every function."""

from __future__ import annotations

import pytest

from bench.rows import scaling
from bench.rows.scaling import Step


@pytest.mark.parametrize(
    ("seconds", "highest", "peak", "verdicts"),
    [
        (2.5, 10, 10.0, ["met", "met"]),
        (3.5, 10, 10.0, ["missed", "met"]),
        (2.5, 11, 10.0, ["met", "met"]),
        (2.5, 12, 10.0, ["met", "missed"]),
        (2.5, 12, 10.1, ["met", "met"]),
        (2.5, 13, 11.0, ["met", "missed"]),
    ],
)
def test_a_step_is_judged_by_its_time_and_by_replicas_beyond_what_was_in_flight(
    seconds: float, highest: int, peak: float, verdicts: list[str]
) -> None:
    steps = [Step(seconds, highest, peak), Step(seconds, 10, 10.0), Step(seconds, 10, 9.9)]
    found = list(scaling.step_findings(steps, Step(150.0, 20, 12.0)))
    assert [finding.verdict for finding in found] == verdicts
    assert found[0].measured == f"{seconds:.2f} s, at most {seconds:.2f} s (by alerts in the same run 150 s)"
    assert found[1].numbers["beyond 10, by run"] == [highest - 10, 0, 0]


def test_the_most_beyond_need_is_that_of_one_run_and_not_the_most_wanted_less_the_least_in_flight() -> None:
    found = list(scaling.step_findings([Step(2.0, 13, 12.2), Step(2.0, 10, 9.5)], Step(150.0, 20, 12.0)))
    assert found[1].measured == "0 (at most 13 wanted, 12.2 requests in flight)"


def test_the_right_number_is_that_of_requests_in_flight() -> None:
    assert scaling.RIGHT == 10


async def test_every_tick_is_timed() -> None:
    times = await scaling.tick_times(functions=20, ticks=3)
    assert len(times) == 3
    assert scaling.tick_finding(times, 20).row == "scaling"
