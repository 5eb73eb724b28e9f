"""Waiting for what a provider reports, shared by the tests of all providers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from penstock.model import DEFAULT_NAMESPACE, Function
from penstock.providers.base import Provider
from tests.engines.waiting import DEADLINE


async def until(what: str, holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a condition with a generous deadline."""
    deadline = time.monotonic() + DEADLINE
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, f"not within {DEADLINE:g} s: {what}"
        await asyncio.sleep(0.01)


async def ready(provider: Provider, name: str, replicas: int = 1) -> Function:
    """Wait until exactly so many replicas are there and ready."""
    seen: list[Function] = []

    async def holds() -> bool:
        seen[:] = [await provider.get(name, DEFAULT_NAMESPACE)]
        return seen[0].available == replicas == len(seen[0].replicas)

    try:
        await until(f"{name} has {replicas} ready replicas", holds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen}") from error
    return seen[0]


async def reason(provider: Provider, name: str, part: str) -> str:
    """Wait until a replica's reason has this in it; the whole reason."""
    found = ""

    async def holds() -> bool:
        nonlocal found
        found = " / ".join(one.reason for one in (await provider.get(name, DEFAULT_NAMESPACE)).replicas)
        return part in found

    try:
        await until(f"a reason of {name} with {part!r}", holds)
    except AssertionError as error:
        raise AssertionError(f"{error}, it was {found!r}") from error
    return found
