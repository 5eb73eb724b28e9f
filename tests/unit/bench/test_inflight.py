from __future__ import annotations

import pytest

from bench.inflight import InFlight


def counted(*spans: tuple[float, float]) -> InFlight:
    """Requests that were in flight from and until these moments."""
    inflight = InFlight()
    changes = sorted(
        [(begun, inflight.begin) for begun, _ in spans] + [(ended, inflight.end) for _, ended in spans],
        key=lambda one: one[0],
    )
    for now, change in changes:
        change(now)
    return inflight


def test_a_mean_is_over_time_and_not_over_requests() -> None:
    inflight = counted((10.0, 11.0), (10.5, 11.5))
    assert inflight.mean(10.0, 11.0) == pytest.approx(1.5)
    assert inflight.mean(10.0, 12.0) == pytest.approx(1.0)
    assert inflight.mean(11.5, 20.0) == 0.0
    assert inflight.mean(10.6, 10.9) == pytest.approx(2.0)


def test_a_request_that_has_not_ended_counts_until_now() -> None:
    inflight = InFlight()
    inflight.begin(5.0)
    assert inflight.mean(5.0, 9.0) == pytest.approx(1.0)


def test_the_highest_mean_is_found_wherever_its_span_lies() -> None:
    inflight = counted((10.0, 20.0), (13.37, 14.37), (13.37, 13.87))
    assert inflight.highest(10.0, 20.0) == pytest.approx(2.5)
    assert inflight.highest(10.0, 13.0) == pytest.approx(1.0)


def test_requests_before_the_first_moment_are_those_of_their_time_only() -> None:
    assert counted((1.0, 2.0), (1.0, 2.0), (4.0, 5.0)).highest(3.0, 6.0) == pytest.approx(1.0)


def test_a_time_that_is_shorter_than_a_span_has_no_highest_mean() -> None:
    with pytest.raises(ValueError, match="shorter"):
        counted((1.0, 2.0)).highest(1.0, 1.5)
