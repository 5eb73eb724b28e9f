"""Whether this gateway is the one of several that decides: it asks for the lease again and again, or has nobody beside it.

The scaler runs it and reads `held`; the provider gives the lease, where several gateways may use it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

from penstock.errors import PenstockError
from penstock.providers.clock import Clock

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two askings. Whoever waits looks each time whether the lease is over, which costs a manager one small read."""

SECONDS = 7.5
"""For which one gateway may decide without asking again. On a Swarm the lease that it has for that lasts twice as long."""


class Lease:
    """`ask` is told who we are, and for how long; None where there is nobody else."""

    def __init__(self, ask: Callable[[str, float], Awaitable[bool]] | None, holder: str, clock: Clock) -> None:
        self._ask = ask
        self._holder = holder
        self._clock = clock
        self._until = math.inf if ask is None else -math.inf
        self.elsewhere = False
        """Whether another had it when we asked last; false as long as nobody has said so."""

    @property
    def held(self) -> bool:
        return self._clock.monotonic() < self._until

    async def keep(self) -> None:
        """Keep it, or wait for it, until cancelled; returns at once where there is nobody else."""
        while self._ask is not None:
            began = self._clock.monotonic()
            try:
                given = await self._ask(self._holder, SECONDS)
                self._until, self.elsewhere = began + SECONDS if given else -math.inf, not given
            except PenstockError as error:
                log.warning("cannot find out which gateway scales: %s", error)
            except Exception:
                log.exception("cannot find out which gateway scales")
            await self._clock.sleep(EVERY)
