"""An installation in memory whose load and time a test sets: the scaler, a provider, and counts as workers would report them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from penstock.autoscaler.journal import Decision
from penstock.autoscaler.loads import Loads
from penstock.autoscaler.scaler import Scaler
from penstock.autoscaler.sources import Sources
from penstock.core.names import split_key
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec
from penstock.providers.memory import MemoryProvider, Script
from penstock.testing.clock import FakeClock

KEY = f"f.{DEFAULT_NAMESPACE}"


@dataclass
class Totals:
    started: dict[str, int] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)


class Counts:
    """What the workers of the gateway have counted."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.level: dict[str, int] = {}
        self.late = False

    async def flush(self, timeout: float) -> bool:
        """Everything is there already, unless a test lets a worker be late."""
        return not self.late

    def inflight(self) -> dict[str, int]:
        return self.level


class Provider(MemoryProvider):
    """One that can refuse to scale a function, or never answer."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(script=lambda spec: self.script, clock=clock)
        self.script = Script()
        """What replicas do that are started from now on."""
        self.refuses: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.scaled: list[tuple[str, int]] = []

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        key = f"{name}.{namespace}"
        self.scaled.append((key, replicas))
        if key in self.hangs:
            await asyncio.Event().wait()
        if key in self.refuses:
            raise self.refuses[key]
        await super().scale(name, namespace, replicas)


class Plant:
    """Everything together; time goes on in `second` only."""

    def __init__(self, loads: Loads | None = None, **sources: object) -> None:
        self.clock = FakeClock()
        self.provider = Provider(self.clock)
        self.functions: dict[str, Function] = {}
        self.counts = Counts()
        self.sources = Sources(loads=loads or Loads(), **sources)  # type: ignore[arg-type]
        self.scaler = self.new_scaler(self.sources)

    def new_scaler(self, sources: Sources) -> Scaler:
        return Scaler(self.provider, self.functions, self.counts, self.clock, sources)

    async def follow(self) -> None:
        async for event in self.provider.watch():
            if event.function:
                self.functions[event.key] = event.function
                self.scaler.saw(event.function)
            elif event.kind == "removed":
                self.functions.pop(event.key, None)

    async def deploy(self, name: str = "f", **labels: str) -> None:
        """`labels` without `com.openfaas.scale.`, `_` for `-` and `.`."""
        await self.provider.deploy(self.spec(name, **labels))
        await self.clock.settle()

    async def update(self, name: str = "f", **labels: str) -> None:
        await self.provider.update(self.spec(name, **labels))
        await self.clock.settle()

    @staticmethod
    def spec(name: str, **labels: str) -> FunctionSpec:
        spelled = {"proportion": "target-proportion", "window": "down.window", "zero_after": "zero-duration"}
        full = {
            f"com.openfaas.scale.{spelled.get(label, label)}": text
            for label, text in labels.items()
            if label != "learn"
        }
        if "learn" in labels:
            full["com.penstock.scale.zero-duration"] = labels["learn"]
        return FunctionSpec(name=name, env_process="cat", labels=full)

    async def second(self, rps: float = 0, inflight: float = 0, key: str = KEY) -> int:
        """A second of this load, then a tick: replicas wanted of the function."""
        await self.seconds(1, rps, inflight, key)
        return self.desired(key)

    async def seconds(self, count: int, rps: float = 0, inflight: float = 0, key: str = KEY) -> list[int]:
        """Replicas wanted after each tick."""
        seen = []
        totals = self.counts.totals
        for _ in range(count):
            await self.clock.advance(1)
            totals.started[key] = totals.started.get(key, 0) + round(rps)
            totals.busy[key] = totals.busy.get(key, 0.0) + inflight
            self.counts.level = {key: round(inflight)} if inflight else {}
            await self.scaler.tick()
            await self.clock.settle()
            seen.append(self.desired(key))
        return seen

    def desired(self, key: str = KEY) -> int:
        return self.functions[key].desired

    async def wake(self, key: str = KEY) -> None:
        """As the feed does for a request that comes at a function at rest."""
        name, namespace = split_key(key, DEFAULT_NAMESPACE)
        await self.provider.scale(name, namespace, 1)
        await self.clock.settle()

    def decisions(self, key: str = KEY) -> tuple[Decision, ...]:
        return self.scaler.journal.of(key)

    def rules(self, key: str = KEY) -> list[str]:
        return [decision.rule for decision in self.decisions(key)]


@contextlib.asynccontextmanager
async def plant(loads: Loads | None = None, running: Plant | None = None, **sources: object) -> AsyncIterator[Plant]:
    """`running` is one that a test has made itself."""
    running = running or Plant(loads, **sources)
    await running.provider.start()
    following = asyncio.create_task(running.follow())
    try:
        await running.scaler.tick()
        yield running
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        closing = asyncio.create_task(running.provider.close())
        while not closing.done():  # replicas that end have some of this clock's time to do so
            await running.clock.advance(1)
        await closing
