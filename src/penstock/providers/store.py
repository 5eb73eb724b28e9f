"""Desired state on disk: functions and namespaces in SQLite, durable before a call returns.

The local provider opens it once. One thread owns the only connection, since SQLite's WAL is safest with one, and commits
everything that waits together (group commit); callers get futures in call order. Secrets and logs are files elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import apsw
import msgspec

from penstock.errors import ProviderUnavailable
from penstock.model import FunctionSpec, Namespace

SCHEMA_VERSION = 1
_BATCH = 64
"""Operations in one commit at most, so that none waits long behind a flood."""
_BUSY_MS = 3000
"""How long to wait for an earlier control process to let go of the file."""

_SCHEMA = """
CREATE TABLE functions (
  namespace TEXT NOT NULL, name TEXT NOT NULL, spec BLOB NOT NULL, desired INTEGER NOT NULL,
  generation INTEGER NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE TABLE namespaces (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
"""
_MIGRATIONS: dict[int, str] = {0: _SCHEMA}
"""From each schema version to the next; a new version adds its step here and raises SCHEMA_VERSION."""

_log = logging.getLogger(__name__)
_Operation = Callable[[apsw.Connection], None]
_Job = tuple[_Operation, "asyncio.Future[None]"]


class FunctionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A function as it should be."""

    spec: FunctionSpec
    desired: int
    generation: int
    created_at: datetime


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was stored when the store was opened."""

    functions: list[FunctionRecord] = []
    namespaces: list[Namespace] = []


class Store(Protocol):
    """Where desired state is kept. Writes begin in call order at once; their futures end when the change is durable."""

    async def open(self) -> Desired:
        """Load everything. Raises ProviderUnavailable naming what cannot be used and why."""

    async def close(self) -> None:
        """Finish what was begun and let go."""

    def put_function(self, record: FunctionRecord) -> asyncio.Future[None]: ...

    def set_desired(self, name: str, namespace: str, desired: int) -> asyncio.Future[None]: ...

    def remove_function(self, name: str, namespace: str) -> asyncio.Future[None]: ...

    def put_namespace(self, namespace: Namespace) -> asyncio.Future[None]: ...

    def remove_namespace(self, name: str) -> asyncio.Future[None]: ...


class SqliteStore:
    """Desired state in one SQLite file (WAL, synchronous=FULL, locked for this process alone)."""

    def __init__(self, path: Path, busy_ms: int = _BUSY_MS) -> None:
        self._path = path
        self._busy_ms = busy_ms
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> Desired:
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[Desired] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(self._loop, opened), name="state-writer", daemon=True)
        self._thread.start()
        return await opened

    async def close(self) -> None:
        if self._thread:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def put_function(self, record: FunctionRecord) -> asyncio.Future[None]:
        row = (
            record.spec.namespace,
            record.spec.name,
            msgspec.json.encode(record.spec),
            record.desired,
            record.generation,
            record.created_at.isoformat(),
        )
        return self._submit(lambda db: _execute(db, "INSERT OR REPLACE INTO functions VALUES (?, ?, ?, ?, ?, ?)", row))

    def set_desired(self, name: str, namespace: str, desired: int) -> asyncio.Future[None]:
        statement = "UPDATE functions SET desired = ? WHERE namespace = ? AND name = ?"
        return self._submit(lambda db: _execute(db, statement, (desired, namespace, name)))

    def remove_function(self, name: str, namespace: str) -> asyncio.Future[None]:
        statement = "DELETE FROM functions WHERE namespace = ? AND name = ?"
        return self._submit(lambda db: _execute(db, statement, (namespace, name)))

    def put_namespace(self, namespace: Namespace) -> asyncio.Future[None]:
        row = (namespace.name, msgspec.json.encode(namespace))
        return self._submit(lambda db: _execute(db, "INSERT OR REPLACE INTO namespaces VALUES (?, ?)", row))

    def remove_namespace(self, name: str) -> asyncio.Future[None]:
        return self._submit(lambda db: _execute(db, "DELETE FROM namespaces WHERE name = ?", (name,)))

    def _submit(self, operation: _Operation) -> asyncio.Future[None]:
        if self._loop is None or self._thread is None:
            raise ProviderUnavailable(f"state database {self._path} is not open")
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((operation, done))
        return done

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[Desired]) -> None:
        """The writer thread: open, then commit batches until told to stop."""
        try:
            db = _open(self._path, self._busy_ms)
            try:
                desired = _load(db)
            except BaseException:
                db.close()
                raise
        except (apsw.Error, OSError, msgspec.MsgspecError, ValueError, ProviderUnavailable) as error:
            _tell(loop, opened, _translate(self._path, error))
            return
        loop.call_soon_threadsafe(opened.set_result, desired)
        try:
            while self._write_batch(loop, db):
                pass
        finally:
            db.close()

    def _write_batch(self, loop: asyncio.AbstractEventLoop, db: apsw.Connection) -> bool:
        """Wait for work and commit what has gathered; False when told to stop."""
        jobs: list[_Job] = []
        item = self._jobs.get()
        while item is not None:
            jobs.append(item)
            if len(jobs) == _BATCH or self._jobs.empty():
                break
            item = self._jobs.get()
        if jobs and not self._commit(db, jobs, loop):
            for job in jobs:
                self._commit(db, [job], loop, alone=True)
        return item is not None

    def _commit(
        self, db: apsw.Connection, jobs: list[_Job], loop: asyncio.AbstractEventLoop, alone: bool = False
    ) -> bool:
        """All of `jobs` in one transaction. A failed batch is tried again one by one, so that each gets its own answer."""
        try:
            with db:
                for operation, _ in jobs:
                    operation(db)
        except apsw.Error as error:
            _log.warning("state database %s: %s", self._path, error)
            if alone:
                _tell(loop, jobs[0][1], _translate(self._path, error))
            return False
        for _, done in jobs:
            _tell(loop, done, None)
        return True


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], error: Exception | None) -> None:
    """Settle a future from the writer thread; one that its caller gave up, or whose loop is gone, is left alone."""

    def settle() -> None:
        if future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def _open(path: Path, busy_ms: int) -> apsw.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = apsw.Connection(str(path))
    try:
        path.chmod(0o600)
        db.set_busy_timeout(busy_ms)
        db.pragma("locking_mode", "exclusive")
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "full")
        with db:
            _migrate(path, db)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(path: Path, db: apsw.Connection) -> None:
    """Bring an older schema up to date; a newer one is left as it is."""
    version = int(db.pragma("user_version"))
    if version > SCHEMA_VERSION:
        raise ProviderUnavailable(
            f"state database {path} has schema {version}, this version of Penstock knows up to {SCHEMA_VERSION}: "
            "it was written by a newer one; upgrade, or use another --home"
        )
    for step in range(version, SCHEMA_VERSION):
        db.execute(_MIGRATIONS[step])
        db.pragma("user_version", step + 1)


def _load(db: apsw.Connection) -> Desired:
    functions = [
        FunctionRecord(
            spec=msgspec.json.decode(spec, type=FunctionSpec),
            desired=desired,
            generation=generation,
            created_at=datetime.fromisoformat(created_at),
        )
        for spec, desired, generation, created_at in db.execute(
            "SELECT spec, desired, generation, created_at FROM functions ORDER BY namespace, name"
        )
    ]
    bodies = db.execute("SELECT body FROM namespaces ORDER BY name")
    return Desired(functions=functions, namespaces=[msgspec.json.decode(body, type=Namespace) for (body,) in bodies])


def _execute(db: apsw.Connection, statement: str, values: tuple[str | int | bytes, ...]) -> None:
    db.execute(statement, values)


def _translate(path: Path, error: Exception) -> ProviderUnavailable:
    """An error that names the file and says what to do."""
    if isinstance(error, ProviderUnavailable):
        return error
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        text = f"state database {path} is in use by another process; is `penstock serve` running with this home?"
    elif isinstance(error, apsw.CorruptError | apsw.NotADBError | msgspec.MsgspecError | ValueError):
        text = f"state database {path} is damaged ({error}); restore it from a copy, or move it away to start empty"
    else:
        text = f"state database {path} cannot be used: {error}"
    translated = ProviderUnavailable(text)
    translated.__cause__ = error
    return translated
