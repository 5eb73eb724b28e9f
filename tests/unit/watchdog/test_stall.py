"""Which loops are taken for ones that stand still."""

from __future__ import annotations

import pytest

from penstock.watchdog.scoreboard import Scoreboard, Slot
from penstock.watchdog.seat import HEARTBEAT
from penstock.watchdog.stall import DOUBT, TICK, StallWatch
from penstock.wire.server import Server
from penstock.wiresettings import WireSettings


@pytest.fixture
def slot() -> Slot:
    return Scoreboard().slots[0]


def watch_of(slot: Slot, limit: float) -> StallWatch:
    return StallWatch(slot, Server(lambda exchange: None, WireSettings()), limit)


async def test_a_loop_that_turns_is_left_alone_however_short_the_limit(slot: Slot) -> None:
    watch = watch_of(slot, 0.01)
    now = 100.0
    for turn in range(1000):
        now += TICK
        if (
            turn % 2
        ):  # both beat and look every half second, so that now and then two beats come between looks, and then none
            slot.heartbeat = now
        assert not watch.look(now)


async def test_time_in_which_the_whole_process_stood_still_does_not_count(slot: Slot) -> None:
    watch = watch_of(slot, 0.01)
    slot.heartbeat = now = 100.0
    assert not watch.look(now)
    assert not watch.look(now + HEARTBEAT)  # its beat is due at this very moment
    assert not watch.look(now + 600)  # the thread that looks has its turn before the loop
    slot.heartbeat = now + 600
    assert not watch.look(now + 600 + TICK)


async def test_a_loop_that_is_blocked_is_noticed_beyond_the_limit(slot: Slot) -> None:
    watch = watch_of(slot, 2.0)
    slot.heartbeat = now = 100.0
    looks = [watch.look(now + TICK * turn) for turn in range(20)]
    assert looks.index(True) * TICK == 2.0 + DOUBT + TICK
