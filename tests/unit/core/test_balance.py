from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.balance import FIRST_REST, LONGEST_REST, choose, rest_after

NOW = 100.0


@dataclass
class Replica:
    inflight: int
    resting_until: float


REPLICAS = st.lists(st.builds(Replica, st.integers(0, 5), st.sampled_from([0.0, NOW, 100.1, 103.0, 105.0])), min_size=1)
SEEDS = st.integers(0, 1000)


@given(REPLICAS, SEEDS)
def test_a_resting_replica_is_never_chosen_while_another_is_awake(replicas: list[Replica], seed: int) -> None:
    chosen = choose(replicas, NOW, random.Random(seed).random)
    if any(replica.resting_until <= NOW for replica in replicas):
        assert chosen.resting_until <= NOW
    else:
        assert chosen.resting_until == min(replica.resting_until for replica in replicas)


@given(REPLICAS, SEEDS)
def test_the_busiest_replica_is_never_chosen_while_all_are_awake_and_differ(replicas: list[Replica], seed: int) -> None:
    for number, replica in enumerate(replicas):
        replica.inflight, replica.resting_until = number, 0.0
    if len(replicas) > 1:
        assert choose(replicas, NOW, random.Random(seed).random) is not replicas[-1]


@given(st.integers(2, 6), SEEDS)
def test_every_replica_that_is_awake_gets_its_share(count: int, seed: int) -> None:
    replicas = [Replica(0, 0.0) for _ in range(count)]
    draw = random.Random(seed).random
    chosen = {id(choose(replicas, NOW, draw)) for _ in range(100 * count)}
    assert chosen == {id(replica) for replica in replicas}


def test_the_last_one_never_rests() -> None:
    only = Replica(9, NOW + 5)
    assert choose([only], NOW, lambda: 0.0) is only


def test_no_candidate_is_an_error_of_the_caller() -> None:
    with pytest.raises(IndexError):
        choose([], NOW, lambda: 0.0)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.integers(2, 9))
def test_any_draw_compares_two_different_replicas(one: float, other: float, count: int) -> None:
    replicas = [Replica(number, 0.0) for number in range(count)]
    draws = [one, other]
    chosen = choose(replicas, NOW, lambda: draws.pop(0))
    assert chosen in replicas
    assert draws == []


def test_a_replica_rests_longer_after_each_failure_but_never_too_long() -> None:
    rests = [rest_after(failures) for failures in range(1, 10)]
    assert rests[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert rests == sorted(rests)
    assert rest_after(10**9) == LONGEST_REST
