"""Every provider that runs without services passes the published suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.providers.memory import MemoryProvider
from penstock.testing.provider_suite import CHECKS, Check, Kit


@asynccontextmanager
async def memory_kit() -> AsyncIterator[Kit]:
    provider = MemoryProvider()
    await provider.start()
    yield Kit(provider)
    await provider.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_memory_provider_conforms(check: Check) -> None:
    async with memory_kit() as kit:
        await check(kit)
