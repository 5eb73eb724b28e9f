from __future__ import annotations

import asyncio
from datetime import timedelta

from penstock.testing.clock import FakeClock


async def test_sleepers_wake_in_the_order_of_their_deadlines_at_their_own_moment() -> None:
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in (("b", 2), ("a", 1), ("c", 5))]
    await clock.advance(3)
    assert woken == [("a", 1), ("b", 2)]
    assert clock.sleepers == 1
    await clock.advance(2)
    await asyncio.gather(*tasks)
    assert woken[-1] == ("c", 5)


async def test_who_sleeps_again_is_woken_within_the_same_advance() -> None:
    clock = FakeClock()
    ticks = 0

    async def ticker() -> None:
        nonlocal ticks
        while True:
            await clock.sleep(0.5)
            ticks += 1

    task = asyncio.create_task(ticker())
    await clock.advance(10)
    assert ticks == 20
    task.cancel()


async def test_wall_clock_and_monotonic_clock_move_together() -> None:
    clock = FakeClock()
    before = clock.now()
    await clock.advance(90)
    assert clock.now() - before == timedelta(seconds=90)
    assert clock.monotonic() == 90


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.settle()
    task.cancel()
    await clock.advance(2)
    assert clock.sleepers == 0
