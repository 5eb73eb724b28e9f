"""A function's log lines from the containers that ran it, in one way for the docker runtime and for Swarm.

What there is comes first, from all sources at once and by time; `following` brings what comes after. `last_words` is for the
reason of a death.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field

from penstock.errors import ProviderUnavailable
from penstock.model import LogLine, LogQuery
from penstock.providers.clock import Clock, SystemClock
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.following import Changes, Following
from penstock.providers.containers.frames import STDERR, STDOUT, Entry, Frames
from penstock.providers.containers.logsource import Patience, Position, Source, read, since_param
from penstock.providers.loglines import select

HISTORY_LIMIT = 30.0
"""Seconds for reading what there is, however much it is."""
HELD = 64 << 20
"""Bytes of text held while lines of all sources are put in order; beyond it the oldest are left out."""
LAST_WORDS_LIMIT = 2.0
"""Seconds that a report of a death waits for the last words."""
LAST_WORDS_LENGTH = 500
_LAST_WORDS_TAIL = 20
_LARGEST_TAIL = 1_000_000
"""Lines; who asks for more gets all."""
_MARGIN = 2
"""Lines asked for beyond those wanted: the first of each stream may be the end of a long line."""

_log = logging.getLogger(__name__)


@dataclass
class _Past:
    """What there was of one source."""

    source: Source
    entries: deque[Entry] = field(default_factory=deque)
    position: Position = field(default_factory=Position)
    failure: Exception | None = None


async def function_lines(
    engine: Engine,
    query: LogQuery,
    sources: Callable[[], list[Source]],
    deployed: Callable[[], bool] = lambda: True,
    changes: Changes | None = None,
    clock: Clock | None = None,
) -> AsyncGenerator[LogLine, None]:
    """Lines by time; then, with `follow`, those of all present and future sources as they come, until `deployed` says no.

    `sources` names those that there are now; it and `deployed` are asked again whenever `changes` fires. Raises
    ProviderUnavailable when the engine does not answer at all and nothing is followed.
    """
    found = [source for source in sources() if source.wanted(query)]
    pasts = await asyncio.gather(*(_past(engine, query, source, HELD // len(found)) for source in found))
    _report(query, pasts)
    # Hundreds of thousands of lines would hold up whatever else the event loop serves.
    for line in await asyncio.to_thread(_ordered, query, pasts):
        yield line
    if not query.follow:
        return
    positions = {past.source.path: past.position for past in pasts}
    following = Following(engine, query, positions, changes or Changes(), clock or SystemClock())
    try:
        async for line in following.lines(sources, deployed):
            yield line
    finally:
        await following.close()


async def last_words(engine: Engine, path: str) -> str:
    """The last line with something in it of a container that ended, at `/containers/ID/logs`, cut and printable; "" if none
    comes in time. One on stderr goes before those on stdout: which pipe the engine read last says nothing."""
    query = LogQuery(name="", tail=_LAST_WORDS_TAIL)
    past = await _past(engine, query, Source(path, "", alive=False, quiet=LAST_WORDS_LIMIT), HELD, LAST_WORDS_LIMIT)
    said = {STDOUT: "", STDERR: ""}
    for entry in past.entries:
        said[entry.stream] = _printable(entry.text) or said[entry.stream]
    return (said[STDERR] or said[STDOUT])[:LAST_WORDS_LENGTH]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


# What there is


async def _past(engine: Engine, query: LogQuery, source: Source, most: int, limit: float = HISTORY_LIMIT) -> _Past:
    """Does not raise: what one source keeps from us is not to cost us the others."""
    past = _Past(source)
    try:
        async with asyncio.timeout(limit):
            await _read_past(engine, query, past, most)
    except (ProviderUnavailable, EngineRefused, TimeoutError) as error:
        past.failure = error
        past.position.tail = max(0, query.tail)
    return past


async def _read_past(engine: Engine, query: LogQuery, past: _Past, most: int) -> None:
    asked = query.tail + _MARGIN if 0 < query.tail <= _LARGEST_TAIL else 0
    while not await _read_once(engine, query, past, most, asked):
        asked *= 4


async def _read_once(engine: Engine, query: LogQuery, past: _Past, most: int, asked: int) -> bool:
    """Whether this was enough. The engine counts the pieces of a long line, so that its last N may be less than N lines."""
    source = past.source
    frames = Frames(details=not isinstance(source.instance, str))
    past.entries, past.position = deque(), Position()
    kept = 0

    def keep(entries: Iterable[Entry]) -> None:
        nonlocal kept
        for entry in entries:
            past.position.note(entry)
            past.entries.append(entry)
            kept += len(entry.text)
            while kept > most:
                kept -= len(past.entries.popleft().text)

    params = {"tail": str(asked) if asked else "all", "since": since_param(query, Position())}
    async for entries in read(engine, source.path, frames, Patience(source.quiet), **params):
        keep(entries)
    if not (query.follow and source.alive):
        # The end of a line that is being written comes when it is followed; half of it now would make it two.
        keep(frames.end())
    for trouble in frames.troubles:
        _log.info("the engine on the log at %s: %r", source.path, trouble)
    lines = dict.fromkeys(frames.pieces, 0)
    for entry in past.entries:
        lines[entry.attributes] = lines.get(entry.attributes, 0) + 1
    return all(pieces < asked or lines[attributes] >= asked for attributes, pieces in frames.pieces.items())


def _ordered(query: LogQuery, pasts: Iterable[_Past]) -> list[LogLine]:
    found = [(entry, past.source) for past in pasts for entry in past.entries]
    found.sort(key=lambda pair: pair[0].nanos)
    return select(query, (source.line(query, entry) for entry, source in found))


def _report(query: LogQuery, pasts: list[_Past]) -> None:
    failures = [past.failure for past in pasts if past.failure]
    away = next((failure for failure in failures if isinstance(failure, ProviderUnavailable)), None)
    if away and len(failures) == len(pasts) and not query.follow and not any(past.entries for past in pasts):
        raise away
    for past in pasts:
        if past.failure and not _gone(past.failure):
            _log.info(
                "the log at %s was not read to its end: %s", past.source.path, str(past.failure) or "it is silent"
            )


def _gone(failure: Exception) -> bool:
    return isinstance(failure, EngineRefused) and failure.code == 404
