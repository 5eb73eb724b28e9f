"""What containers use together, as `docker stats` counts it: CPU over a short while, memory without the page cache.

Called by the docker runtime, and by Swarm for the tasks of the engine that it speaks to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from penstock.errors import ProviderUnavailable
from penstock.model import Usage
from penstock.providers.clock import Clock, SystemClock
from penstock.providers.containers.engine import Document, Engine, EngineRefused

INTERVAL = 0.25
"""Seconds between two samples; counters are of nanoseconds, so that little is gained by more. Docker 20.10 reads them once a
second, which makes this one to two seconds; without `one-shot` it is always two."""
LIMIT = 10.0
"""Seconds for all answers."""


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
    first = await _sample(engine, container)
    if first is None:
        return Usage()
    if _time(first, "preread") is not None:
        # An engine older than 20.10 knows no `one-shot`: it took a second and two samples.
        before = {"read": first["preread"], "cpu_stats": first.get("precpu_stats")}
        return Usage(cpu_millis=_cpu(before, first), memory_bytes=_memory(first))
    await clock.sleep(INTERVAL)
    second = await _sample(engine, container)
    return Usage() if second is None else Usage(cpu_millis=_cpu(first, second), memory_bytes=_memory(second))


async def _sample(engine: Engine, container: str) -> Document | None:
    """None when it does not run (any more)."""
    try:
        sample: Document = await engine.get(f"/containers/{container}/stats", **{"stream": "false", "one-shot": "true"})
    except EngineRefused as error:
        if error.code in (404, 409):
            return None
        raise
    return sample if _time(sample, "read") is not None else None


def _cpu(before: Document, after: Document) -> float:
    """Thousandths of a core between two samples."""
    start, end = _time(before, "read"), _time(after, "read")
    if start is None or end is None or end <= start:
        return 0.0
    used = _total(after) - _total(before)
    return max(0.0, used / 1e9 / (end - start) * 1000)


def _total(sample: Document) -> int:
    """Nanoseconds of CPU since the container's start."""
    return int(((sample.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0)


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
