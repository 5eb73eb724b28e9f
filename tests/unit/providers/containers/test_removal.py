"""Removing containers, however often it takes."""

from __future__ import annotations

import asyncio

from penstock.providers.containers.removal import RETRY_FIRST, RETRY_LAST, Removal
from tests.unit.providers.containers.makings import settled


class Engine:
    """Removes a container at the wanted try."""

    def __init__(self, tries: int) -> None:
        self.left = tries
        self.asked: list[str] = []
        self.pauses: list[float] = []

    async def remove(self, container: str) -> bool:
        self.asked.append(container)
        await asyncio.sleep(0)
        self.left -= 1
        return self.left <= 0

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


async def test_a_container_is_removed_once_however_often_that_is_wanted() -> None:
    engine = Engine(1)
    removal = Removal(engine.remove, engine.sleep)
    removal(["c1", "", "c1"])
    removal(["c1"])
    await removal.close()
    assert engine.asked == ["c1"]


async def test_an_engine_that_refuses_is_asked_ever_more_rarely() -> None:
    engine = Engine(10)
    removal = Removal(engine.remove, engine.sleep)
    removal(["c1"])
    await settled(lambda: engine.left == 0)
    assert engine.pauses[:3] == [RETRY_FIRST, RETRY_FIRST * 2, RETRY_FIRST * 4]
    assert max(engine.pauses) == engine.pauses[-1] == RETRY_LAST
    await removal.close()


async def test_closing_does_not_wait_for_another_try() -> None:
    async def forever(seconds: float) -> None:
        waits.set()
        await asyncio.Event().wait()

    waits = asyncio.Event()
    engine = Engine(2)
    removal = Removal(engine.remove, forever)
    removal(["c1"])
    await waits.wait()
    await asyncio.wait_for(removal.close(), 60)
    assert engine.asked == ["c1"]
