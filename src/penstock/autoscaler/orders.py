"""What people and alerts ask for: done at once, and a floor under what load asks for afterwards.

The scaler owns it and shares its roster; the REST API comes here through the scaler.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from penstock.autoscaler.alerts import Alert, read_alert
from penstock.autoscaler.changes import Changes
from penstock.autoscaler.lease import Lease
from penstock.autoscaler.roster import Roster
from penstock.autoscaler.state import State
from penstock.core.scaling import after_alert
from penstock.errors import PenstockError
from penstock.providers.base import Provider
from penstock.providers.clock import Clock
from penstock.providers.validation import refuse_scaling

log = logging.getLogger(__name__)


class Orders:
    """Numbers of replicas that somebody else than load has asked for."""

    def __init__(self, provider: Provider, roster: Roster, changes: Changes, lease: Lease, clock: Clock) -> None:
        self.alerts: Counter[str] = Counter()
        """Alerts by what became of them: scaled, unchanged, unnamed, unknown, failed."""
        self._provider = provider
        self._roster = roster
        self._changes = changes
        self._lease = lease
        self._clock = clock

    async def set_by_hand(self, key: str, replicas: int) -> None:
        """Want what a person wants; load does not go below it for a while. Raises FunctionNotFound, InvalidInput."""
        function, now = self._roster.functions.get(key), self._clock.monotonic()
        if function is None:  # too new to have been announced, or unknown: the provider says which
            await self._changes.scale(key, replicas)
            return
        refuse_scaling(function.spec)
        state = self._roster.state(function)
        before = state.desired(function, now)
        ask = state.ask(replicas, now) if replicas != before else None
        held = state.floor
        state.hold(replicas, "hand", now)
        try:
            await self._changes.hold(key, replicas, floor=0)
        except PenstockError:
            if ask:
                state.take_back(ask)
            state.floor = held
            raise
        state.past = ()
        state.said.clear()
        state.warmed = not replicas
        if not before:
            state.wake(now)
        self._roster.note(key, "hand", before, replicas, "set by hand")

    async def follow(self, alerts: Iterable[Alert]) -> list[PenstockError]:
        """Scale each function that an alert names, one after the other; what went wrong, in the alerts' order."""
        errors = []
        for alert in alerts:
            try:
                result = await self._follow(alert)
            except PenstockError as error:
                errors.append(error)
                result = "failed"
            self.alerts[result] += 1
        return errors

    async def _follow(self, alert: Alert) -> str:
        """What became of an alert. Raises PenstockError when the function could not be scaled."""
        read = await read_alert(self._provider, alert)
        if isinstance(read, str):
            if alert.function:
                self._roster.note(read, "alert", 0, 0, "an alert names a function that there is not")
            return "unknown" if alert.function else "unnamed"
        if read.spec.stages:
            return "unchanged"  # its stages have alerts of their own
        key, before = read.key, read.desired
        state = self._roster.state(read)
        now = self._clock.monotonic()
        wanted = self._wanted(key, state, before, alert.firing)
        floor = wanted if alert.firing else 0
        if wanted == before:
            if floor != read.floor:
                await self._changes.hold(key, None, floor)
            return "unchanged"
        ask = state.ask(wanted, now)
        state.said.clear()
        if not alert.firing:
            state.past = ()
        if not before:
            state.wake(now)
        text = f"an alert fires: {state.scaling.step} more" if alert.firing else "an alert is over: the least"
        try:
            await self._changes.hold(key, wanted, floor)
        except PenstockError as error:
            state.take_back(ask)
            self._roster.note(key, "alert", before, wanted, text, failed=str(error))
            raise
        self._roster.note(key, "alert", before, wanted, text)
        log.info("%s: an alert %s: %d replicas, not %d", key, "fires" if alert.firing else "is over", wanted, before)
        return "scaled"

    def _wanted(self, key: str, state: State, before: int, firing: bool) -> int:
        """Replicas wanted from now on; the floor of an alert comes or goes."""
        if firing:
            wanted = after_alert(before, True, state.scaling)
            state.note_alert(self._clock.now())
            state.hold(wanted, "alert", self._clock.monotonic())
            return wanted
        load_decides = self._load_decides(key, state)
        if load_decides and state.floor:
            self._roster.note(key, "alert", before, before, "an alert is over: the load decides")
        state.floor = None
        state.said.discard("floor")
        return before if load_decides else after_alert(before, False, state.scaling)

    def _load_decides(self, key: str, state: State) -> bool:
        """Whether the next tick, here or at the gateway that leads, finds by itself how many replicas are enough; the least could be
        too few for the load that there is."""
        known = self._roster.load(key, state).value is not None
        return known and not state.scaling.fixed and (self._lease.held or self._changes.shared)
