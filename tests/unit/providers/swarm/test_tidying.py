"""Left-overs are removed, sooner or later."""

from __future__ import annotations

from penstock.errors import ProviderUnavailable
from penstock.providers.swarm.tidying import FIRST, Tidying
from penstock.testing.clock import FakeClock


async def test_it_tries_until_nothing_is_left_and_then_rests() -> None:
    clock, tries = FakeClock(), list[float]()

    async def collect() -> bool:
        tries.append(clock.monotonic())
        if len(tries) == 2:
            raise ProviderUnavailable("away")
        return len(tries) < 4

    tidying = Tidying(collect, clock)
    tidying.start()
    await clock.advance(100)
    assert tries == [FIRST, 3 * FIRST, 7 * FIRST, 15 * FIRST]
    tidying.kick()
    await clock.advance(100)
    assert len(tries) == 5
    await tidying.close()


async def test_a_kick_while_it_waits_makes_it_try_soon() -> None:
    clock, tries = FakeClock(), list[float]()

    async def collect() -> bool:
        tries.append(clock.monotonic())
        return True

    tidying = Tidying(collect, clock)
    tidying.start()
    await clock.advance(20)
    tidying.kick()
    before = len(tries)
    await clock.advance(40)
    await tidying.close()
    assert len(tries) > before
