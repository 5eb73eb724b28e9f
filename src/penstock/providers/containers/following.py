"""Follows the logs of a function's containers: those there are, those that come, and those that break off and come back.

Made by `logs.function_lines` once it has told what there was. The caller says through `Changes` when containers came or went;
nothing is looked for without that, but for a source that should be there and is not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing

from penstock.errors import ProviderUnavailable
from penstock.model import LogLine, LogQuery
from penstock.providers.clock import Clock
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.frames import Entry, Frames
from penstock.providers.containers.logsource import Patience, Position, Source, read, since_param
from penstock.providers.loglines import matches

WAITING_LINES = 1000
"""Lines that wait for a slow reader; beyond it the engine waits."""
GRACE = 10.0
"""Seconds of silence after which a source that is no longer alive is taken to have ended."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts at a source that is alive but broke off."""

_NOT_FOUND = 404

_log = logging.getLogger(__name__)


class Changes:
    """Tells those who wait that sources came, ended or went, or that a function was deleted; whoever changes them fires."""

    def __init__(self) -> None:
        self.number = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def fire(self) -> None:
        self.number += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def after(self, number: int) -> None:
        """Wait until it has fired since `number` was read."""
        if self.number != number:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)


class Following:
    """One query that follows. `positions`: how far sources have been read already, by path."""

    def __init__(
        self, engine: Engine, query: LogQuery, positions: dict[str, Position], changes: Changes, clock: Clock
    ) -> None:
        self._engine = engine
        self._query = query
        self._positions = positions
        self._changes = changes
        self._clock = clock
        self._present: dict[str, Source] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._patience: dict[str, Patience] = {}
        self._ended: set[str] = set()
        self._lines: asyncio.Queue[LogLine | Exception | None] = asyncio.Queue(WAITING_LINES)
        self._manager: asyncio.Task[None] | None = None

    async def lines(self, sources: Callable[[], list[Source]], deployed: Callable[[], bool]) -> AsyncIterator[LogLine]:
        """Until `deployed` says no. Raises what a reader did not expect."""
        self._manager = asyncio.create_task(self._guarded(self._manage(sources, deployed)))
        while (item := await self._lines.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def close(self) -> None:
        tasks = [task for task in (self._manager, *self._readers.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as error:
            await self._lines.put(error)

    async def _manage(self, sources: Callable[[], list[Source]], deployed: Callable[[], bool]) -> None:
        while deployed():
            number = self._changes.number
            self._compare(sources())
            await self._changes.after(number)
        await self._lines.put(None)

    def _compare(self, sources: list[Source]) -> None:
        """Start to read what is new or came back; a reader of what is gone ends by itself, but not for ever in silence."""
        self._present = {source.path: source for source in sources if source.wanted(self._query)}
        for path, patience in self._patience.items():
            if not self._alive(path):
                patience.shorten(GRACE)
        for path, source in self._present.items():
            if path not in self._readers and (source.alive or path not in self._ended):
                self._readers[path] = asyncio.create_task(self._guarded(self._read_to_end(source)))

    def _alive(self, path: str) -> bool:
        return path in self._present and self._present[path].alive

    async def _read_to_end(self, source: Source) -> None:
        """Again and again while it is alive, and once more when it has died, so that its last lines are not lost."""
        path, pause = source.path, _FIRST_PAUSE
        while True:
            source, alive, number = self._present.get(path, source), self._alive(path), self._changes.number
            try:
                came = await self._read(source, alive)
                over = not alive
            except TimeoutError:
                came, over = False, not alive
            except (ProviderUnavailable, EngineRefused) as error:
                came, over = False, self._is_over(path, error)
            if over:
                break
            pause = _FIRST_PAUSE if came else min(pause * 2, _LONGEST_PAUSE)
            await self._pause(number, pause)
        del self._readers[path]
        self._ended.add(path)

    def _is_over(self, path: str, error: ProviderUnavailable | EngineRefused) -> bool:
        """A source that is gone for its owner is not waited for, nor one that is dead and that the engine keeps to itself."""
        if path not in self._present:
            return True
        if isinstance(error, EngineRefused) and error.code != _NOT_FOUND:
            _log.warning("the log at %s cannot be followed: %s", path, error)
        return isinstance(error, EngineRefused) and not self._alive(path)

    async def _read(self, source: Source, alive: bool) -> bool:
        """Read on from where it was left; whether any line was new."""
        position = self._positions.setdefault(source.path, Position())
        frames = Frames(details=not isinstance(source.instance, str))
        patience = self._patience[source.path] = Patience(None if alive else GRACE)
        new, came = position.resumed(), False
        tail = "all" if position.marks or not position.tail else str(position.tail)
        params = {"follow": "1" if alive else "0", "tail": tail, "since": since_param(self._query, position)}
        try:
            async with aclosing(read(self._engine, source.path, frames, patience, **params)) as batches:
                async for entries in batches:
                    came |= await self._tell(source, position, [entry for entry in entries if new(entry)])
            came |= await self._tell(source, position, [entry for entry in frames.end() if new(entry)])
        finally:
            del self._patience[source.path]
        return came

    async def _tell(self, source: Source, position: Position, entries: list[Entry]) -> bool:
        for entry in entries:
            line = source.line(self._query, entry)
            if matches(self._query, line):
                await self._lines.put(line)
            position.note(entry)
        return bool(entries)

    async def _pause(self, number: int, seconds: float) -> None:
        """Until something changes, or for a while: the engine does not tell when a log can be read again."""
        waits = [asyncio.ensure_future(self._changes.after(number)), asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
