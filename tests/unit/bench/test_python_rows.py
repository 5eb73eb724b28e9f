"""What the rows about Python functions compare, and how they judge it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.flask_hello import app
from bench.rows import python, second_replica
from bench.wrk import Load


def loads(*rates: float) -> list[Load]:
    return [Load(rate, int(rate), 100.0, 900.0) for rate in rates]


def test_both_sides_of_the_python_row_give_the_same_answer() -> None:
    handlers: dict[str, Any] = {}
    exec(python.HANDLER, handlers)
    assert handlers["handle"](None, None).encode() == python.BODY
    assert app.test_client().get("/").data == python.BODY


@pytest.mark.parametrize(("theirs", "verdict"), [((100.0, 110.0, 90.0), "met"), ((130.0, 101.0, 101.0), "missed")])
def test_the_median_of_the_rounds_decides_the_python_row(theirs: tuple[float, ...], verdict: str) -> None:
    sides = {"penstock": loads(500.0, 500.0, 500.0), "flask": loads(*theirs)}
    found = python.finding(sides, "penstock", "flask", "of Flask's", judged=True)
    assert found.verdict == verdict
    assert found.numbers["ratios"] == [500.0 / rate for rate in theirs]
    assert python.finding(sides, "penstock", "flask", "of Flask's").verdict == "info"


@pytest.mark.parametrize(("second", "verdict"), [([12.0, 19.0, 80.0], "met"), ([12.0, 21.0, 22.0], "missed")])
def test_the_median_of_the_starts_decides_the_second_replica(second: list[float], verdict: str) -> None:
    found = second_replica.finding(second, [510.0, 530.0, 900.0])
    assert (found.verdict, found.numbers["starts"]) == (verdict, 3)
    assert found.measured == f"{second[1]:.1f} ms (530 ms where each imports)"


def test_the_import_of_the_second_replica_takes_what_the_row_says() -> None:
    assert f"{second_replica.IMPORT / 1000}" in second_replica.HANDLER
