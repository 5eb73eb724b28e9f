"""Every provider passes the published suite, those of containers on real engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.providers.memory import MemoryProvider
from penstock.testing.kit import Check, Kit
from penstock.testing.provider_suite import CHECKS, run_suite
from tests.engines.engine import Engine
from tests.engines.images import import_busybox
from tests.engines.swarm import SwarmNode
from tests.integration.providers.docker.harness import running_box
from tests.integration.providers.runtimes.harness import running_provider
from tests.integration.providers.swarm.harness import running


@pytest.fixture(scope="module")
def swarm_image(swarm_engine: SwarmNode) -> str:
    return import_busybox(swarm_engine)


@asynccontextmanager
async def memory_kit() -> AsyncIterator[Kit]:
    provider = MemoryProvider()
    await provider.start()
    try:
        yield Kit(provider)
    finally:
        await provider.close()


@asynccontextmanager
async def process_kit() -> AsyncIterator[Kit]:
    async with running_provider() as (provider, _):
        yield Kit(provider, timeout=120.0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_memory_provider_conforms(check: Check) -> None:
    async with memory_kit() as kit:
        await check(kit)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_process_provider_conforms(check: Check) -> None:
    async with process_kit() as kit:
        await check(kit)


@pytest.mark.service("dockerd", "busybox")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_docker_provider_conforms(check: Check, docker_engine: Engine, busybox_image: str) -> None:
    async with running_box(docker_engine) as (provider, _):
        await check(Kit(provider, image=busybox_image, timeout=120.0))


@pytest.mark.service("dockerd", "busybox")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_swarm_provider_conforms(check: Check, swarm_engine: SwarmNode, swarm_image: str) -> None:
    async with running(swarm_engine) as (provider, _):
        await check(Kit(provider, image=swarm_image, timeout=120.0))


def test_the_suite_runs_without_a_test_framework() -> None:
    outcome = run_suite(memory_kit)
    assert len(outcome) == len(CHECKS) > 30
    assert not [name for name, failure in outcome.items() if failure]
