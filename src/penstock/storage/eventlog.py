"""Events that functions are to be told of, on disk: accepted before a store is answered, kept until they are delivered or given up.

`storage.delivery` and `storage.poller` use it. A delivery that is over stays for a day, without its event, so that one that a store
tells again is not made again. Times are seconds since 1970, because they outlive the process.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from penstock.database import Database
from penstock.storage.objectevent import ObjectEvent

KEEP_DONE = 24 * 3600.0
"""Seconds for which a delivery that is over is known again. Stores repeat a notification within minutes."""
MOST_DEAD = 10_000
"""Deliveries given up that are kept, with their events; older ones make room."""

_PENDING, _DEAD, _DONE = 0, 1, 2

_SCHEMA = """
CREATE TABLE deliveries (
  id TEXT PRIMARY KEY, state INTEGER NOT NULL, due REAL NOT NULL, function TEXT NOT NULL, event BLOB NOT NULL,
  attempts INTEGER NOT NULL, accepted REAL NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_time ON deliveries (state, due);
CREATE TABLE looked (bucket TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE seen (
  bucket TEXT NOT NULL, key TEXT NOT NULL, mark TEXT NOT NULL, PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
"""
"""`due` is when a delivery is made next, or when it was over; `looked` has the buckets whose first look is complete."""


class Delivery(NamedTuple):
    """A function (`name.namespace`) to be told of an event."""

    id: str
    """The call id, the same at each attempt."""
    function: str
    event: ObjectEvent
    attempts: int = 0
    """Made so far."""
    accepted: float = 0.0
    reason: str = ""
    """What became of the last attempt, in words."""
    ended: float = 0.0
    """When it was given up."""


class Counts(NamedTuple):
    """Deliveries in the log."""

    pending: int
    dead: int


class Seen(NamedTuple):
    """What the last look saw of an object: `mark` changes with it."""

    key: str
    mark: str


class EventLog:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, [_SCHEMA])
        self.counts = Counts(0, 0)
        """As of the last change."""

    async def open(self) -> None:
        """Raises DatabaseUnavailable."""
        await self._db.open()
        self.counts = await self._db.run(_count)

    async def close(self) -> None:
        await self._db.close()

    async def accept(self, deliveries: Sequence[Delivery], now: float) -> int:
        """Keep those that are not known yet, to be made at once; how many these are. They are durable on return."""
        rows = _rows(deliveries, now)
        added = await self._db.run(lambda db: _insert(db, rows))
        self._changed(pending=added)
        return added

    async def due(self, now: float, limit: int, busy: Collection[str], full: Collection[str]) -> list[Delivery]:
        """At most `limit` that are due, oldest first, without those whose id is in `busy` or whose function is in `full`."""
        query = (
            "SELECT id, function, event, attempts, accepted, reason, due FROM deliveries WHERE state = ? AND due <= ? "
            "AND id NOT IN (SELECT value FROM json_each(?)) AND function NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY due, id LIMIT ?"
        )
        values = (_PENDING, now, json.dumps(list(busy)), json.dumps(list(full)), limit)
        return await self._db.run(lambda db: _read(db, query, values))

    async def next_due(self, now: float) -> float | None:
        """When the next one after `now` is due; None when none is."""
        query = "SELECT min(due) FROM deliveries WHERE state = ? AND due > ?"
        return await self._db.run(lambda db: _one(db, query, (_PENDING, now)))

    async def hasten(self, latest: float) -> None:
        """Have none due later than `latest`: the clock may have been set back since it was put off."""
        statement = "UPDATE deliveries SET due = ? WHERE state = ? AND due > ?"
        await self._db.run(lambda db: _change(db, statement, (latest, _PENDING, latest)))

    async def delivered(self, identity: str, now: float) -> None:
        """It is over, and well."""
        statement = "UPDATE deliveries SET state = ?, due = ?, event = x'', reason = '' WHERE id = ? AND state = ?"
        changed = await self._db.run(lambda db: _change(db, statement, (_DONE, now, identity, _PENDING)))
        self._changed(pending=-changed)

    async def put_off(self, identity: str, attempts: int, due: float, reason: str) -> None:
        """It failed and is made again at `due`."""
        statement = "UPDATE deliveries SET attempts = ?, due = ?, reason = ? WHERE id = ? AND state = ?"
        await self._db.run(lambda db: _change(db, statement, (attempts, due, reason, identity, _PENDING)))

    async def give_up(self, identity: str, attempts: int, now: float, reason: str) -> None:
        """It is not made again unless somebody asks for it."""
        statement = "UPDATE deliveries SET state = ?, attempts = ?, due = ?, reason = ? WHERE id = ? AND state = ?"
        values = (_DEAD, attempts, now, reason, identity, _PENDING)
        changed = await self._db.run(lambda db: _change(db, statement, values))
        self._changed(pending=-changed, dead=changed)

    async def dead(self, limit: int) -> list[Delivery]:
        """Those given up, the latest first."""
        query = (
            "SELECT id, function, event, attempts, accepted, reason, due FROM deliveries WHERE state = ? "
            "ORDER BY due DESC, id LIMIT ?"
        )
        return await self._db.run(lambda db: _read(db, query, (_DEAD, limit)))

    async def revive(self, now: float) -> int:
        """Make all that were given up once more, with all their attempts; how many these are."""
        statement = "UPDATE deliveries SET state = ?, attempts = 0, due = ? WHERE state = ?"
        changed = await self._db.run(lambda db: _change(db, statement, (_PENDING, now, _DEAD)))
        self._changed(pending=changed, dead=-changed)
        return changed

    async def forget(self, now: float) -> int:
        """Forget what has been over for a day, and the oldest of too many given up; how many of the latter."""
        await self._db.run(lambda db: _change(db, _FORGET_DONE, (_DONE, now - KEEP_DONE)))
        forgotten = await self._db.run(lambda db: _change(db, _FORGET_DEAD, (_DEAD, MOST_DEAD)))
        self._changed(dead=-forgotten)
        return forgotten

    # What the poller has seen.

    async def looked(self, bucket: str) -> bool:
        """Whether the bucket was ever looked through to its end."""
        query = "SELECT count(*) FROM looked WHERE bucket = ?"
        return bool(await self._db.run(lambda db: _one(db, query, (bucket,))))

    async def seen(self, bucket: str, after: str, upto: str | None, limit: int) -> list[Seen]:
        """At most `limit` objects that were there at the last look, by key: those after `after`, to `upto` inclusive (None: all)."""
        values: tuple[str | int, ...] = (bucket, after, limit) if upto is None else (bucket, after, upto, limit)
        query = _SEEN if upto is None else _SEEN_UPTO
        return await self._db.run(lambda db: [Seen(str(key), str(mark)) for key, mark in db.execute(query, values)])

    async def note(
        self, bucket: str, here: Sequence[Seen], gone: Sequence[str], deliveries: Sequence[Delivery], now: float
    ) -> int:
        """What a look has found, and who is to be told, all or nothing; how many deliveries are new."""
        rows = _rows(deliveries, now)

        def write(db: apsw.Connection) -> int:
            db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", [(bucket, *one) for one in here])
            db.executemany("DELETE FROM seen WHERE bucket = ? AND key = ?", [(bucket, key) for key in gone])
            return _insert(db, rows)

        added = await self._db.run(write)
        self._changed(pending=added)
        return added

    async def finish_look(self, bucket: str) -> None:
        """From now on what was not seen before is new."""
        await self._db.run(lambda db: _change(db, "INSERT OR IGNORE INTO looked VALUES (?)", (bucket,)))

    def _changed(self, pending: int = 0, dead: int = 0) -> None:
        self.counts = Counts(self.counts.pending + pending, self.counts.dead + dead)


_FORGET_DONE = "DELETE FROM deliveries WHERE state = ? AND due < ?"
_FORGET_DEAD = (
    "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE state = ? ORDER BY due DESC LIMIT -1 OFFSET ?)"
)
_SEEN = "SELECT key, mark FROM seen WHERE bucket = ? AND key > ? ORDER BY key LIMIT ?"
_SEEN_UPTO = "SELECT key, mark FROM seen WHERE bucket = ? AND key > ? AND key <= ? ORDER BY key LIMIT ?"
"""Two statements: with one condition for both SQLite would look through everything behind the bound."""
_Value = str | int | float | bytes | None


def _rows(deliveries: Sequence[Delivery], now: float) -> list[tuple[_Value, ...]]:
    encode = msgspec.json.encode
    return [(one.id, _PENDING, now, one.function, encode(one.event), 0, now, "") for one in deliveries]


def _insert(db: apsw.Connection, rows: Sequence[tuple[_Value, ...]]) -> int:
    before = db.total_changes()
    db.executemany("INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return db.total_changes() - before


def _change(db: apsw.Connection, statement: str, values: tuple[_Value, ...]) -> int:
    before = db.total_changes()
    db.execute(statement, values)
    return db.total_changes() - before


def _one(db: apsw.Connection, query: str, values: tuple[_Value, ...]) -> float | None:
    for (value,) in db.execute(query, values):
        return None if value is None else float(value)
    return None


def _read(db: apsw.Connection, query: str, values: tuple[_Value, ...]) -> list[Delivery]:
    return [
        Delivery(identity, function, msgspec.json.decode(event, type=ObjectEvent), attempts, accepted, reason, due)
        for identity, function, event, attempts, accepted, reason, due in db.execute(query, values)
    ]


def _count(db: apsw.Connection) -> Counts:
    numbers = dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))
    return Counts(numbers.get(_PENDING, 0), numbers.get(_DEAD, 0))
