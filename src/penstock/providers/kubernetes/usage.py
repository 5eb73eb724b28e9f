"""What functions use, by the metrics API of the cluster where it has one. Called by the provider."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.errors import PenstockError
from penstock.model import Usage
from penstock.providers.clock import Clock
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiNotFound
from penstock.providers.kubernetes.client.kinds import POD_METRICS
from penstock.providers.kubernetes.podspec import CONTAINER
from penstock.providers.kubernetes.quantities import value_of

Document = dict[str, Any]

_log = logging.getLogger(__name__)

KEPT = 5.0
"""Seconds for which an answer holds; the cluster measures every fifteen or more."""
ABSENT = 30.0
"""The same where the cluster has no such API: it is an add-on, which may come later."""


class Usages:
    """Of one installation's functions."""

    def __init__(self, api: Api, installation: str, clock: Clock) -> None:
        self._api, self._installation, self._clock = api, installation, clock
        self._asked: dict[str, tuple[float, Mapping[str, Usage]]] = {}
        """By namespace: until when the answer holds."""
        self._turn = asyncio.Lock()
        self._trouble = ""

    async def of(self, keys: Sequence[str]) -> dict[str, Usage]:
        """By key; those are missing that the cluster has not measured, or does not tell."""
        wanted = defaultdict(list)
        for key in keys:
            wanted[key.partition(".")[2]].append(key)
        found: dict[str, Usage] = {}
        async with self._turn:
            for namespace, among in wanted.items():
                measured = await self._namespace(namespace)
                found |= {key: measured[key] for key in among if key in measured}
        return found

    async def _namespace(self, namespace: str) -> Mapping[str, Usage]:
        until, known = self._asked.get(namespace, (-math.inf, {}))
        if self._clock.monotonic() < until:
            return known
        try:
            listing = await self._api.list(POD_METRICS, namespace, marks.owner(self._installation))
        except ApiNotFound:
            self._asked[namespace] = self._clock.monotonic() + ABSENT, {}
            return {}
        except PenstockError as error:
            # A metrics server may be away while everything else works.
            self._tell(str(error))
            return {}
        self._tell("")
        totals: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for item in listing.items:
            name = (item["metadata"].get("labels") or {}).get(marks.FUNCTION, "")
            for container in item.get("containers") or ():
                used = container.get("usage")
                if name and container.get("name") == CONTAINER and isinstance(used, dict):
                    _add(totals[f"{name}.{namespace}"], used)
        measured = {key: Usage(cpu_millis=cpu, memory_bytes=memory) for key, (cpu, memory) in totals.items()}
        self._asked[namespace] = self._clock.monotonic() + KEPT, measured
        return measured

    def _tell(self, trouble: str) -> None:
        """Once when it begins, and once when it is over."""
        if trouble and not self._trouble:
            _log.warning("what functions use is not known: %s", trouble)
        elif self._trouble and not trouble:
            _log.info("what functions use is known again")
        self._trouble = trouble


def _add(total: list[float], usage: Document) -> None:
    for index, (name, factor) in enumerate((("cpu", 1000.0), ("memory", 1.0))):
        amount = value_of(usage.get(name))
        total[index] += float(amount) * factor if amount is not None else 0.0
