"""The functions that there are, with what is remembered of each, their loads, and the journal.

One for each control process: the scaler decides by it, once a second, and `autoscaler.orders` at once when told.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.autoscaler.journal import Decision
from penstock.autoscaler.loads import Load
from penstock.autoscaler.sources import Sources
from penstock.autoscaler.state import State
from penstock.model import Function
from penstock.providers.clock import Clock


class Roster:
    """Functions by key (`name.namespace`)."""

    def __init__(self, functions: Mapping[str, Function], clock: Clock, sources: Sources) -> None:
        self.functions = functions
        """As the provider tells of them, kept up to date by others."""
        self.states: dict[str, State] = {}
        self.journal = sources.journal
        self._clock = clock
        self._sources = sources

    def state(self, function: Function) -> State:
        """What is remembered of a function; begun anew when it was removed and deployed again."""
        key, now = function.key, self._clock.monotonic()
        state = self.states.get(key)
        if state is None or state.deployed != function.created_at:
            if state is not None:
                self._forget(key)
            learned = self._sources.learned
            known = learned.take(key, function.created_at) if learned else None
            state = self.states[key] = State(function, now, known)
        elif state.spec is not function.spec:
            state.read(function)
        return state

    def load(self, key: str, state: State) -> Load:
        """The load by which a function is scaled, or why nobody knows it."""
        if not self._sources.enabled:
            return Load(None, "autoscaling is off")
        return self._sources.loads.of(key, state.scaling)

    def note(self, key: str, rule: str, before: int, after: int, text: str, failed: str = "") -> None:
        """Write down what was done outside of the scaler's own decisions."""
        decision = Decision(
            when=self._clock.now(), rule=rule, before=before, after=after, reason=text, failed=failed[:1000]
        )
        self.journal.note(key, decision)

    def forget_gone(self) -> None:
        """Forget functions that were removed."""
        for key in self.states.keys() - self.functions.keys():
            self._forget(key)

    def _forget(self, key: str) -> None:
        del self.states[key]
        self._sources.loads.meter.forget(key)
        self.journal.forget(key)
