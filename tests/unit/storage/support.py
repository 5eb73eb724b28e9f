"""What tests of events share: events, functions that subscribe, a caller that answers as it is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from penstock.core.topics import Kind
from penstock.model import Function, FunctionSpec
from penstock.storage.delivery import Deliverer, Limits, Outcome
from penstock.storage.eventlog import EventLog
from penstock.storage.objectevent import ObjectEvent
from penstock.testing.clock import FakeClock

BORN = datetime(2026, 1, 1, tzinfo=UTC)
WELL = Outcome(200, "200")


def event(key: str = "a.jpg", kind: Kind = "created", bucket: str = "photos", identity: str = "1") -> ObjectEvent:
    name = "s3:ObjectCreated:Put" if kind == "created" else "s3:ObjectRemoved:Delete"
    return ObjectEvent(name=name, kind=kind, bucket=bucket, key=key, etag="e1", size=3, identity=identity)


def function(name: str = "f", topic: str = "s3:photos", **storage: str) -> Function:
    annotations = {"topic": topic, **{f"com.penstock.storage.{word}": text for word, text in storage.items()}}
    return Function(spec=FunctionSpec(name=name, annotations=annotations), desired=1, created_at=BORN)


def by_key(*functions: Function) -> dict[str, Function]:
    return {one.key: one for one in functions}


class ScriptedCaller:
    """Gives outcomes in their order, then success; keeps what it was asked. While `held` is not set calls wait."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = deque(outcomes)
        self.calls: list[tuple[str, Mapping[str, str]]] = []
        self.cancelled = 0
        self.go = asyncio.Event()
        self.go.set()

    async def call(self, function: str, headers: Mapping[str, str]) -> Outcome:
        self.calls.append((function, headers))
        outcome = self.outcomes.popleft() if self.outcomes else WELL
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return outcome

    @property
    def ids(self) -> list[str]:
        return [headers["X-Call-Id"] for _, headers in self.calls]


class Deliveries:
    """A deliverer that runs, on a clock that stands still."""

    def __init__(
        self, path: Path, functions: Mapping[str, Function], caller: ScriptedCaller, limits: Limits | None = None
    ) -> None:
        self.clock = FakeClock()
        self.log = EventLog(path / "events.db")
        self.caller = caller
        self.deliverer = Deliverer(self.log, functions, caller, self.clock, {"photos", "out"}, limits)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.deliverer.run())
        await self.deliverer.opened(60)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let it work, without time going on, until something is so: its log is written by a thread."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - a condition of many kinds, of a thread's work too
                await asyncio.sleep(0.001)

    async def at_rest(self) -> None:
        """Until nothing is in progress and it only waits for time to go on."""
        await self.until(lambda: not self.deliverer.in_flight)
        await self.log.dead(1)
        await self.until(lambda: self.clock.sleepers >= 2)
