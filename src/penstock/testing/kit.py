"""What the rules of the provider suite are written with: the provider under test, ways to wait, and the failure that names a rule.

Used by `penstock.testing.provider_suite` and the files beside it that hold rules.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from penstock.errors import PenstockError
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionEvent, FunctionSpec
from penstock.providers.base import Provider


class ConformanceFailure(AssertionError):
    """A rule of the protocol that the provider breaks, in words."""


@dataclass(frozen=True)
class Kit:
    """A provider under test and what is needed to test it with."""

    provider: Provider
    program: str = "cat"
    """A program that stays ready; for providers of images, what their test image runs."""
    image: str = ""
    timeout: float = 30.0
    """Seconds in which anything that should happen has happened."""

    def spec(self, name: str, **fields: Any) -> FunctionSpec:
        """A specification that becomes ready."""
        given = {"env_process": self.program, "image": self.image, **fields}
        return FunctionSpec(name=name, **given)

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition; ConformanceFailure naming it when it does not come true in time."""
        deadline = time.monotonic() + self.timeout
        while not await holds():
            expect(time.monotonic() < deadline, f"within {self.timeout:g} s: {what}")
            await asyncio.sleep(0.005)

    async def until_ready(self, name: str, replicas: int = 1, namespace: str = DEFAULT_NAMESPACE) -> Function:
        seen: list[Function] = []

        async def holds() -> bool:
            seen[:] = [await self.provider.get(name, namespace)]
            return seen[0].available == replicas == len(seen[0].replicas)

        await self.until(f"{name} has exactly {replicas} replicas and all of them are ready", holds)
        return seen[0]

    async def deploy(self, name: str, **fields: Any) -> Function:
        """Deploy and wait until as many replicas as asked for are ready."""
        spec = self.spec(name, **fields)
        await self.provider.deploy(spec)
        wanted = (await self.provider.get(name, spec.namespace)).desired
        return await self.until_ready(name, wanted, spec.namespace)


Check = Callable[[Kit], Awaitable[None]]


def expect(holds: bool, rule: str) -> None:
    if not holds:
        raise ConformanceFailure(rule)


async def expect_error(
    kind: type[PenstockError] | tuple[type[PenstockError], ...], call: Awaitable[Any], rule: str
) -> str:
    """The message of the error that `call` must end with."""
    try:
        await call
    except kind as error:
        expect(bool(str(error)), f"{rule}: the error has a message")
        return str(error)
    except PenstockError as error:
        raise ConformanceFailure(f"{rule}: raised {type(error).__name__} instead: {error}") from error
    raise ConformanceFailure(f"{rule}: nothing was raised")


class Watch:
    """A `watch()` being read, with the last state of each function."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self.events: list[FunctionEvent] = []
        self._stream = kit.provider.watch()

    async def next(self) -> FunctionEvent:
        try:
            event = await asyncio.wait_for(anext(self._stream), self._kit.timeout)
        except TimeoutError:
            raise ConformanceFailure(f"within {self._kit.timeout:g} s: another event") from None
        self.events.append(event)
        return event

    async def until(self, holds: Callable[[FunctionEvent], bool]) -> FunctionEvent:
        while not holds(event := await self.next()):
            pass
        return event

    async def until_ready(self, key: str, replicas: int) -> Function:
        def holds(event: FunctionEvent) -> bool:
            return event.key == key and event.function is not None and event.function.available == replicas

        event = await self.until(holds)
        if event.function is None:
            raise ConformanceFailure("a changed event carries its function")
        return event.function

    async def aclose(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close:
            await close()
