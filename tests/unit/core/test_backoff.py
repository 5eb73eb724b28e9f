"""The pauses between attempts."""

from __future__ import annotations

from penstock.core.backoff import FIRST, MOST, Backoff


def test_pauses_double_up_to_a_bound() -> None:
    backoff = Backoff()
    pauses = [backoff.pause() for _ in range(10)]
    assert pauses[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert pauses[-1] == MOST == max(pauses)


def test_a_program_that_ran_for_long_starts_over() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.pause(ran=1.0)
    assert backoff.pause(ran=MOST + 1) == FIRST


def test_success_starts_over() -> None:
    backoff = Backoff()
    backoff.pause()
    backoff.reset()
    assert backoff.pause() == FIRST
