"""Numbers of replicas on their way to the provider: one at a time for each function, beside everything else.

The scaler starts them. A provider that refuses or hangs is told of once in the journal, and asked again at the next tick.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

import msgspec

from penstock.autoscaler.journal import Decision, Journal
from penstock.autoscaler.state import State
from penstock.core.names import split_key
from penstock.errors import FunctionNotFound, PenstockError
from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.base import Holding, Provider
from penstock.providers.clock import Clock

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a provider may take to accept a number."""

HELD = frozenset(("window", "maximum", "floor", "unknown"))
"""Reasons for no change that are worth a line when they begin."""


class _Change(NamedTuple):
    """A decision that the provider is carrying out."""

    since: float
    state: State
    decision: Decision
    task: asyncio.Task[None]


class Changes:
    """All changes under way, by function."""

    def __init__(self, provider: Provider, clock: Clock, journal: Journal) -> None:
        self._provider = provider
        self._clock = clock
        self._journal = journal
        self._under_way: dict[str, _Change] = {}
        self._holding = provider if isinstance(provider, Holding) else None

    @property
    def shared(self) -> bool:
        """Whether the provider keeps floors of alerts, for other control processes and for later ones."""
        return self._holding is not None

    def __contains__(self, key: str) -> bool:
        return key in self._under_way

    async def close(self) -> None:
        tasks = [change.task for change in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def scale(self, key: str, replicas: int) -> None:
        """Have the provider want so many, and wait for it. Raises what the provider raises."""
        name, namespace = split_key(key, DEFAULT_NAMESPACE)
        await self._provider.scale(name, namespace, replicas)

    async def hold(self, key: str, replicas: int | None, floor: int) -> None:
        """As `scale`, None for as many as now, and have a provider that keeps floors of alerts keep this one; 0 is none."""
        if self._holding:
            name, namespace = split_key(key, DEFAULT_NAMESPACE)
            await self._holding.hold(name, namespace, replicas, floor)
        elif replicas is not None:
            await self.scale(key, replicas)

    def start(self, key: str, state: State, decision: Decision) -> None:
        """Have the provider do it beside everything else; until it has, nothing more is decided about this function."""
        task = asyncio.create_task(self._carry_out(key, state, decision))
        self._under_way[key] = _Change(self._clock.monotonic(), state, decision, task)
        task.add_done_callback(lambda _: self._under_way.pop(key, None))

    def give_up(self, key: str, now: float) -> None:
        """Wait no longer for a provider that hangs; the next tick tries again."""
        change = self._under_way[key]
        if now - change.since < PATIENCE or change.task.done():
            return
        change.task.cancel()
        self._failed(key, change.state, change.decision, f"the provider has not answered for {PATIENCE:g} s")

    async def _carry_out(self, key: str, state: State, decision: Decision) -> None:
        ask = state.ask(decision.after, self._clock.monotonic())
        try:
            await self.scale(key, decision.after)
        except asyncio.CancelledError:
            state.take_back(ask)
            raise
        except FunctionNotFound:
            return
        except Exception as error:
            state.take_back(ask)
            if not isinstance(error, PenstockError):
                log.exception("%s cannot be scaled", key)
            self._failed(key, state, decision, str(error))
            return
        state.failing = False
        state.said.clear()
        if decision.rule in HELD:
            state.said.add(decision.rule)
        if decision.after == 0:
            state.floor, state.past = None, ()
        self._journal.note(key, decision)
        log.info("%s: %d replicas, not %d: %s", key, decision.after, decision.before, decision.reason)

    def _failed(self, key: str, state: State, decision: Decision, why: str) -> None:
        """Said once, until it works again."""
        if not state.failing:
            state.failing = True
            log.warning("%s cannot be scaled to %d, it is tried again: %s", key, decision.after, why)
            self._journal.note(key, msgspec.structs.replace(decision, failed=why[:1000]))
