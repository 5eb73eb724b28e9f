"""Asks pods that run whether they answer, sooner and more often than their kubelets do, until each has answered once.

Called by `tracked` for pods that have not been ready yet. What becomes of them later is the kubelet's judgement.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from penstock.core.health import Check
from penstock.providers.clock import Clock
from penstock.providers.members import Probe

FAST, SLOW = 0.02, 0.5
"""Seconds between questions: at first, and later. They double every three."""
GROWTH = 1.25

Life = tuple[str, int]
"""One start of a pod's container: the pod's uid, and how often it was started before."""

_log = logging.getLogger(__name__)


class Question(NamedTuple):
    """What is asked, and where; `delay`: seconds before the first time."""

    address: str
    check: Check
    delay: float = 0.0


class Arrivals:
    """`changed` is called when a pod has answered, or answers something else than before."""

    def __init__(self, probe: Probe, clock: Clock, changed: Callable[[], None]) -> None:
        self._probe, self._clock, self._changed = probe, clock, changed
        self._asking: dict[Life, asyncio.Task[None]] = {}
        self._said: dict[Life, bool | str] = {}

    def want(self, questions: Mapping[Life, Question]) -> None:
        """These are of interest, and no others."""
        for life in self._asking.keys() - questions.keys():
            self._asking.pop(life).cancel()
            self._said.pop(life, None)
        for life, question in questions.items():
            if life not in self._asking:
                task = self._asking[life] = asyncio.create_task(self._ask(life, question))
                task.add_done_callback(_report)

    def answered(self, life: Life) -> bool:
        return self._said.get(life) is True

    def words(self, life: Life) -> str:
        """What it said, or why it says nothing; empty when it was not asked."""
        said = self._said.get(life)
        return said if isinstance(said, str) else ""

    def close(self) -> None:
        self.want({})

    async def _ask(self, life: Life, question: Question) -> None:
        await self._clock.sleep(question.delay)
        pause = FAST
        while (said := await self._probe(question.address, question.check)) is not True:
            self._say(life, said or "its port does not answer")
            await self._clock.sleep(pause)
            pause = min(pause * GROWTH, SLOW)
        self._say(life, True)

    def _say(self, life: Life, said: bool | str) -> None:
        if self._said.get(life) != said:
            self._said[life] = said
            self._changed()


def _report(done: asyncio.Task[None]) -> None:
    if not done.cancelled() and done.exception():
        _log.error("a readiness check failed", exc_info=done.exception())
