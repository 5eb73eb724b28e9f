from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from penstock.model import Function, FunctionSpec
from penstock.providers.watching import Watchers


def function(name: str, desired: int = 1) -> Function:
    return Function(spec=FunctionSpec(name=name), desired=desired, created_at=datetime(2026, 1, 1, tzinfo=UTC))


async def test_a_function_that_comes_and_goes_unseen_is_not_mentioned() -> None:
    functions: dict[str, Function] = {}
    watchers = Watchers(functions.get, lambda: list(functions))
    stream = watchers.stream()
    assert (await anext(stream)).kind == "synced"
    watchers.publish("ghost.ns")
    functions["real.ns"] = function("real")
    watchers.publish("real.ns")
    event = await anext(stream)
    assert (event.kind, event.key) == ("changed", "real.ns")


async def test_changes_are_folded_into_the_latest_state_in_their_first_order() -> None:
    functions = {"a.ns": function("a"), "b.ns": function("b")}
    watchers = Watchers(functions.get, lambda: list(functions))
    stream = watchers.stream()
    assert [(await anext(stream)).key for _ in range(3)] == ["a.ns", "b.ns", ""]
    for desired in range(5):
        functions["b.ns"] = function("b", desired)
        watchers.publish("b.ns")
        watchers.publish("a.ns")
    event = await anext(stream)
    assert event.function and event.function.desired == 4
    assert (await anext(stream)).key == "a.ns"


async def test_streams_end_when_the_provider_closes_and_are_forgotten() -> None:
    watchers = Watchers(lambda key: None, list)

    async def watch() -> list[str]:
        return [event.kind async for event in watchers.stream()]

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    watchers.close()
    assert await watching == ["synced"]
    assert not watchers._streams
