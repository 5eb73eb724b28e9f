"""Runs that take turns, because machines have moods: A B, B A, A B. Pure but for what is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def alternate(rounds: int, sides: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run every side once a round, in an order that turns round each time; the results of each side by round."""
    results: dict[str, list[T]] = {name: [] for name in sides}
    for index in range(rounds):
        for name in list(sides) if index % 2 == 0 else reversed(list(sides)):
            results[name].append(sides[name]())
    return results
