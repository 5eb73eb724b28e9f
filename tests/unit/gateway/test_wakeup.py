"""One wake per function, repeated while somebody waits."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core.policy import Policy
from penstock.gateway import wakeup
from penstock.gateway.counters import FunctionCounters
from penstock.gateway.routes import FunctionRoute
from tests.unit.gateway.support import eventually


class Waiting:
    alive = True

    def needs(self, function: FunctionRoute) -> int:
        return 1

    def go(self) -> None: ...
    def awaits(self, replica: bool) -> None: ...
    def removed(self) -> None: ...
    def failed(self) -> None: ...


def sleeping(key: str = "x.ns") -> FunctionRoute:
    return FunctionRoute(key, Policy(), FunctionCounters(key))


async def test_the_first_request_that_waits_asks_and_the_others_do_not() -> None:
    sent: list[str] = []
    wake, function = wakeup.Wakeup(sent.append), sleeping()
    for _ in range(5):
        function.waiting.append(Waiting())
        wake.ask(function)
    assert sent == ["x.ns"]


async def test_functions_are_asked_for_one_by_one() -> None:
    sent: list[str] = []
    wake = wakeup.Wakeup(sent.append)
    for key in ("x.ns", "y.ns"):
        function = sleeping(key)
        function.waiting.append(Waiting())
        wake.ask(function)
    assert sent == ["x.ns", "y.ns"]


async def test_a_wake_is_repeated_while_somebody_waits_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "REPEAT", 0.02)
    sent: list[str] = []
    wake, function = wakeup.Wakeup(sent.append), sleeping()
    function.waiting.append(Waiting())
    wake.ask(function)
    await eventually(lambda: len(sent) >= 3, "repetitions")
    function.waiting.clear()
    await asyncio.sleep(0.05)
    asked = len(sent)
    await asyncio.sleep(0.1)
    assert len(sent) == asked
