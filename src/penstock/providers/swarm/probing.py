"""Asks the ports of tasks whether they answer: each new one until it does, and again only where annotations ask for it.

Called by `tracked` with the tasks that may serve; what is known of each is read back from `verdicts`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from penstock.core.health import Check, readiness_of
from penstock.model import FunctionSpec
from penstock.providers.clock import Clock
from penstock.providers.members import Probe
from penstock.providers.swarm.tasks import Verdict

FAST, SLOW = 0.02, 0.5
"""Seconds between questions to a port that does not answer yet: at first, and later."""
GROWTH = 1.3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A port to ask, and how."""

    address: str
    spec: FunctionSpec
    lenient: bool

    def check(self) -> Check:
        return readiness_of(self.spec).ready_check(Check(passes="any" if self.lenient else "success"))


@dataclass
class _Asked:
    target: Target
    verdict: Verdict
    asking: asyncio.Task[None] | None = field(default=None)


class Prober:
    """Of one function. `changed` is called whenever a verdict is another than before."""

    def __init__(self, probe: Probe, clock: Clock, changed: Callable[[], None]) -> None:
        self._probe = probe
        self._clock = clock
        self._changed = changed
        self._asked: dict[str, _Asked] = {}

    @property
    def verdicts(self) -> dict[str, Verdict]:
        return {task: asked.verdict for task, asked in self._asked.items()}

    def want(self, targets: Mapping[str, Target]) -> None:
        """These tasks, and no others, are of interest. One whose address changed is asked anew."""
        for task in [task for task, asked in self._asked.items() if asked.target != targets.get(task)]:
            self._forget(task)
        for task, target in targets.items():
            if task not in self._asked:
                self._begin(task, target)

    def doubt(self) -> None:
        """Ask all again; what is known of them holds until they answer otherwise."""
        for task, asked in list(self._asked.items()):
            self._forget(task)
            self._begin(task, asked.target, asked.verdict)

    def close(self) -> None:
        self.want({})

    def _begin(self, task: str, target: Target, verdict: Verdict | None = None) -> None:
        asked = self._asked[task] = _Asked(target, verdict or Verdict(address=target.address))
        asked.asking = asyncio.create_task(self._ask(asked))
        asked.asking.add_done_callback(_report)

    def _forget(self, task: str) -> None:
        asked = self._asked.pop(task)
        if asked.asking:
            asked.asking.cancel()

    async def _ask(self, asked: _Asked) -> None:
        target, plan = asked.target, readiness_of(asked.target.spec)
        check = target.check()
        await self._clock.sleep(plan.initial_delay)
        pause = FAST
        while (said := await self._probe(target.address, check)) is not True:
            self._say(asked, Verdict(target.address, False, _words(said)))
            await self._clock.sleep(pause)
            pause = min(pause * GROWTH, SLOW)
        self._say(asked, Verdict(target.address, True))
        bad, good = 0, plan.successes
        while plan.repeated:
            await self._clock.sleep(plan.period)
            said = await self._probe(target.address, check)
            bad, good = (0, good + 1) if said is True else (bad + 1, 0)
            if bad >= plan.failures:
                self._say(asked, Verdict(target.address, False, _words(said)))
            elif good >= plan.successes:
                self._say(asked, Verdict(target.address, True))

    def _say(self, asked: _Asked, verdict: Verdict) -> None:
        if asked.verdict != verdict:
            asked.verdict = verdict
            self._changed()


def _words(said: bool | str) -> str:
    return said if isinstance(said, str) and said else "its port does not answer"


def _report(done: asyncio.Task[None]) -> None:
    if not done.cancelled() and done.exception():
        _log.error("a readiness check failed", exc_info=done.exception())
