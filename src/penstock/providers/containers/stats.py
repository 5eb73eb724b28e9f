"""What containers use together, as `docker stats` counts it: CPU over a while, memory without the page cache.

`usage_of` is for who asks once: the docker runtime, and Swarm for the tasks of the engine that it speaks to. `ContainerMeter` is for
who asks again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, NamedTuple

from penstock.errors import ProviderUnavailable
from penstock.model import Usage
from penstock.providers.clock import Clock, SystemClock
from penstock.providers.containers.engine import Document, Engine, EngineRefused

INTERVAL = 0.25
"""Seconds between two samples; counters are of nanoseconds, so that little is gained by more. Docker 20.10 reads them once a
second, which makes this one to two seconds; without `one-shot` it is always two."""
LONGEST = 60.0
"""Seconds; a sample of longer ago says little about now."""
LIMIT = 10.0
"""Seconds for all answers."""
AT_ONCE = 4
"""Functions of which use is asked for at once; an engine takes a second for each, and has other things to do."""


class _Look(NamedTuple):
    """The CPU counter of one container at one moment of the engine's clock."""

    when: float
    nanoseconds: int

    def millis(self, later: _Look) -> float:
        """Thousandths of a core from here to a later look; 0 where the counter or the time did not grow."""
        seconds = later.when - self.when
        return max(0.0, (later.nanoseconds - self.nanoseconds) / 1e9 / seconds * 1000) if seconds > 0 else 0.0

    def serves(self, later: _Look) -> bool:
        """Whether CPU can be told by these two: enough time passed, not too much, and the container is the same start."""
        return INTERVAL <= later.when - self.when <= LONGEST and self.nanoseconds <= later.nanoseconds


class ContainerMeter:
    """Remembers the last look at each container. CPU is that since then, so that a short burst is neither missed nor taken for all of
    the time, and a limit, which the kernel gives out in slices of a tenth of a second, does not make it jump."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looks: dict[str, _Look] = {}

    async def usages(self, groups: Mapping[str, Sequence[str]], starting: Set[str]) -> dict[str, Usage]:
        """What the containers of each function use together, of those that are `starting` memory only. Functions of which the
        engine does not tell are missing, and those none of whose containers was looked at shortly before."""
        few = asyncio.Semaphore(AT_ONCE)

        async def measure(ids: Sequence[str]) -> Usage | None:
            async with few:
                return await self._measure(ids, starting)

        measured = await asyncio.gather(*(measure(ids) for ids in groups.values()))
        self._forget()
        return {key: usage for key, usage in zip(groups, measured, strict=True) if usage}

    async def _measure(self, ids: Sequence[str], starting: Set[str]) -> Usage | None:
        try:
            async with asyncio.timeout(LIMIT):
                samples = await asyncio.gather(*(_sample(self._engine, one) for one in ids))
        except (ProviderUnavailable, EngineRefused, TimeoutError):
            return None
        running = {one: sample for one, sample in zip(ids, samples, strict=True) if sample}
        serving = {one: _look(sample) for one, sample in running.items() if one not in starting}
        spent = [millis for one, look in serving.items() if (millis := self._since(one, look)) is not None]
        if serving and not spent:
            return None
        return Usage(cpu_millis=sum(spent), memory_bytes=sum(map(_memory, running.values())))

    def _since(self, container: str, look: _Look) -> float | None:
        """Thousandths of a core since the last look at it; None for the first, since which there is nothing but a start."""
        before = self._looks.get(container)
        if before is not None and abs(look.when - before.when) < INTERVAL:
            return None
        self._looks[container] = look
        return before.millis(look) if before is not None and before.serves(look) else None

    def _forget(self) -> None:
        """Containers that are gone."""
        latest = max((look.when for look in self._looks.values()), default=0.0)
        for container in [one for one, look in self._looks.items() if latest - look.when > LONGEST]:
            del self._looks[container]


async def usage_of(engine: Engine, ids: Iterable[str], clock: Clock | None = None) -> Usage | None:
    """What these containers use together; those that ended count nothing. None when the engine does not tell."""
    clock = clock or SystemClock()
    try:
        async with asyncio.timeout(LIMIT):
            each = await asyncio.gather(*(_usage(engine, one, clock) for one in ids))
    except (ProviderUnavailable, EngineRefused, TimeoutError):
        return None
    return Usage(cpu_millis=sum(one.cpu_millis for one in each), memory_bytes=sum(one.memory_bytes for one in each))


async def _usage(engine: Engine, container: str, clock: Clock) -> Usage:
    """CPU over INTERVAL."""
    sample = await _sample(engine, container)
    if sample is None:
        return Usage()
    if (begun := _time(sample, "preread")) is not None:
        # An engine older than 20.10 knows no `one-shot`: it took a second and two samples.
        before = _Look(begun, _total(sample.get("precpu_stats")))
    else:
        before = _look(sample)
        await clock.sleep(INTERVAL)
        sample = await _sample(engine, container)
        if sample is None:
            return Usage()
    return Usage(cpu_millis=before.millis(_look(sample)), memory_bytes=_memory(sample))


async def _sample(engine: Engine, container: str) -> Document | None:
    """None when it does not run (any more)."""
    try:
        sample: Document = await engine.get(f"/containers/{container}/stats", **{"stream": "false", "one-shot": "true"})
    except EngineRefused as error:
        if error.code in (404, 409):
            return None
        raise
    return sample if _time(sample, "read") is not None else None


def _look(sample: Document) -> _Look:
    return _Look(_time(sample, "read") or 0.0, _total(sample.get("cpu_stats")))


def _total(cpu: Document | None) -> int:
    """Nanoseconds of CPU since the container's start."""
    return int(((cpu or {}).get("cpu_usage") or {}).get("total_usage") or 0)


def _memory(sample: Document) -> float:
    """Bytes without pages of files that nobody used lately: under version 1 of control groups, and 2."""
    memory: dict[str, Any] = sample.get("memory_stats") or {}
    details = memory.get("stats") or {}
    used = int(memory.get("usage") or 0)
    cache = int(details.get("total_inactive_file", details.get("inactive_file", 0)) or 0)
    return float(used - cache if cache < used else used)


def _time(sample: Document, name: str) -> float | None:
    """Seconds since 1970; None for the year 1, by which the engine says that there was no such sample."""
    try:
        when = datetime.fromisoformat(str(sample.get(name)))
    except ValueError:
        return None
    return when.timestamp() if when.year > 1 else None
