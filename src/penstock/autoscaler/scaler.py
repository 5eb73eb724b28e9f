"""Keeps the replicas of every function where load, alerts and people want them: once a second, and at once when told.

`control.process` runs it beside the feed, whose counts it reads. It asks `core.scaling` what to do, the provider to do it, and
writes down why in the journal. What it remembers of functions is in `autoscaler.roster`; what people and alerts ask for goes to
`autoscaler.orders`; where loads come from is in `autoscaler.loads`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Iterator, Mapping

from penstock.autoscaler.alerts import Alert
from penstock.autoscaler.changes import HELD, Changes
from penstock.autoscaler.journal import Decision
from penstock.autoscaler.learned import Learned
from penstock.autoscaler.lease import Lease
from penstock.autoscaler.loads import OWN_KINDS, Load
from penstock.autoscaler.orders import Orders
from penstock.autoscaler.reasons import numbers, reason
from penstock.autoscaler.report import AlertNow, LearningNow, LoadNow, ScalingReport, labels_of
from penstock.autoscaler.roster import Roster
from penstock.autoscaler.sources import Amounts, Counts, Sources, added_up
from penstock.autoscaler.state import State
from penstock.core.scalelabels import Scaling
from penstock.core.scaling import Inputs, Verdict, decide
from penstock.errors import FunctionNotFound, PenstockError
from penstock.model import Function
from penstock.providers.base import Provider
from penstock.providers.clock import Clock
from penstock.providers.validation import refuse_scaling

log = logging.getLogger(__name__)

TICK = 1.0
FLUSH = 0.5
"""Seconds that a tick waits for the workers' counters."""

PARTIAL = 3
"""Ticks in a row without a word from some worker from which on the others' counts are taken for all. Until then a busy worker would
seem to have no load, and twice its load a tick later."""

UNKNOWN_AFTER = 10.0
"""Seconds without a load before the journal says so: a source needs a moment after each start."""

TURN = 100
"""Functions looked at before others of the process have their turn."""


class Scaler:
    """All decisions of one control process."""

    def __init__(
        self, provider: Provider, functions: Mapping[str, Function], counts: Counts, clock: Clock, sources: Sources
    ) -> None:
        self.journal = sources.journal
        self.ticks = 0
        self.tick_seconds = 0.0
        """Time that ticks have taken, waits for counters left out."""
        self._counts = counts
        self._clock = clock
        self._sources = sources
        self._loads = sources.loads
        self._partial = 0
        self._roster = Roster(functions, clock, sources)
        self._changes = Changes(provider, clock, self.journal)
        self.lease = Lease(sources.lead, sources.holder, clock)
        self._orders = Orders(provider, self._roster, self._changes, self.lease, clock)

    @property
    def alerts(self) -> Mapping[str, int]:
        """Alerts by what became of them: scaled, unchanged, unnamed, unknown, failed."""
        return self._orders.alerts

    @property
    def leader(self) -> bool:
        return self.lease.held

    async def run(self) -> None:
        """Follow load until cancelled."""
        leading = asyncio.create_task(self.lease.keep())
        try:
            while True:
                began = self._clock.monotonic()
                try:
                    await self.tick()
                except Exception:
                    log.exception("a tick of the scaler failed")
                await self._clock.sleep(max(TICK / 10, began + TICK - self._clock.monotonic()))
        finally:
            leading.cancel()
            await asyncio.gather(leading, self._changes.close(), return_exceptions=True)

    async def tick(self) -> None:
        """Read all counts once and decide about every function that may need it."""
        whole, others = await asyncio.gather(self._counts.flush(FLUSH), self._others())
        began, now = self._clock.monotonic(), self._clock.monotonic()
        self._partial = 0 if whole else self._partial + 1
        if self._partial == 0 or self._partial >= PARTIAL:
            totals = self._counts.totals
            own = (totals.started, totals.busy, self._counts.inflight())
            self._loads.meter.note(now, *(own if others is None else added_up(own, others)))
        self._roster.forget_gone()
        self._loads.watch(dict(self._by_series()))
        for turn, function in enumerate(list(self._roster.functions.values())):
            if turn % TURN == TURN - 1:
                await asyncio.sleep(0)
            self._look(function, now)
        self.ticks += 1
        self.tick_seconds += self._clock.monotonic() - began

    # What others tell, and ask.

    async def set_by_hand(self, key: str, replicas: int) -> None:
        """Want what a person wants; load does not go below it for a while. Raises FunctionNotFound, InvalidInput."""
        await self._orders.set_by_hand(key, replicas)

    async def follow(self, alerts: Iterable[Alert]) -> list[PenstockError]:
        """Scale each function that an alert names, one after the other; what went wrong, in the alerts' order."""
        return await self._orders.follow(alerts)

    def saw(self, function: Function) -> None:
        """The provider has told of a function anew. A number that comes and goes again between two ticks is seen here only: a call
        may wake a function as soon as it rests."""
        if function.key in self._roster.states:
            self._compare(function, self._roster.state(function), self._clock.monotonic())

    def report(self, key: str) -> ScalingReport:
        """Everything that is known about the scaling of a function. Raises FunctionNotFound, InvalidInput for a pipeline."""
        function = self._roster.functions.get(key)
        if function is None:
            raise FunctionNotFound(f"function {key} not found")
        refuse_scaling(function.spec)
        state, now = self._roster.state(function), self._clock.monotonic()
        load = self._roster.load(key, state)
        limit, floor = state.idle_limit(now), state.floor_at(now)
        return ScalingReport(
            function=function.spec.name,
            namespace=function.spec.namespace,
            replicas=function.desired,
            available=function.available,
            autoscaling=self._sources.enabled,
            leader=self.leader or not self._sources.enabled,
            scaling=labels_of(state.scaling),
            faults=state.faults,
            load=LoadNow(kind=state.scaling.kind, value=load.value, unknown=load.unknown),
            floor=floor,
            floor_by=state.floor.holder if state.floor else "",
            idle_for=round(state.idle(now), 3),
            rests_after=None if math.isinf(limit) else limit,
            learning=LearningNow(pauses=state.idleness.pauses.seen) if state.idleness else None,
            alert=AlertNow(last=state.alert_at, hint=state.alert_hint()),
            decisions=self.journal.of(key),
        )

    def scaling(self, function: Function) -> Scaling:
        """A function's labels as they were read."""
        return self._roster.state(function).scaling

    def load(self, key: str) -> float | None:
        """The load of a function that there is."""
        function = self._roster.functions.get(key)
        return None if function is None else self._roster.load(key, self._roster.state(function)).value

    def learned(self) -> dict[str, Learned]:
        """What is known of the pauses of each function that wants it learned."""
        return {
            key: Learned(state.deployed, state.idleness.pauses)
            for key, state in self._roster.states.items()
            if state.idleness
        }

    # One function.

    def _look(self, function: Function, now: float) -> None:
        if function.spec.stages:
            return
        key, meter = function.key, self._loads.meter
        state = self._roster.state(function)
        state.note_activity(meter.last_active(key))
        state.note_start(function, now)
        self._compare(function, state, now)
        if key in self._changes:
            self._changes.give_up(key, now)
            return
        if not self.leader:
            return
        desired, scaling = state.desired(function, now), state.scaling
        if desired == 0:
            if state.due(now):
                self._warm(key, state)
            return
        least = desired == scaling.least and state.floor_at(now) <= desired
        calm = least and key not in meter.loaded and scaling.kind in OWN_KINDS
        if not meter.knows or (calm and not scaling.zero):
            return
        self._decide(key, function, state, now)

    def _decide(self, key: str, function: Function, state: State, now: float) -> None:
        load = self._roster.load(key, state)
        inputs = Inputs(
            load=load.value,
            desired=state.desired(function, now),
            idle=state.idle(now),
            idle_limit=state.idle_limit(now),
            floor=state.floor_at(now),
        )
        verdict, state.past = decide(state.scaling, inputs, state.past, now)
        if load.value is not None:
            state.unknown_since = None
            state.said.discard("unknown")
        if verdict.replicas != inputs.desired:
            decision = self._decision(function, state, inputs, verdict, load)
            self._changes.start(key, state, decision)
        elif verdict.rule in HELD and verdict.rule not in state.said:
            if verdict.rule == "unknown" and not self._unknown_for_long(state, now):
                return
            state.said.add(verdict.rule)
            self.journal.note(key, self._decision(function, state, inputs, verdict, load))

    def _decision(self, function: Function, state: State, inputs: Inputs, verdict: Verdict, load: Load) -> Decision:
        return Decision(
            when=self._clock.now(),
            rule=verdict.rule,
            before=inputs.desired,
            after=verdict.replicas,
            reason=reason(state.scaling, inputs, verdict, load.unknown),
            inputs=numbers(state.scaling, inputs, verdict, function.available),
        )

    @staticmethod
    def _unknown_for_long(state: State, now: float) -> bool:
        if state.unknown_since is None:
            state.unknown_since = now
        return now - state.unknown_since >= UNKNOWN_AFTER

    def _warm(self, key: str, state: State) -> None:
        replicas = max(1, state.scaling.least)
        state.warmed = True
        text = "a call is to be expected soon, from the times of earlier ones"
        decision = Decision(when=self._clock.now(), rule="warm", before=0, after=replicas, reason=text)
        self._changes.start(key, state, decision)

    def _compare(self, function: Function, state: State, now: float) -> None:
        told = state.share(function.floor)
        if function.desired != state.seen:
            self._observe(function.key, function, state, now, told)

    def _observe(self, key: str, function: Function, state: State, now: float, told: bool) -> None:
        """The number wanted has changed. Whoever did it elsewhere, at another gateway or with the engine's own tools, is a person
        too, unless the floor of an alert came or went with it (`told`); a call wakes, and an update brings its own number."""
        before, state.seen = state.seen, function.desired
        if state.expected(function.desired):
            return
        if not self.leader and before:
            state.past = ()  # the gateway that leads has its reasons
        elif not before:
            state.wake(now)
            state.past = ()
            self._roster.note(key, "wake", before, function.desired, "a call came for a function at rest")
        elif told and (function.floor or function.desired == state.scaling.least):
            state.past = ()
            text = "another gateway was told that an alert " + ("fires" if function.floor else "is over")
            self._roster.note(key, "alert", before, function.desired, text)
        elif key not in self._changes:
            state.hold(function.desired, "hand", now)
            state.past = ()
            self._roster.note(
                key, "hand", before, function.desired, "set by an update, at another gateway or with the engine"
            )

    # Small parts.

    def _by_series(self) -> Iterator[tuple[str, Scaling]]:
        own = (*OWN_KINDS, "cpu", "queue")
        return ((key, state.scaling) for key, state in self._roster.states.items() if state.scaling.kind not in own)

    async def _others(self) -> Amounts | None:
        peers = self._sources.peers
        return await peers.gather() if peers else None
