"""Every asynchronous test of `wire` runs on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from penstock.wire import client, connection
from tests.unit.wire.support import DEADLINE


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut before its peer has read it, however long this process stands still."""
    for module in (client, connection):
        monkeypatch.setattr(module, "LINGER", DEADLINE)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
