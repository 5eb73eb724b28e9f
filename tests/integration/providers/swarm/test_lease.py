"""Two control processes on one real Swarm: one leads, and when it ends or is heard of no more, the other does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers import leasing
from penstock.providers.swarm.names import lease_name
from penstock.providers.swarm.provider import SwarmProvider
from tests.engines.swarm import SwarmNode
from tests.engines.waiting import DEADLINE
from tests.integration.providers.swarm.harness import Installation, installed, started
from tests.integration.providers.waiting import until

pytestmark = pytest.mark.service("dockerd")

SECONDS = 2.0
"""What is asked for; a lease lasts twice as long."""


async def leads(provider: SwarmProvider, name: str, seconds: float = SECONDS) -> None:
    """Wait until it does."""

    async def holds() -> bool:
        await asyncio.sleep(0.1)
        return await provider.lead(name, seconds)

    await until(f"{name} leads", holds)


async def leads_not(provider: SwarmProvider) -> bool:
    return not await provider.lead("first", SECONDS)


@asynccontextmanager
async def two(engine: SwarmNode) -> AsyncIterator[tuple[SwarmProvider, SwarmProvider, Installation]]:
    """Two control processes of one installation, of which the first leads."""
    async with installed(engine) as installation, started(installation) as first, started(installation) as second:
        await leads(first, "first")
        yield first, second, installation


def lease(installation: Installation) -> list[str]:
    """Names of configs of the installation that are a lease."""
    return [name for name in installation.of("config") if name == lease_name(installation.name)]


async def test_one_of_two_leads_and_when_it_closes_the_other_follows(
    swarm_engine: SwarmNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "GOODBYE", DEADLINE)
    async with two(swarm_engine) as (first, second, installation):
        assert not await second.lead("second", SECONDS)
        assert lease(installation)
        await first.close()
        # What was given back is free at once; otherwise it would have to be waited for twice as long.
        await leads(second, "second", DEADLINE)


async def test_many_that_begin_at_once_have_one_leader(swarm_engine: SwarmNode) -> None:
    async with installed(swarm_engine) as installation, AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(started(installation)) for _ in range(4)]
        # A term that no slow machine outlasts.
        leading = await asyncio.gather(*(one.lead(f"gateway{number}", 60.0) for number, one in enumerate(providers)))
        assert sum(leading) == 1


async def test_a_leader_that_is_heard_of_no_more_is_followed_when_its_lease_is_over(
    swarm_engine: SwarmNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(swarm_engine) as (first, second, _):
        with monkeypatch.context() as patch:
            patch.setattr(first._engine, "_call", _nobody_answers)
            await until("the first leads no longer", lambda: leads_not(first))
            await leads(second, "second")
        assert not await first.lead("first", SECONDS)


async def test_a_leader_goes_on_for_longer_than_a_lease_lasts(swarm_engine: SwarmNode) -> None:
    async with installed(swarm_engine) as installation, started(installation) as first:
        await leads(first, "first")
        before = _version(installation)
        for _ in range(30):
            await asyncio.sleep(0.2)
            await first.lead("first", SECONDS)
        await leads(first, "first")
        assert _version(installation) > before


async def _nobody_answers(*asked: object) -> None:
    raise ProviderUnavailable("cut off")


def _version(installation: Installation) -> int:
    name = lease_name(installation.name)
    return int(installation.engine.docker("config", "inspect", "--format", "{{.Version.Index}}", name))
