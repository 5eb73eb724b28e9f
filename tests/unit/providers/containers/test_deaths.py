"""The stream of an engine's events, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers.containers.deaths import OVERLAP, Happening, Watch, happening_of, timestamp_of
from penstock.providers.containers.engine import EngineRefused
from tests.unit.providers.containers.makings import settled
from tests.unit.providers.containers.scripted import ScriptedEngine

DIE = {
    "Type": "container",
    "Action": "die",
    "Actor": {"ID": "c1", "Attributes": {"exitCode": "3"}},
    "timeNano": 5 * 10**9,
}


class Listener:
    def __init__(self) -> None:
        self.heard: list[Happening] = []
        self.looked = self.came_back = 0
        self.trouble: Exception | None = None

    async def look_again(self, info: dict[str, Any]) -> None:
        self.looked += 1
        if self.trouble:
            raise self.trouble

    def happened(self, happening: Happening) -> None:
        self.heard.append(happening)

    def back(self) -> None:
        self.came_back += 1


class Watched:
    def __init__(self) -> None:
        self.engine = ScriptedEngine({("GET", "/info"): {"SystemTime": "2026-01-02T03:04:05.5Z"}})
        self.listener = Listener()
        self.pauses: list[float] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.watch = Watch(self.engine, self.listener, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.go_on.wait()


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    one = Watched()
    task = asyncio.create_task(one.watch.run(one.watch.connected({"SystemTime": "2026-01-02T03:04:05Z"})))
    try:
        yield one
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_it_is_in_order_as_soon_as_everything_was_looked_at() -> None:
    one = Watched()
    assert "not connected yet" in one.watch.problem
    one.watch.connected({})
    assert one.watch.problem == ""


async def test_what_happens_is_told() -> None:
    async with watched() as one:
        await one.engine.events.put(DIE)
        await settled(lambda: one.listener.heard)
        assert one.listener.heard == [Happening("die", "c1", "", 5.0)]
        [asked] = one.engine.asked("GET", "/events")
        assert asked.params["since"] == f"{1767323045 - OVERLAP}.000000000"


@pytest.mark.parametrize("end", [None, ProviderUnavailable("it broke off")])
async def test_after_a_break_everything_is_looked_at_before_events_are_read_again(end: Exception | None) -> None:
    async with watched() as one:
        one.go_on.clear()
        await one.engine.events.put(end)
        await settled(lambda: one.watch.problem)
        assert ("ended the stream" if end is None else "it broke off") in one.watch.problem
        one.go_on.set()
        await settled(lambda: one.listener.came_back)
        assert (one.listener.looked, one.watch.problem) == (1, "")
        await settled(lambda: len(one.engine.asked("GET", "/events")) == 2)


async def test_an_engine_that_stays_away_is_asked_ever_more_rarely() -> None:
    async with watched() as one:
        one.engine.answers["GET", "/info"] = ProviderUnavailable("gone")
        await one.engine.events.put(None)
        await settled(lambda: len(one.pauses) >= 8)
        assert one.pauses[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
        assert one.watch.problem == "gone"
        assert not one.listener.came_back


async def test_an_engine_that_cannot_be_looked_at_is_not_back() -> None:
    async with watched() as one:
        one.listener.trouble = EngineRefused(500, "cannot list")
        await one.engine.events.put(None)
        await settled(lambda: one.listener.looked >= 2)
        assert one.watch.problem == "cannot list"
        one.listener.trouble = None
        await settled(lambda: one.listener.came_back)


async def test_an_event_that_makes_no_sense_is_a_break_and_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async with watched() as one:
        await one.engine.events.put({**DIE, "timeNano": "soon"})
        await settled(lambda: one.listener.came_back)
        await one.engine.events.put(DIE)
        await settled(lambda: one.listener.heard)
    assert "could not be followed" in caplog.text


async def test_a_list_that_makes_no_sense_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    async with watched() as one:
        one.listener.trouble = KeyError("Id")
        await one.engine.events.put(None)
        await settled(lambda: one.listener.looked >= 2)
        assert "KeyError('Id')" in one.watch.problem
        one.listener.trouble = None
        await settled(lambda: one.listener.came_back)
    assert "could not be compared" in caplog.text


def test_a_network_says_which_container_left_it() -> None:
    attributes = {"container": "c1", "name": "net", "type": "bridge"}
    document = {"Type": "network", "Action": "disconnect", "Actor": {"ID": "n1", "Attributes": attributes}}
    assert happening_of(document) == Happening("disconnect", "c1", "net", math.inf)


@pytest.mark.parametrize("document", [{}, {"Action": "start"}, {"Action": "die"}, {"Action": "die", "Actor": None}])
def test_other_events_say_nothing(document: dict[str, Any]) -> None:
    assert happening_of(document) is None


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("1970-01-01T00:01:40.5Z", f"{100 - OVERLAP}.500000000"),
        ("1970-01-01T02:01:40.123456789+02:00", f"{100 - OVERLAP}.123456789"),
        ("1970-01-01T00:01:40Z", f"{100 - OVERLAP}.000000000"),
        ("", "0"),
        ("yesterday", "0"),
    ],
)
def test_times_become_what_engines_take_back(text: str, stamp: str) -> None:
    assert timestamp_of(text) == stamp
