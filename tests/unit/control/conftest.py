"""The REST API over the memory provider, without sockets unless a test opens them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.control.app import create_app, route_table
from penstock.control.feed import Feed
from penstock.core.policy import Policy
from penstock.credentials import Credentials
from penstock.providers.memory import MemoryProvider, Script
from tests.directories import directory
from tests.unit.control.support import PASSWORD, USER, Client, scaler_of

__all__ = ["directory"]

LINES = ("first line", "second line", "third line")


@pytest.fixture
async def provider() -> AsyncIterator[MemoryProvider]:
    """A started provider whose replicas write three lines when they start."""
    provider = MemoryProvider(script=lambda spec: Script(lines=LINES))
    await provider.start()
    yield provider
    await provider.close()


@pytest.fixture
async def feed(provider: MemoryProvider, directory: Path) -> AsyncIterator[Feed]:
    """A feed that follows the provider; its socket is `feed.sock` in `directory`."""
    feed = Feed(provider, Policy())
    await feed.start(directory / "feed.sock")
    yield feed
    await feed.close()


@pytest.fixture
def stopping() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def client(provider: MemoryProvider, feed: Feed, stopping: asyncio.Event) -> Client:
    """The whole API behind its guard, called with the right credentials."""
    return Client(
        create_app(route_table(provider, feed, scaler_of(provider, feed), stopping), Credentials(USER, PASSWORD))
    )
