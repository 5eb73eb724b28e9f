"""Desired state on disk: functions and namespaces in SQLite, durable before a call returns.

The local provider opens it once; callers get futures in call order. How the file is written is told in `penstock.database`.
Secrets and logs are files elsewhere.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Protocol

import apsw
import msgspec

from penstock.database import BUSY_MS, Database
from penstock.errors import ProviderUnavailable
from penstock.model import FunctionSpec, Namespace

MIGRATIONS = (
    """
CREATE TABLE functions (
  namespace TEXT NOT NULL, name TEXT NOT NULL, spec BLOB NOT NULL, desired INTEGER NOT NULL,
  generation INTEGER NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE TABLE namespaces (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
""",
)
"""From each version of the schema to the next; a new version adds its step here."""


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
    """Desired state in one SQLite file."""

    def __init__(self, path: Path, busy_ms: int = BUSY_MS) -> None:
        self._path = path
        self._database = Database(path, MIGRATIONS, busy_ms)

    async def open(self) -> Desired:
        await self._database.open()
        try:
            return await self._database.run(_load)
        except ProviderUnavailable:
            await self.close()
            raise
        except (msgspec.MsgspecError, ValueError) as error:
            await self.close()
            raise ProviderUnavailable(
                f"the database {self._path} is damaged ({error}); restore it from a copy, or move it away to start empty"
            ) from error

    async def close(self) -> None:
        await self._database.close()

    def put_function(self, record: FunctionRecord) -> asyncio.Future[None]:
        row = (
            record.spec.namespace,
            record.spec.name,
            msgspec.json.encode(record.spec),
            record.desired,
            record.generation,
            record.created_at.isoformat(),
        )
        return self._write("INSERT OR REPLACE INTO functions VALUES (?, ?, ?, ?, ?, ?)", row)

    def set_desired(self, name: str, namespace: str, desired: int) -> asyncio.Future[None]:
        values = (desired, namespace, name)
        return self._write("UPDATE functions SET desired = ? WHERE namespace = ? AND name = ?", values)

    def remove_function(self, name: str, namespace: str) -> asyncio.Future[None]:
        return self._write("DELETE FROM functions WHERE namespace = ? AND name = ?", (namespace, name))

    def put_namespace(self, namespace: Namespace) -> asyncio.Future[None]:
        return self._write(
            "INSERT OR REPLACE INTO namespaces VALUES (?, ?)", (namespace.name, msgspec.json.encode(namespace))
        )

    def remove_namespace(self, name: str) -> asyncio.Future[None]:
        return self._write("DELETE FROM namespaces WHERE name = ?", (name,))

    def _write(self, statement: str, values: tuple[str | int | bytes, ...]) -> asyncio.Future[None]:
        def write(db: apsw.Connection) -> None:
            db.execute(statement, values)

        return self._database.run(write)


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
