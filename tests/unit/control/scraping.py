"""What the tests of both pages of the metrics port share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from penstock.control.feed import Feed
from penstock.control.scrape import MetricsServer
from penstock.settings import WireSettings
from tests.unit.control.support import until, within


@pytest.fixture
async def server(feed: Feed) -> AsyncIterator[MetricsServer]:
    server = MetricsServer(feed, WireSettings())
    yield server
    await server.close()


async def answers_are_shared(
    url: str, waiting: Callable[[], int], feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    """Ask for a page of the metrics port, and twenty times more while that is prepared. How long counters were waited for, for
    each of the answers that were prepared."""
    flushes: list[float] = []
    go_on = asyncio.Event()

    async def flush(timeout: float) -> None:
        flushes.append(timeout)
        await go_on.wait()

    async def get(session: aiohttp.ClientSession) -> int:
        async with session.get(url) as answer:
            return answer.status

    monkeypatch.setattr(feed, "flush", flush)
    async with aiohttp.ClientSession() as session:
        first = asyncio.create_task(get(session))
        await until(lambda: flushes, "the first answer")
        others = [asyncio.create_task(get(session)) for _ in range(20)]
        await until(lambda: waiting() == 20, "the others")
        go_on.set()
        assert await within(asyncio.gather(first, *others)) == [200] * 21
    return flushes
