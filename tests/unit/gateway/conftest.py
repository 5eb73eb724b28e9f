"""Fixtures of the gateway tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.support import Gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A worker whose control has connected and said nothing yet."""
    running = Gateway()
    await running.start()
    yield running
    await running.stop()
