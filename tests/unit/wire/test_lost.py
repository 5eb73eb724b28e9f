"""Connections are looked at by one timer, however often they come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from penstock.wire.lost import TICKS, Lookout


class Timers:
    """A loop of which only timers are wanted."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        self.waiting.append((delay, callback))
        return callback

    def fire(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, callback in waiting:
            callback()


class Peer:
    def __init__(self) -> None:
        self.checked: list[float] = []

    def check_peer(self, patience: float) -> None:
        self.checked.append(patience)


def lookout(patience: float) -> tuple[Timers, Lookout]:
    timers = Timers()
    return timers, Lookout(cast(asyncio.AbstractEventLoop, cast(Any, timers)), patience)


async def test_each_that_is_open_is_looked_at_once_a_tick() -> None:
    timers, looks = lookout(5.0)
    one, other = Peer(), Peer()
    for peer in (one, other):
        looks.add(peer)
    assert [delay for delay, _ in timers.waiting] == [5.0 / TICKS]
    timers.fire()
    looks.discard(other)
    timers.fire()
    assert (one.checked, other.checked) == ([5.0, 5.0], [5.0])


async def test_there_is_one_timer_though_connections_come_and_go_between_two_ticks() -> None:
    timers, looks = lookout(5.0)
    for _ in range(20):
        peer = Peer()
        looks.add(peer)
        looks.discard(peer)
    looks.add(last := Peer())
    assert len(timers.waiting) == 1
    timers.fire()
    assert (len(timers.waiting), len(last.checked)) == (1, 1)


async def test_it_ends_with_the_last_connection_and_begins_again_with_the_next() -> None:
    timers, looks = lookout(5.0)
    looks.add(peer := Peer())
    looks.discard(peer)
    timers.fire()
    assert timers.waiting == []
    looks.add(peer)
    assert len(timers.waiting) == 1


async def test_no_patience_is_no_look() -> None:
    timers, looks = lookout(0.0)
    looks.add(Peer())
    assert timers.waiting == []
