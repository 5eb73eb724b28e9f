"""What functions use, measured again and again: the load of functions scaled by `cpu`, and a metric of all others.

The scaler and the metrics read it; it asks the provider, where that can measure. Those that decide by it are measured every
OFTEN seconds, all others every SELDOM, a slice of them at a time, so that a thousand functions are no burst of work.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from penstock.core.scalelabels import TYPE_LABEL
from penstock.errors import PenstockError
from penstock.model import Function, Usage
from penstock.providers.base import Measuring
from penstock.providers.clock import Clock

log = logging.getLogger(__name__)

OFTEN = 2.0
SELDOM = 15.0
SLICES = 5

CPU_AGE = 15.0
"""Seconds after which a measurement is no load to decide by; an engine may take 10 s to tell one."""
USAGE_AGE = 60.0
"""Seconds after which it is not shown any more."""


class _Measured(NamedTuple):
    when: float
    usage: Usage


def scaled_by_cpu(functions: Mapping[str, Function]) -> list[str]:
    """Functions that are decided about by what they use."""
    return [key for key, function in functions.items() if function.spec.labels.get(TYPE_LABEL) == "cpu"]


class UsageSampler:
    """The latest measurement of each function. No function is measured twice at once."""

    def __init__(
        self,
        provider: object,
        functions: Mapping[str, Function],
        clock: Clock,
        wants: Callable[[], Iterable[str]] | None = None,
        named: str = "",
    ) -> None:
        """`functions` are those that there are, kept up to date by others; `wants` tells which to measure often; the provider is
        `named` to people."""
        self._provider = provider if isinstance(provider, Measuring) else None
        self._functions = functions
        self._clock = clock
        self._wants = wants or (lambda: scaled_by_cpu(functions))
        self._named = named
        self._latest: dict[str, _Measured] = {}
        self._asked: set[str] = set()
        self._failing = False

    async def run(self) -> None:
        """Measure until cancelled; returns at once where the provider cannot."""
        if self._provider is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_often(self._provider))
            group.create_task(self._follow_seldom(self._provider))

    def cpu(self, key: str) -> float | None:
        """Thousandths of a core of all replicas together, starts left out; None while there are only starts, and when nobody
        knows, or knew it too long ago."""
        function, usage = self._functions.get(key), self._known(key, CPU_AGE)
        if function is None or usage is None or (function.replicas and not function.available):
            return None
        return usage.cpu_millis

    def why(self, key: str) -> str:
        """Why the CPU is not known; empty when it is."""
        if self._provider is None:
            return f"the {self._named} provider cannot measure CPU"
        if self.cpu(key) is not None:
            return ""
        function = self._functions.get(key)
        ready = function is not None and function.available
        return "CPU has not been measured yet" if ready else "no replica is ready whose CPU could be measured"

    def usage(self, key: str) -> Usage | None:
        """As `cpu`, with memory, and older."""
        return self._known(key, USAGE_AGE)

    def _known(self, key: str, age: float) -> Usage | None:
        function = self._functions.get(key)
        if self._provider is None or function is None:
            return None
        if not function.replicas:
            return Usage()
        measured = self._latest.get(key)
        fresh = measured is not None and self._clock.monotonic() - measured.when <= age
        return measured.usage if measured and fresh else None

    async def _follow_often(self, provider: Measuring) -> None:
        while True:
            begun = self._clock.monotonic()
            await self._measure(provider, set(self._wants()))
            await self._until(begun + OFTEN)

    async def _follow_seldom(self, provider: Measuring) -> None:
        number = 0
        while True:
            begun = self._clock.monotonic()
            often = set(self._wants())
            turn = {key for key in self._functions if zlib.crc32(key.encode()) % SLICES == number}
            await self._measure(provider, turn - often)
            for key in self._latest.keys() - self._functions.keys():
                del self._latest[key]
            number = (number + 1) % SLICES
            await self._until(begun + SELDOM / SLICES)

    async def _until(self, when: float) -> None:
        await self._clock.sleep(max(0.0, when - self._clock.monotonic()))

    async def _measure(self, provider: Measuring, keys: Collection[str]) -> None:
        present = self._functions
        keys = [key for key in keys if key in present and present[key].replicas and key not in self._asked]
        if not keys:
            return
        self._asked.update(keys)
        try:
            measured = await provider.usages(keys)
        except PenstockError as error:
            self._fail("what functions use is not known: %s", error)
        except Exception as error:
            self._fail("what functions use is not known", error, defect=True)
        else:
            self._failing = False
            now = self._clock.monotonic()
            self._latest.update((key, _Measured(now, usage)) for key, usage in measured.items())
        finally:
            self._asked.difference_update(keys)

    def _fail(self, words: str, error: Exception, defect: bool = False) -> None:
        """Said once, not every few seconds."""
        if not self._failing:
            log.warning(words, *([] if defect else [error]), exc_info=error if defect else None)
        self._failing = True
