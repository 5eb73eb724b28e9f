"""A memory provider whose time tests move by hand, with one function `f`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec, Replica
from penstock.providers.memory import MemoryProvider, ScriptOf
from penstock.testing.clock import FakeClock

NS = DEFAULT_NAMESPACE


@asynccontextmanager
async def started(script: ScriptOf) -> AsyncIterator[tuple[MemoryProvider, FakeClock]]:
    clock = FakeClock()
    provider = MemoryProvider(script, clock=clock)
    await provider.start()
    yield provider, clock
    closing = asyncio.create_task(provider.close())
    while not closing.done():
        await clock.advance(1)


def spec(version: str = "1", **labels: str) -> FunctionSpec:
    return FunctionSpec(name="f", env_process="cat", env_vars={"V": version}, labels=labels)


def annotated(annotations: dict[str, str], version: str = "1", replicas: str = "1") -> FunctionSpec:
    return FunctionSpec(
        name="f",
        env_process="cat",
        env_vars={"V": version},
        labels={"com.openfaas.scale.min": replicas},
        annotations=annotations,
    )


async def view(provider: MemoryProvider) -> Function:
    return await provider.get("f", NS)


async def only(provider: MemoryProvider) -> Replica:
    (replica,) = (await view(provider)).replicas
    return replica
