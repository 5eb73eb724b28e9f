"""What the metrics port tells other gateways."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import msgspec
import pytest

from penstock.autoscaler.counts import Counts
from penstock.autoscaler.peers import Loads, Peers
from penstock.control import loadpage
from penstock.control.feed import Feed
from penstock.control.scrape import MetricsServer
from penstock.gateway.messages import Counters
from penstock.settings import WireSettings
from tests.unit.control.scraping import answers_are_shared, server

__all__ = ["server"]


@pytest.fixture
async def url(server: MetricsServer) -> str:
    return f"http://127.0.0.1:{await server.start('127.0.0.1', 0)}/loads"


async def test_it_tells_what_was_counted_and_which_process_counts(url: str, server: MetricsServer, feed: Feed) -> None:
    feed.count(Counters(started={"echo.default": 3}, busy={"echo.default": 1.5}))
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        counts = msgspec.json.decode(await answer.read(), type=Counts)
    assert counts == Counts(server.identity, {"echo.default": 3}, {"echo.default": 1.5}, {})


async def test_each_process_has_an_identity_of_its_own(feed: Feed, server: MetricsServer) -> None:
    assert MetricsServer(feed, WireSettings()).identity != server.identity


async def test_it_is_only_to_be_read(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        assert answer.status == 405


async def test_those_who_ask_meanwhile_share_the_next_answer(
    url: str, server: MetricsServer, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = await answers_are_shared(url, lambda: len(server._loads._waiting), feed, monkeypatch)
    assert flushes == [loadpage.FLUSH_TIMEOUT] * 2


async def test_what_fails_is_500_and_told_in_the_log(
    url: str, feed: Feed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed, "inflight", lambda: 1 / 0)
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 500
    assert "loads could not be told" in caplog.text


async def test_another_gateway_understands_it(server: MetricsServer, feed: Feed) -> None:
    port = await server.start("127.0.0.1", 0)

    async def resolve(host: str) -> list[str]:
        return ["127.0.0.1"]

    peers = Peers("gateways", port, "another", resolve)
    try:
        await asked_until(peers, lambda loads: peers.known == 1)
        feed.count(Counters(started={"echo.default": 3}, busy={"echo.default": 1.5}))
        loads = await asked_until(peers, lambda loads: bool(loads.started))
        assert (loads.started, loads.busy) == ({"echo.default": 3}, {"echo.default": 1.5})
    finally:
        await peers.close()


async def asked_until(peers: Peers, holds: Callable[[Loads], bool]) -> Loads:
    """The first answer that is as it should be, however slow the machine is."""
    for _ in range(100):
        if holds(loads := await peers.gather()):
            return loads
    raise AssertionError("it was not told")
