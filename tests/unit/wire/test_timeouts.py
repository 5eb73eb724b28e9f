from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from penstock.wire.timeouts import NEVER, Sweeper
from tests.unit.wire.support import until

INTERVAL = 0.01


class Item:
    """Waits until its deadline, then does what the test wants."""

    def __init__(self, deadline: float, then: Callable[[], None] = lambda: None) -> None:
        self.deadline = deadline
        self.then = then
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1
        self.deadline = NEVER
        self.then()


def sweeper() -> Sweeper:
    return Sweeper(asyncio.get_running_loop(), INTERVAL)


async def test_an_item_expires_once_after_its_deadline_and_not_before() -> None:
    watch = sweeper()
    item, other = Item(watch.now + 5 * INTERVAL), Item(NEVER)
    watch.watch(item)
    watch.watch(other)
    deadline = item.deadline
    await until(lambda: item.expired)
    assert asyncio.get_running_loop().time() >= deadline
    await until(lambda: watch.now > deadline + 3 * INTERVAL)
    assert (item.expired, other.expired) == (1, 0)


async def test_a_deadline_may_be_moved_by_assignment() -> None:
    watch = sweeper()
    item = Item(watch.now + INTERVAL)
    watch.watch(item)
    item.deadline = NEVER
    before = watch.now
    await until(lambda: watch.now > before + 4 * INTERVAL)
    assert item.expired == 0
    item.deadline = watch.now
    await until(lambda: item.expired)


async def test_nothing_ticks_while_nothing_waits_and_time_is_fresh_when_something_does() -> None:
    watch = sweeper()
    item = Item(NEVER)
    watch.watch(item)
    watch.unwatch(item)
    await until(lambda: watch._handle is None)
    stale = watch.now
    await until(lambda: asyncio.get_running_loop().time() > stale + 3 * INTERVAL)
    assert watch.now == stale
    watch.watch(item)
    assert watch.now > stale


async def test_an_item_that_another_one_took_away_does_not_expire() -> None:
    watch = sweeper()
    items = [Item(0.0), Item(0.0)]

    def unwatch_all() -> None:
        for item in items:
            watch.unwatch(item)

    for item in items:
        item.then = unwatch_all
        watch.watch(item)
    await until(lambda: watch._handle is None)
    assert sum(item.expired for item in items) == 1


async def test_an_item_whose_deadline_another_one_moved_does_not_expire() -> None:
    watch = sweeper()
    items = [Item(0.0), Item(0.0)]

    def postpone() -> None:
        for item in items:
            item.deadline = NEVER

    for item in items:
        item.then = postpone
        watch.watch(item)
    before = watch.now
    await until(lambda: watch.now > before + 3 * INTERVAL)
    assert sum(item.expired for item in items) == 1


async def test_an_item_that_raises_does_not_stop_the_others() -> None:
    raised: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context["exception"]))
    watch = sweeper()

    def fail() -> None:
        raise RuntimeError("boom")

    items = [Item(0.0, fail), Item(0.0), Item(0.0, fail), Item(0.0)]
    for item in items:
        watch.watch(item)
    await until(lambda: all(item.expired == 1 for item in items))
    assert [str(error) for error in raised] == ["boom", "boom"]


@pytest.mark.parametrize("count", [1, 500])
async def test_items_may_come_and_go_while_others_expire(count: int) -> None:
    watch = sweeper()
    late = Item(0.0)
    items = [Item(0.0, lambda: watch.watch(late)) for _ in range(count)]
    for item in items:
        watch.watch(item)
    await until(lambda: late.expired)
    assert all(item.expired == 1 for item in items)
