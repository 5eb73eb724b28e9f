"""Repeated checks of ready replicas, for functions whose annotations ask for them; nobody else is polled.

A keeper begins them when a replica becomes ready, and cancels them when it ends. They only ask and count: what follows from
it is the keeper's to do.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from penstock.core.health import Check, Plan, liveness_of, readiness_of
from penstock.providers.members import Crew, Member


class Keeping(Protocol):
    """Who acts on what the checks find."""

    def unready(self, member: Member, why: str) -> None:
        """Its readiness check failed as often as it may. Called again with every later answer that is bad."""

    def ready(self, member: Member) -> None:
        """Its readiness check passes again."""

    def condemn(self, member: Member, why: str) -> None:
        """Its liveness check failed as often as it may."""


def watch_health(member: Member, crew: Crew, keeping: Keeping) -> list[asyncio.Task[None]]:
    """Begin the checks that a replica's annotations ask for; they run until they are cancelled or it runs no more."""
    readiness, liveness = readiness_of(member.spec), liveness_of(member.spec)
    if not readiness.repeated and not liveness:
        return []
    default = crew.runtime.check_of(member.token)
    tasks = []
    if readiness.repeated:
        watch = _Watch(member, crew, readiness, readiness.ready_check(default))
        tasks.append(crew.spawn(_watch_readiness(watch, keeping)))
    if liveness:
        watch = _Watch(member, crew, liveness, liveness.live_check(default))
        tasks.append(crew.spawn(_watch_liveness(watch, keeping)))
    return tasks


async def _watch_readiness(watch: _Watch, keeping: Keeping) -> None:
    while why := await watch.until_ill(watch.plan.period):
        while why:
            keeping.unready(watch.member, why)
            why = await watch.until_bad_or_well()
        if watch.over:
            return
        keeping.ready(watch.member)


async def _watch_liveness(watch: _Watch, keeping: Keeping) -> None:
    """A replica is asked from when it is ready; its initial delay may be over by then."""
    rest = watch.member.begun_at + watch.plan.initial_delay - watch.crew.clock.monotonic()
    if why := await watch.until_ill(rest if rest > 0 else watch.plan.period):
        times = f" {watch.plan.failures} times in a row" if watch.plan.failures > 1 else ""
        keeping.condemn(watch.member, f"its health check failed{times}: {why}")


class _Watch:
    """One kind of check of one start of a replica."""

    def __init__(self, member: Member, crew: Crew, plan: Plan, check: Check) -> None:
        self.member = member
        self.crew = crew
        self.plan = plan
        self._check = check
        self._start = member.start

    @property
    def over(self) -> bool:
        """Whether this start is history. A probe may answer although it was cancelled."""
        return self.member.start != self._start or self.member.leaving or bool(self.member.failure)

    async def until_ill(self, pause: float) -> str:
        """Ask, first after `pause` seconds, until too many answers in a row are bad: what the last one said; empty when over."""
        why, bad = "", 0
        while bad < self.plan.failures:
            await self.crew.clock.sleep(pause)
            why = await self._ask()
            if self.over:
                return ""
            bad = bad + 1 if why else 0
            pause = self.plan.period
        return why

    async def until_bad_or_well(self) -> str:
        """Ask until an answer is bad: what it said; or until enough in a row are good, or it is over: empty."""
        for _ in range(self.plan.successes):
            await self.crew.clock.sleep(self.plan.period)
            why = await self._ask()
            if self.over:
                return ""
            if why:
                return why
        return ""

    async def _ask(self) -> str:
        """What is wrong; empty when the check passes."""
        answer = await self.crew.probe(self.member.address, self._check)
        return "" if answer is True else answer or "its port does not answer"
