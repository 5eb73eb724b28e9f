"""The lease of one gateway among several: held while it is given, over by itself, and asked for again after trouble."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from penstock.autoscaler.lease import EVERY, SECONDS, Lease
from penstock.errors import ProviderUnavailable
from penstock.testing.clock import FakeClock


class Giver:
    """Gives the lease or not, raises what a test says, or never answers."""

    def __init__(self) -> None:
        self.gives = True
        self.error: Exception | None = None
        self.hangs = False
        self.asked: list[tuple[str, float]] = []

    async def ask(self, holder: str, seconds: float) -> bool:
        self.asked.append((holder, seconds))
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        return self.gives


@contextlib.asynccontextmanager
async def kept(giver: Giver) -> AsyncIterator[tuple[Lease, FakeClock]]:
    clock = FakeClock()
    lease = Lease(giver.ask, "me", clock)
    assert not lease.held
    keeping = asyncio.create_task(lease.keep())
    await clock.settle()
    yield lease, clock
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_where_there_is_nobody_else_it_is_always_held() -> None:
    lease = Lease(None, "me", FakeClock())
    await lease.keep()
    assert lease.held


async def test_it_is_asked_for_again_and_again_and_held_as_long_as_it_is_given() -> None:
    giver = Giver()
    async with kept(giver) as (lease, clock):
        held = [lease.held]
        giver.gives = False
        await clock.advance(EVERY)
        assert [*held, lease.held] == [True, False]
    assert giver.asked == [("me", SECONDS)] * 2


async def test_another_has_it_only_when_somebody_says_so() -> None:
    giver = Giver()
    giver.error = ProviderUnavailable("away")
    async with kept(giver) as (lease, clock):
        elsewhere = [lease.elsewhere]
        for gives in (False, True):
            giver.error, giver.gives = None, gives
            await clock.advance(EVERY)
            elsewhere.append(lease.elsewhere)
        assert elsewhere == [False, True, False]


async def test_it_is_over_by_itself_when_nobody_answers() -> None:
    giver = Giver()
    async with kept(giver) as (lease, clock):
        giver.hangs = True
        await clock.advance(SECONDS - 0.1)
        held = [lease.held]
        await clock.advance(0.1)
        assert [*held, lease.held] == [True, False]


@pytest.mark.parametrize("error", [ProviderUnavailable("no manager answers"), RuntimeError("a defect")])
async def test_what_goes_wrong_is_logged_and_it_is_asked_for_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    giver = Giver()
    async with kept(giver) as (lease, clock):
        giver.error = error
        await clock.advance(EVERY)
        assert "cannot find out which gateway scales" in caplog.text
        assert lease.held  # what was given before still holds
        giver.error = None
        await clock.advance(SECONDS)
        assert lease.held
