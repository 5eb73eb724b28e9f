"""Which generations of a function have had their day.

Pure. Swarm ends an old task as soon as the new one runs, which is before its port answers; so an update is a second service, and
the first one goes when enough replicas of the second are ready.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.providers.swarm.generation import Generation


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A generation and how it is doing."""

    generation: Generation
    ready: int
    """Replicas whose port answers."""
    hopeful: bool
    """Whether it has served, or may be about to as far as is known: tasks run that were not asked yet."""


def superseded(standings: Sequence[Standing]) -> list[Generation]:
    """Those to remove. Older ones stay for as long as they serve and the newest does not; what never served goes at once."""
    *older, newest = sorted(standings, key=lambda standing: standing.generation.number)
    done = newest.generation.planned and newest.ready >= newest.generation.desired
    return [standing.generation for standing in older if done or not (standing.ready or standing.hopeful)]
