"""Fixtures of the gateway tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from penstock.gateway import wakeup
from tests.unit.gateway.support import DEADLINE, Gateway


@pytest.fixture(autouse=True)
def one_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake is not repeated because a test is slow."""
    monkeypatch.setattr(wakeup, "REPEAT", DEADLINE)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A worker whose control has connected and said nothing yet."""
    running = Gateway()
    await running.start()
    yield running
    await running.stop()
