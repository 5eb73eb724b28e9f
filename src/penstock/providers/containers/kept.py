"""Containers that are kept at zero, stopped or frozen, for the next replica of their function: at most one for each function.

Only holds state; `resting` fills and empties it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from penstock.providers.containers.entry import Entry, Record
from penstock.providers.runtimes.base import Order

Manner = Literal["stop", "pause"]


@dataclass(frozen=True)
class Kept:
    """A container that nobody uses, and all that is needed to use it again."""

    container: str
    name: str
    record: Record
    address: str
    pid: int
    started_at: datetime | None
    stop_signal: str
    secrets: str
    """Digest of the secrets in it; empty when nobody knows them."""
    manner: Manner

    def fits(self, order: Order) -> bool:
        """Whether it is what this order would start."""
        return self.record.fits(order)

    def lend(self, entry: Entry) -> None:
        """Give a replica all that is known of it."""
        entry.container, entry.name, entry.record = self.container, self.name, self.record
        entry.address, entry.pid = self.address, self.pid
        entry.started_at = self.started_at if self.manner == "pause" else None
        entry.stop_signal, entry.stage = self.stop_signal, "waking"


class Shelf:
    """What is kept, by function."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def put(self, key: str, kept: Kept) -> Kept | None:
        """Keep this one; the one that was kept until now."""
        before, self._kept[key] = self._kept.get(key), kept
        return before

    def take(self, key: str) -> Kept | None:
        return self._kept.pop(key, None)

    def of(self, key: str) -> Kept | None:
        return self._kept.get(key)

    def key_of(self, container: str) -> str:
        """The function whose kept container this is; empty when it is none's."""
        return next((key for key, kept in self._kept.items() if kept.container == container), "")

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._kept))


def keep(entry: Entry, manner: Manner) -> Kept:
    """What is to be known of a replica's container once the replica has ended."""
    if entry.record is None:
        raise ValueError(f"{entry!r} has no container")
    return Kept(
        container=entry.container,
        name=entry.name,
        record=entry.record,
        address=entry.address,
        pid=entry.pid,
        started_at=entry.started_at,
        stop_signal=entry.stop_signal,
        secrets=digest_of(entry.order.secrets) if not entry.found else "",
        manner=manner,
    )


def digest_of(secrets: Mapping[str, bytes]) -> str:
    """By which secrets are compared without being kept."""
    digest = hashlib.sha256()
    for name, value in sorted(secrets.items()):
        digest.update(f"{len(name)}:{name}:{len(value)}:".encode() + value)
    return digest.hexdigest()
