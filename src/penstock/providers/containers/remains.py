"""Containers that ended by themselves and are kept for a while, because their logs say why.

Called by `lives`. A function keeps its latest few; they go with newer ones, when the function is deleted, and at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import NamedTuple

KEPT = 3
"""For each function, whatever its replicas."""


class Remnant(NamedTuple):
    """A container that runs no more."""

    container: str
    replica: str


class Remains:
    """By function. It holds ids; whoever calls removes the containers that it gives back."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._functions: dict[str, deque[Remnant]] = {}

    def add(self, key: str, remnant: Remnant) -> list[str]:
        """Keep one more; the containers that are kept no longer."""
        kept = self._functions.setdefault(key, deque())
        kept.append(remnant)
        return [kept.popleft().container for _ in range(len(kept) - self._kept)]

    def drop(self, key: str, keep: Collection[str] = ()) -> list[str]:
        """Let go of a function's, but for those of these replicas; the containers."""
        kept = self._functions.pop(key, deque())
        staying = deque(one for one in kept if one.replica in keep)
        if staying:
            self._functions[key] = staying
        return [one.container for one in kept if one.replica not in keep]

    def drop_all(self) -> list[str]:
        return [container for key in list(self._functions) for container in self.drop(key)]

    def discard(self, container: str) -> None:
        """It is no longer what ended here."""
        for key, kept in self._functions.items():
            self._functions[key] = deque(one for one in kept if one.container != container)

    def of(self, key: str) -> tuple[Remnant, ...]:
        """A function's, oldest first."""
        return tuple(self._functions.get(key, ()))

    def __iter__(self) -> Iterator[str]:
        return (one.container for kept in self._functions.values() for one in kept)
