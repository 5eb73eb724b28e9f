"""Objects of functions that others have changed or removed become again what Penstock wrote.

Kicked by the fleet for each object that changed; acts only in the gateway that leads. What was written by another version of
Penstock is left as it is until the function is deployed again: nobody wants all functions to start anew with the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from penstock.errors import PenstockError
from penstock.model import FunctionSpec
from penstock.providers.kubernetes import manifests, marks
from penstock.providers.kubernetes.client.errors import ApiConflict
from penstock.providers.kubernetes.composition import Parts
from penstock.providers.kubernetes.tracked import Tracked

Document = dict[str, Any]

PAUSE = 1.0
"""Seconds before the first look at a change: most are our own, or the cluster's."""
AGAIN, LONGEST = 5.0, 600.0
"""Seconds before the same function is mended again, and at most: it doubles, since whoever undoes it may not give way."""

_log = logging.getLogger(__name__)


class Mending:
    """`wanted` says what a Deployment should be, `rewrite` writes all objects of a function over a version of it, `leads` whether we may.

    `turns` has a lock for each function, which the provider's own changes hold as well.
    """

    def __init__(
        self,
        wanted: Callable[[Tracked], Awaitable[Document]],
        rewrite: Callable[[FunctionSpec, Document, Document, str], Awaitable[None]],
        turns: Mapping[str, asyncio.Lock],
        leads: Callable[[], bool],
        parts: Parts,
    ) -> None:
        self._wanted, self._rewrite, self._turns = wanted, rewrite, turns
        self._leads, self._parts = leads, parts
        self._doubted: set[str] = set()
        self._kicked = asyncio.Event()
        self._mended: dict[str, tuple[float, float]] = {}
        """By key: when it was mended last, and how long it is left alone after that."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def doubt(self, key: str) -> None:
        """An object of this function is new or different, or gone."""
        self._doubted.add(key)
        self._kicked.set()

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        clock = self._parts.clock
        while True:
            await self._kicked.wait()
            await clock.sleep(PAUSE)
            if not self._leads():
                continue
            self._kicked.clear()
            for key in list(self._doubted):
                if self._is_due(key):
                    self._doubted.discard(key)
                    await self._look(key)
            if self._doubted:
                self._kicked.set()

    def _is_due(self, key: str) -> bool:
        at, pause = self._mended.get(key, (0.0, 0.0))
        return self._parts.clock.monotonic() >= at + pause

    async def _look(self, key: str) -> None:
        """In the function's turn and over the version that was looked at, so that no change of a user's is undone, wherever it was made."""
        try:
            async with self._turns[key]:
                await self._mend(key)
        except ApiConflict:
            self.doubt(key)  # it has changed since, or is gone
        except PenstockError as error:
            _log.warning("objects of function %s differ from what they were, and cannot be mended: %s", key, error)
        except Exception:
            # One object that nobody foresaw must not end the mending of all others.
            _log.exception("objects of function %s cannot be mended", key)

    async def _mend(self, key: str) -> None:
        tracked = self._parts.fleet.find(key)
        if not tracked:
            self._mended.pop(key, None)
            return
        live = tracked.deployment
        wanted = await self._wanted(tracked)
        if self._is_whole(tracked, wanted):
            return
        await self._rewrite(tracked.spec, wanted, live, live["metadata"]["resourceVersion"])
        _log.warning("objects of function %s were changed by others, they are made what they were", key)
        _, pause = self._mended.get(key, (0.0, AGAIN / 2))
        self._mended[key] = self._parts.clock.monotonic(), min(pause * 2, LONGEST)

    def _is_whole(self, tracked: Tracked, wanted: Document) -> bool:
        live = tracked.deployment
        service = self._parts.services.items.get((tracked.spec.namespace, tracked.spec.name))
        if not service:
            return False
        pairs = [(live, wanted), (service, manifests.service(tracked.spec, self._parts.shape))]
        return all(_digest(one) != _digest(other) or manifests.same(one, other) for one, other in pairs)


def _digest(document: Document) -> str:
    return str((document["metadata"].get("annotations") or {}).get(marks.DIGEST, ""))
