"""One source of log lines, and how far it has been read: what `logs` (what there is) and `following` (what comes) share.

A source is the log of a container, a Swarm task or a whole Swarm service; its caller says which replica a line is of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from penstock.model import LogLine, LogQuery
from penstock.providers.containers.engine import Engine
from penstock.providers.containers.frames import Entry, Frames, nanos_of

QUIET = 3.0
"""Seconds without a byte after which what is kept of a log is taken to have been read: a node that is down never answers."""
TASK = "com.docker.swarm.task.id"
"""The attribute that says of which task a service's line is."""
_OVERLAP = 1_000_000_000
"""Nanoseconds that are read again, because the two streams of a process are not exactly in the order of their times."""
_BACK = 600 * _OVERLAP
"""How far back the quietest task of a service makes us read again."""

Attributes = Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """Where to read: `/containers/ID/logs`, `/tasks/ID/logs` or `/services/ID/logs`.

    `instance` is the replica, or a function that finds it in a line's attributes (and makes us ask for these). `alive` is
    whether more may be written: such a source is followed, and looked for again when it breaks off; one that is not is read
    to its end once. `quiet` is for how many seconds it may be silent while what it keeps is read.
    """

    path: str
    instance: str | Callable[[Attributes], str]
    alive: bool = True
    quiet: float = QUIET

    def wanted(self, query: LogQuery) -> bool:
        return not query.instance or not isinstance(self.instance, str) or self.instance == query.instance

    def line(self, query: LogQuery, entry: Entry) -> LogLine:
        instance = self.instance if isinstance(self.instance, str) else self.instance(_attributes(entry.attributes))
        return LogLine(
            name=query.name, namespace=query.namespace, instance=instance, timestamp=entry.timestamp, text=entry.text
        )


def task_of(attributes: Attributes) -> str:
    """The `instance` of a service's lines where replicas are called after their tasks."""
    return attributes.get(TASK, "")


def _attributes(details: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in details.split(",") if pair)
    return {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}


@dataclass
class Position:
    """How far a source has been read: the time of each stream's last line and how many lines had it; from where on at all."""

    tail: int = 0
    """How many of the lines that there are to ask for, when nothing has been read of them; 0 is all."""
    marks: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)

    def note(self, entry: Entry) -> None:
        key = (entry.attributes, entry.stream)
        last, count = self.marks.get(key, (0, 0))
        self.marks[key] = (entry.last, count + 1 if entry.last == last else 1)
        self.first.setdefault(entry.attributes, entry.last)

    def since(self) -> int | None:
        """From when to read on, in nanoseconds; None where nothing has been read."""
        if not self.marks:
            return None
        newest: dict[str, int] = {}
        for (attributes, _), (last, _) in self.marks.items():
            newest[attributes] = max(last, newest.get(attributes, last))
        last = max(newest.values())
        return max(min(newest.values()), last - _BACK) - _OVERLAP

    def resumed(self) -> Callable[[Entry], bool]:
        """Says of the lines read from `since` on, in their order, whether they are new."""
        left = dict(self.marks)
        beyond: set[tuple[str, int]] = set()

        def new(entry: Entry) -> bool:
            key = (entry.attributes, entry.stream)
            if key in beyond:
                return True
            last, count = left.get(key, (self.first.get(entry.attributes, entry.last), 0))
            if entry.last < last:
                return False
            if entry.last == last and count:
                left[key] = (last, count - 1)
                return False
            # From the first new line on the order is the log's, even when the machine's clock was set back.
            beyond.add(key)
            return True

        return new


class Patience:
    """Waits for the next bytes of an answer for some seconds, or for ever; can be shortened while it waits."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._limit: asyncio.Timeout | None = None

    async def next(self, stream: AsyncGenerator[bytes, None]) -> bytes:
        """Empty at the end. Raises TimeoutError."""
        try:
            async with asyncio.timeout(self._seconds) as self._limit:
                return await anext(stream, b"")
        finally:
            self._limit = None

    def shorten(self, seconds: float) -> None:
        if self._seconds is not None:
            return
        self._seconds = seconds
        if self._limit:
            self._limit.reschedule(asyncio.get_running_loop().time() + seconds)


async def read(
    engine: Engine, path: str, frames: Frames, patience: Patience, **params: Any
) -> AsyncGenerator[list[Entry], None]:
    """Lines as they come, several at a time. Raises EngineRefused, ProviderUnavailable and TimeoutError."""
    stream = engine.stream(
        path, stdout="1", stderr="1", timestamps="1", details="1" if frames.details else None, **params
    )
    async with aclosing(stream):
        while data := await patience.next(stream):
            if found := frames.feed(data):
                yield found


def since_param(query: LogQuery, position: Position) -> str | None:
    """Seconds with nine decimals, as the engine reads them."""
    asked = nanos_of(query.since) if query.since else None
    times = [time for time in (asked, position.since()) if time is not None]
    if not times or max(times) <= 0:
        return None
    return f"{max(times) // 1_000_000_000}.{max(times) % 1_000_000_000:09}"
