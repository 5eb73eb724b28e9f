"""Removes containers behind everything else, and again until the engine has done it.

`lives` hands over what nobody wants any more. Engines refuse now and then (a file system is busy for a moment), and one that is
slow may not answer in time; what is left when the provider closes is removed by its next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

RETRY_FIRST, RETRY_LAST = 0.5, 30.0
"""Seconds before a container is removed once more; they double in between."""
CLOSING_LIMIT = 20.0
"""Seconds that `close` waits for what is being removed."""

_log = logging.getLogger(__name__)


class Removal:
    """`remove` ends and removes one container, and says whether it is gone."""

    def __init__(
        self,
        remove: Callable[[str], Awaitable[bool]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._remove = remove
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By container."""
        self._pausing: set[asyncio.Task[None]] = set()
        """Those that wait for their next try."""
        self._closing = False

    def __call__(self, containers: Iterable[str]) -> None:
        """Begin to remove these, if that is not under way."""
        for container in containers:
            if container and container not in self._tasks:
                task = asyncio.get_running_loop().create_task(self._until_gone(container))
                self._tasks[container] = task
                task.add_done_callback(partial(self._ended, container))

    async def close(self) -> None:
        """Wait for the tries that are under way, the last ones."""
        self._closing = True
        for task in list(self._pausing):
            task.cancel()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSING_LIMIT)
        for task in tasks:
            task.cancel()

    async def _until_gone(self, container: str) -> None:
        pause = RETRY_FIRST
        while not await self._remove(container) and not self._closing:
            _log.info("container %s could not be removed, it is tried again in %g s", container[:12], pause)
            await self._pause(pause)
            pause = min(pause * 2, RETRY_LAST)

    async def _pause(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task:
            self._pausing.add(task)
            try:
                await self._sleep(seconds)
            finally:
                self._pausing.discard(task)

    def _ended(self, container: str, task: asyncio.Task[None]) -> None:
        del self._tasks[container]
        if not task.cancelled() and task.exception():
            _log.error("container %s was not removed", container[:12], exc_info=task.exception())
