"""One SQLite file that one thread writes: whatever waits is committed together, and is durable once its future ends.

`providers.store` keeps desired state in one, `storage.eventlog` events. A single connection and a single thread are what SQLite's
WAL is safest with; the file is locked for this process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from penstock.errors import ProviderUnavailable

BATCH = 64
"""Operations in one commit at most, so that none waits long behind a flood."""
BUSY_MS = 3000
"""How long to wait for an earlier process to let go of the file."""

T = TypeVar("T")
Operation = Callable[[apsw.Connection], T]
_Job = tuple[Operation[Any], "asyncio.Future[Any]"]

_log = logging.getLogger(__name__)


class DatabaseUnavailable(ProviderUnavailable):
    """The file cannot be used; the message names it and says what to do. To a provider it is its back-end that fails."""


class Database:
    """The file at `path`; `migrations` are the steps from each version of its schema to the next, the first from an empty one."""

    def __init__(self, path: Path, migrations: Sequence[str], busy_ms: int = BUSY_MS) -> None:
        self._path = path
        self._migrations = migrations
        self._busy_ms = busy_ms
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Raises DatabaseUnavailable."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=self._run, args=(loop, opened), name=f"{self._path.stem}-writer", daemon=True)
        thread.start()
        await opened
        self._loop, self._thread = loop, thread

    async def close(self) -> None:
        """Finish what was begun and let go."""
        thread, self._thread = self._thread, None
        if thread:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def run(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Do it in call order, in a transaction; the result is there once it is durable. Raises DatabaseUnavailable.

        An operation may be run twice: one that shares a transaction with another that fails is done again alone.
        """
        if self._loop is None or self._thread is None:
            raise DatabaseUnavailable(f"the database {self._path} is not open")
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((operation, done))
        return done

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        """The thread: open, then commit batches until told to stop."""
        try:
            db = self._open()
        except (apsw.Error, OSError, DatabaseUnavailable) as error:
            _tell(loop, opened, _translated(self._path, error))
            return
        _tell(loop, opened, None)
        try:
            while self._write_batch(loop, db):
                pass
        finally:
            db.close()

    def _open(self) -> apsw.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = apsw.Connection(str(self._path))
        try:
            self._path.chmod(0o600)
            db.set_busy_timeout(self._busy_ms)
            db.pragma("locking_mode", "exclusive")
            db.pragma("journal_mode", "wal")
            db.pragma("synchronous", "full")
            with db:
                self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: apsw.Connection) -> None:
        """Bring an older schema up to date; a newer one is left as it is."""
        version, newest = int(db.pragma("user_version")), len(self._migrations)
        if version > newest:
            raise DatabaseUnavailable(
                f"the database {self._path} has schema {version}, this version of Penstock knows up to {newest}: "
                "it was written by a newer one; upgrade, or use another --home"
            )
        for step in range(version, newest):
            db.execute(self._migrations[step])
            db.pragma("user_version", step + 1)

    def _write_batch(self, loop: asyncio.AbstractEventLoop, db: apsw.Connection) -> bool:
        """Wait for work and commit what has gathered; False when told to stop."""
        jobs: list[_Job] = []
        item = self._jobs.get()
        while item is not None:
            jobs.append(item)
            if len(jobs) == BATCH or self._jobs.empty():
                break
            item = self._jobs.get()
        if len(jobs) == 1 or (jobs and not self._commit(db, jobs, loop, alone=False)):
            for job in jobs:
                self._commit(db, [job], loop, alone=True)
        return item is not None

    def _commit(
        self, db: apsw.Connection, jobs: Sequence[_Job], loop: asyncio.AbstractEventLoop, *, alone: bool
    ) -> bool:
        """All of `jobs` in one transaction. A failed batch is tried again one by one, so that each gets its own answer."""
        try:
            with db:
                results = [operation(db) for operation, _ in jobs]
        except Exception as error:
            if alone:
                _log.warning("the database %s: %s", self._path, error)
                _tell(loop, jobs[0][1], _translated(self._path, error))
            return False
        for (_, done), result in zip(jobs, results, strict=True):
            _tell(loop, done, None, result)
        return True


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], error: Exception | None, result: object = None
) -> None:
    """Settle a future from the thread; one that its caller gave up, or whose loop is gone, is left alone."""

    def settle() -> None:
        if future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)


def _translated(path: Path, error: Exception) -> Exception:
    """An error that names the file and says what to do; defects stay as they are."""
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        text = f"the database {path} is in use by another process; is `penstock serve` running with this home?"
    elif isinstance(error, apsw.CorruptError | apsw.NotADBError):
        text = f"the database {path} is damaged ({error}); restore it from a copy, or move it away to start empty"
    elif isinstance(error, apsw.Error | OSError):
        text = f"the database {path} cannot be used: {error}"
    else:
        return error
    translated = DatabaseUnavailable(text)
    translated.__cause__ = error
    return translated
