"""Asks the ports of tasks whether they answer: each new one until it does, and again only where annotations ask for it.

Called by `tracked` with the tasks that may serve; what is known of each is read back from `verdicts`. A task that is ill is told
of once, to whoever can end it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.health import Check, Plan, liveness_of, readiness_of
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
    guarded: bool = False
    """Whether somebody else sees to its liveness."""

    @property
    def default(self) -> Check:
        return Check(passes="any" if self.lenient else "success")


@dataclass
class _Asked:
    target: Target
    verdict: Verdict
    ill: bool = False
    asking: list[asyncio.Task[None]] = field(default_factory=list)


class Prober:
    """Of one function. `changed` is called whenever a verdict is another than before, `condemned` with a task that is ill."""

    def __init__(
        self, probe: Probe, clock: Clock, changed: Callable[[], None], condemned: Callable[[str], None]
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._changed = changed
        self._condemned = condemned
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
        self._start(asked, self._ask(task, asked))

    def _start(self, asked: _Asked, work: Coroutine[Any, Any, None]) -> None:
        asking = asyncio.create_task(work)
        asking.add_done_callback(_report)
        asked.asking.append(asking)

    def _forget(self, task: str) -> None:
        for asking in self._asked.pop(task).asking:
            asking.cancel()

    async def _ask(self, task: str, asked: _Asked) -> None:
        target, plan = asked.target, readiness_of(asked.target.spec)
        check = plan.ready_check(target.default)
        await self._clock.sleep(plan.initial_delay)
        pause = FAST
        while (said := await self._probe(target.address, check)) is not True:
            self._say(asked, Verdict(target.address, False, _words(said)))
            await self._clock.sleep(pause)
            pause = min(pause * GROWTH, SLOW)
        self._say(asked, Verdict(target.address, True))
        liveness = liveness_of(target.spec)
        if liveness and not target.guarded:
            self._start(asked, self._guard(task, asked, liveness))
        bad, good = 0, plan.successes
        while plan.repeated:
            await self._clock.sleep(plan.period)
            said = await self._probe(target.address, check)
            bad, good = (0, good + 1) if said is True else (bad + 1, 0)
            if bad >= plan.failures:
                self._say(asked, Verdict(target.address, False, _words(said)))
            elif good >= plan.successes:
                self._say(asked, Verdict(target.address, True))

    async def _guard(self, task: str, asked: _Asked, plan: Plan) -> None:
        """Ask whether it lives until it does not, too often in a row; then it never becomes ready again."""
        target, check = asked.target, plan.live_check(asked.target.default)
        pause, bad, said = plan.initial_delay or plan.period, 0, ""
        while bad < plan.failures:
            await self._clock.sleep(pause)
            answer = await self._probe(target.address, check)
            bad, said, pause = (0, "", plan.period) if answer is True else (bad + 1, _words(answer), plan.period)
        asked.ill = True
        self._say(asked, Verdict(target.address, False, f"its health check failed: {said}"))
        self._condemned(task)

    def _say(self, asked: _Asked, verdict: Verdict) -> None:
        if asked.verdict != verdict and not (asked.ill and verdict.ready):
            asked.verdict = verdict
            self._changed()


def _words(said: bool | str) -> str:
    return said if isinstance(said, str) and said else "its port does not answer"


def _report(done: asyncio.Task[None]) -> None:
    if not done.cancelled() and done.exception():
        _log.error("a readiness check failed", exc_info=done.exception())
