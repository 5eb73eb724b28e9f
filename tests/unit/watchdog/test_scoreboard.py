"""Counters that processes share."""

from __future__ import annotations

import os

from penstock.watchdog.scoreboard import BUCKETS, Scoreboard, SharedLimiter
from penstock.watchdog.seat import Listeners, Seat


def test_what_a_forked_process_counts_is_seen_by_all() -> None:
    board = Scoreboard(3)
    board.slots[0].observe(200, b"GET", 0.001)
    pid = os.fork()
    if pid == 0:
        board.slots[1].observe(200, b"GET", 0.3)
        board.slots[1].observe(500, b"BREW", 100.0)
        board.slots[1].inflight = 2
        os._exit(0)
    os.waitpid(pid, 0)
    series = board.series()
    assert series[200, b"GET"].buckets == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert round(series[200, b"GET"].seconds, 3) == 0.301
    assert series[500, b""].buckets[len(BUCKETS)] == 1
    assert board.inflight == 2


def test_the_next_owner_of_a_slot_goes_on_counting() -> None:
    board = Scoreboard(2)
    board.slots[0].observe(200, b"GET", 1.0)
    slot = type(board.slots[0])(memoryview(board.slots[0]._words.cast("B")))
    slot.observe(200, b"GET", 1.0)
    assert sum(board.series()[200, b"GET"].buckets) == 2


def test_more_series_than_fit_are_counted_by_hundreds() -> None:
    board = Scoreboard()
    for status in range(100, 600):
        board.slots[0].observe(status, b"GET", 0.1)
    series = board.series()
    assert sum(sum(one.buckets) for one in series.values()) == 500
    assert {(300, b""), (400, b""), (500, b"")} <= set(series)


def test_the_limit_counts_requests_of_all_workers() -> None:
    board = Scoreboard(2)
    seats = [Seat(Listeners("", ()), board, slot, None) for slot in board.slots]  # type: ignore[arg-type]
    one, other = (SharedLimiter(2, seat) for seat in seats)
    assert one.acquire()
    assert other.acquire()
    assert (one.full, other.full, one.inflight) == (True, True, 2)
    assert not one.acquire()
    other.release()
    assert one.acquire()


def test_without_a_limit_all_are_let_in_and_counted() -> None:
    board = Scoreboard(2)
    limiter = SharedLimiter(0, Seat(Listeners("", ()), board, board.slots[1], None))  # type: ignore[arg-type]
    assert all(limiter.acquire() for _ in range(5))
    assert (limiter.full, board.slots[1].inflight) == (False, 5)
