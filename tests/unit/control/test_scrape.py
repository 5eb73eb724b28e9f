"""The metrics port over a real socket: two paths, no credentials, one rendering for many scrapers."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from penstock.control import scrape
from penstock.control.feed import Feed
from penstock.control.scrape import MetricsServer
from penstock.errors import SettingsError
from penstock.settings import WireSettings
from tests.unit.control.scraping import answers_are_shared, server

__all__ = ["server"]


@pytest.fixture
async def address(server: MetricsServer) -> str:
    return f"http://127.0.0.1:{await server.start('127.0.0.1', 0)}"


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/healthz", 200, b"OK"),
        ("POST", "/healthz", 405, b""),
        ("HEAD", "/healthz", 405, b""),
        ("POST", "/metrics", 405, b""),
        ("GET", "/", 404, b"404 page not found\n"),
        ("GET", "/system/functions", 404, b"404 page not found\n"),
        ("GET", "/metrics/", 404, b"404 page not found\n"),
    ],
)
async def test_two_paths_are_served_for_get(address: str, method: str, path: str, status: int, body: bytes) -> None:
    async with aiohttp.ClientSession() as session, session.request(method, address + path) as answer:
        assert (answer.status, await answer.read()) == (status, body)


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text; version=1.0.0"])
async def test_metrics_are_always_in_text_format_whatever_is_asked_for(address: str, accept: str) -> None:
    session = aiohttp.ClientSession(headers={"Accept": accept})
    async with session, session.get(f"{address}/metrics?x=y") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "# TYPE gateway_function_invocation_started counter\n" in await answer.text()


async def test_scrapes_that_come_while_one_is_prepared_share_the_next(
    server: MetricsServer, address: str, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = await answers_are_shared(f"{address}/metrics", lambda: len(server._waiting), feed, monkeypatch)
    assert flushes == [1.0, 1.0]


async def test_a_rendering_that_fails_is_500_and_the_next_one_works(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(feed: Feed) -> bytes:
        raise RuntimeError("a defect")

    async with aiohttp.ClientSession() as session:
        with monkeypatch.context() as patch:
            patch.setattr(scrape, "exposition", broken)
            async with session.get(f"{address}/metrics") as answer:
                assert answer.status == 500
        assert "a defect" in caplog.text
        async with session.get(f"{address}/metrics") as answer:
            assert answer.status == 200


async def test_a_port_in_use_is_a_settings_error_that_names_it(feed: Feed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}: cannot listen"):
            await MetricsServer(feed, WireSettings()).start("127.0.0.1", port)
