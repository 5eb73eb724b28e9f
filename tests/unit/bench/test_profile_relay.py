from __future__ import annotations

import pytest

from bench.profile_relay import CASES, Relaying, best


@pytest.mark.parametrize("name", CASES)
async def test_every_case_really_goes_through_the_gateway(name: str) -> None:
    relaying = Relaying()
    for request in CASES[name][:3] * 2:
        relaying.check(request)


async def test_the_best_of_some_rounds_is_a_time_per_request() -> None:
    assert 0 < best(Relaying().request, CASES["GET, the same head each time"], 10, 2) < float("inf")
