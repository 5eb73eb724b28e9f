"""How the row about scrapes judges."""

from __future__ import annotations

import pytest

from bench.rows import scrapes
from bench.wrk import Load


def loads(*p99: float) -> list[Load]:
    """One run each, with these milliseconds."""
    return [Load(rate=1000.0, requests=1000, p50=each * 500, p99=each * 1000) for each in p99]


@pytest.mark.parametrize(("scraped", "verdict"), [(11.0, "met"), (12.1, "missed")])
def test_invocations_are_judged_by_their_p99_beside_scrapes(scraped: float, verdict: str) -> None:
    found = scrapes.invocations({"scraped": loads(scraped, scraped), "alone": loads(10.0, 10.0)}, 1000)
    assert found.verdict == verdict
    assert f"({scraped:.1f} / 10.0 ms; p50 " in found.measured


def test_each_round_gives_one_ratio_and_the_median_counts() -> None:
    found = scrapes.invocations({"scraped": loads(10.0, 30.0, 5.0), "alone": loads(10.0, 10.0, 10.0)}, 1000)
    assert found.numbers["ratios of p99"] == [1.0, 3.0, 0.5]
    assert found.measured.startswith("1.00 ")
