"""Why functions have the replicas that they have: the last decisions about each, kept in memory.

The scaler and the alert handler write it; the REST API and the metrics read it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from datetime import datetime

import msgspec

KEPT = 100
"""Decisions about one function."""

MOST_FUNCTIONS = 10_000
"""Functions, unknown ones of alerts included; beyond that the one whose last decision is oldest is forgotten."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One, with what it came from."""

    when: datetime
    rule: str
    """One word: a `core.scaling.Rule`, or `alert`, `wake`, `hand`, `warm`."""
    before: int
    """Replicas wanted until then."""
    after: int
    reason: str
    """A sentence for people."""
    inputs: dict[str, float | int | str] = {}
    """Numbers that it was made from: `load`, `target`, `asked`, `ready`, `idle`, whatever counted."""
    failed: str = ""
    """Why it could not be carried out."""


class Journal:
    """Decisions by function (`name.namespace`), and how many there were by function and rule since the start."""

    def __init__(self) -> None:
        self._entries: dict[str, deque[Decision]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def note(self, key: str, decision: Decision) -> None:
        entries = self._entries.pop(key, None)
        if entries is None:
            entries = deque(maxlen=KEPT)
            if len(self._entries) >= MOST_FUNCTIONS:
                self.forget(next(iter(self._entries)))
        self._entries[key] = entries
        entries.append(decision)
        self.counts[key, decision.rule] += 1

    def of(self, key: str) -> tuple[Decision, ...]:
        """Oldest first."""
        return tuple(self._entries.get(key, ()))

    def forget(self, key: str) -> None:
        """The function is gone."""
        self._entries.pop(key, None)
        self.drop_counts([key])

    def drop_counts(self, keys: Iterable[str]) -> None:
        gone = set(keys)
        for pair in [pair for pair in self.counts if pair[0] in gone]:
            del self.counts[pair]
