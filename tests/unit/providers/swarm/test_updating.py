"""When an older generation goes."""

from __future__ import annotations

from penstock.providers.swarm.updating import Standing, superseded
from tests.unit.providers.swarm.samples import generation


def standing(number: int, ready: int = 0, hopeful: bool = False, desired: int = 1, planned: bool = True) -> Standing:
    of = generation(number, desired=desired, planned=planned)
    return Standing(generation=of, ready=ready, hopeful=hopeful)


def gone(*standings: Standing) -> list[int]:
    return [of.number for of in superseded(standings)]


def test_a_generation_alone_stays() -> None:
    assert gone(standing(1)) == []


def test_the_old_one_serves_until_the_new_one_does() -> None:
    assert gone(standing(1, ready=1), standing(2)) == []
    assert gone(standing(1, ready=2), standing(2, ready=1, desired=2)) == []
    assert gone(standing(1, ready=2), standing(2, ready=2, desired=2)) == [1]


def test_an_old_one_that_may_serve_yet_stays() -> None:
    assert gone(standing(1, hopeful=True), standing(2)) == []


def test_what_never_served_goes_at_once() -> None:
    assert gone(standing(1, ready=1), standing(2), standing(3)) == [2]


def test_at_zero_the_new_one_takes_over_once_it_could_start() -> None:
    assert gone(standing(1, ready=1, desired=0), standing(2, desired=0, planned=False)) == []
    assert gone(standing(1, ready=1, desired=0), standing(2, desired=0)) == [1]


def test_the_newest_counts_in_whatever_order_they_are_listed() -> None:
    assert gone(standing(2, ready=1), standing(1, ready=1)) == [1]
