"""Removes what is ours and left over: values of secrets that nobody uses, networks of namespaces that are gone, services that
brought older watchdogs.

Kicked by the provider after whatever leaves something. What is still in use, as while tasks end, is tried again later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from penstock.errors import PenstockError
from penstock.providers.clock import Clock

FIRST, LAST = 2.0, 120.0
"""Seconds before the first attempt after a kick, and the longest pause: it doubles for as long as something is left."""

_log = logging.getLogger(__name__)


class Tidying:
    """`collect` removes what it can and says whether something is left."""

    def __init__(self, collect: Callable[[], Awaitable[bool]], clock: Clock) -> None:
        self._collect = collect
        self._clock = clock
        self._kicked = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run())
        self.kick()

    def kick(self) -> None:
        """Something may be left over."""
        self._kicked.set()

    async def close(self) -> None:
        if self._loop:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._kicked.wait()
            pause, left = FIRST, True
            while left:
                self._kicked.clear()
                await self._clock.sleep(pause)
                left = await self._try()
                pause = FIRST if self._kicked.is_set() else min(pause * 2, LAST)

    async def _try(self) -> bool:
        try:
            return await self._collect()
        except PenstockError as error:
            _log.info("left-overs stay for now: %s", error)
            return True
