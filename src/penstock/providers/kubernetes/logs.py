"""Log lines of all replicas of a function, in the order of their times; with `follow` those that come, of pods that come as well.

Called by the provider, which says what pods there are and fires `Changes` when that changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from penstock.errors import PenstockError
from penstock.model import LogLine, LogQuery
from penstock.providers.clock import Clock
from penstock.providers.containers.following import Changes
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiForbidden, ApiNotFound, ApiRefused
from penstock.providers.kubernetes.podspec import CONTAINER
from penstock.providers.loglines import matches, select

Document = dict[str, Any]

WAITING_LINES = 1000
"""Lines that wait for a slow reader; beyond it the API server waits."""
PAUSE = 0.5
"""Seconds before a pod's log is asked for again, which it may not have yet."""

_log = logging.getLogger(__name__)


class Logs:
    """`changes` fires when pods come or go."""

    def __init__(self, api: Api, changes: Changes, clock: Clock) -> None:
        self._api, self._changes, self._clock = api, changes, clock

    async def lines(
        self, query: LogQuery, pods: Callable[[], Sequence[Document]], deployed: Callable[[], bool]
    ) -> AsyncGenerator[LogLine, None]:
        """What `query` asks for. `pods` are the function's now, `deployed` says whether it still is."""
        reached: dict[str, datetime] = {}
        past = await asyncio.gather(*(self._past(query, name) for name in _names(query, pods())))
        for line in select(query, [line for lines in past for line in lines]):
            yield line
        for line in (line for lines in past for line in lines):
            reached[line.instance] = max(line.timestamp, reached.get(line.instance, line.timestamp))
        if not query.follow:
            return
        following = _Following(self._api, query, reached, self._changes, self._clock)
        async with contextlib.aclosing(following.lines(pods, deployed)) as lines:
            async for line in lines:
                yield line

    async def _past(self, query: LogQuery, pod: str) -> list[LogLine]:
        lines = []
        try:
            found = self._api.log_lines(
                pod, query.namespace, CONTAINER, tail=query.tail if query.tail > 0 else -1, since=_since(query.since)
            )
            async with contextlib.aclosing(found) as texts:
                async for text in texts:
                    if line := line_of(query, pod, text):
                        lines.append(line)
        except ApiForbidden:
            raise
        except ApiRefused as error:
            _log.debug("pod %s has no log yet: %s", pod, error)
        return lines


class _Following:
    """One query that follows; `reached`: the time of the last line of each pod that was told."""

    def __init__(self, api: Api, query: LogQuery, reached: dict[str, datetime], changes: Changes, clock: Clock) -> None:
        self._api, self._query, self._reached = api, query, reached
        self._changes, self._clock = changes, clock
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._present: set[str] = set()
        self._lines: asyncio.Queue[LogLine | None] = asyncio.Queue(WAITING_LINES)

    async def lines(
        self, pods: Callable[[], Sequence[Document]], deployed: Callable[[], bool]
    ) -> AsyncGenerator[LogLine, None]:
        manager = asyncio.create_task(self._manage(pods, deployed))
        try:
            while (line := await self._lines.get()) is not None:
                yield line
        finally:
            tasks = [manager, *self._readers.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _manage(self, pods: Callable[[], Sequence[Document]], deployed: Callable[[], bool]) -> None:
        while deployed():
            number = self._changes.number
            self._present = set(_names(self._query, pods()))
            for name in self._present - self._readers.keys():
                self._readers[name] = asyncio.create_task(self._read(name))
            await self._changes.after(number)
        await self._lines.put(None)

    async def _read(self, pod: str) -> None:
        """Until the pod is gone. Its log ends with its container, and goes on with the next one."""
        while pod in self._present:
            try:
                await self._read_on(pod)
            except ApiNotFound:
                if pod not in self._present:
                    break
            except PenstockError as error:
                _log.debug("the log of pod %s broke off: %s", pod, error)
            await self._clock.sleep(PAUSE)
        self._readers.pop(pod, None)

    async def _read_on(self, pod: str) -> None:
        after = self._reached.get(pod)
        found = self._api.log_lines(
            pod, self._query.namespace, CONTAINER, follow=True, since=_since(after or self._query.since)
        )
        async with contextlib.aclosing(found) as texts:
            async for text in texts:
                line = line_of(self._query, pod, text)
                if line and matches(self._query, line) and (after is None or line.timestamp > after):
                    await self._lines.put(line)
                    self._reached[pod] = line.timestamp


def line_of(query: LogQuery, pod: str, text: bytes) -> LogLine | None:
    """A line with its time in front, as the API sends it; None for what has none."""
    stamp, _, rest = text.partition(b" ")
    try:
        # Nanoseconds are more than a datetime has.
        whole, _, part = stamp.decode("ascii").rstrip("Z").partition(".")
        timestamp = datetime.fromisoformat(f"{whole}.{part[:6]:0<6}").replace(tzinfo=UTC)
    except ValueError:
        return None
    return LogLine(
        name=query.name,
        namespace=query.namespace,
        instance=pod,
        timestamp=timestamp,
        text=rest.decode("utf-8", "replace").rstrip("\r"),
    )


def _names(query: LogQuery, pods: Sequence[Document]) -> list[str]:
    names = [str(pod["metadata"].get("name", "")) for pod in pods]
    return [name for name in names if not query.instance or name == query.instance]


def _since(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else ""
