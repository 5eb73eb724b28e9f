"""Whether the cluster lets the gateway see what it follows, which the server's version is told without. Used by the provider.

What a watch hears goes on for minutes after a right is gone, so each kind is asked for anew. `/healthz` is open to everybody: the answer
holds for a while, and whoever asks meanwhile waits for the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.errors import PenstockError, ProviderUnavailable
from penstock.providers.clock import Clock
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.kinds import Kind

HOLDS = 5.0
"""Seconds for which an answer holds."""
PATIENCE = 5.0
"""Seconds for all questions together; balancers ask whom they wait for no longer."""
AT_ONCE = 8


class Health:
    """Of one cluster. `namespaces`: those that settings name; none is the whole cluster."""

    def __init__(self, api: Api, kinds: Sequence[Kind], namespaces: Sequence[str], clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._places = [(kind, namespace) for namespace in namespaces or (None,) for kind in kinds]
        self._turn = asyncio.Lock()
        self._asked_at = float("-inf")
        self._trouble = ""

    async def check(self) -> None:
        """Raises ProviderUnavailable with what keeps the gateway from seeing the cluster, such as the rule that is missing."""
        async with self._turn:
            if self._clock.monotonic() - self._asked_at >= HOLDS:
                self._trouble = await self._ask()
                self._asked_at = self._clock.monotonic()
        if self._trouble:
            raise ProviderUnavailable(self._trouble)

    async def _ask(self) -> str:
        """What is wrong; empty when all is well."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def look(kind: Kind, namespace: str | None) -> str:
            async with turn:
                try:
                    await self._api.look(kind, namespace)
                except ProviderUnavailable as error:
                    return str(error)
                except PenstockError as error:
                    return f"the Kubernetes API at {self._api.url} refuses: {error}"
                return ""

        try:
            async with asyncio.timeout(PATIENCE):
                found = await asyncio.gather(*(look(*place) for place in self._places))
        except TimeoutError:
            return f"the Kubernetes API at {self._api.url} does not answer within {PATIENCE:g} s"
        return next(filter(None, found), "")
