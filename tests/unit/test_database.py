from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from penstock.database import Database, DatabaseUnavailable

SCHEMA = "CREATE TABLE t (x UNIQUE)"


def add(value: str | int) -> Callable[[apsw.Connection], None]:
    def operation(db: apsw.Connection) -> None:
        db.execute("INSERT INTO t VALUES (?)", (value,))

    return operation


def values(db: apsw.Connection) -> list[object]:
    return [value for (value,) in db.execute("SELECT x FROM t ORDER BY rowid")]


async def opened(path: Path) -> Database:
    database = Database(path, [SCHEMA])
    await database.open()
    return database


async def test_what_was_done_is_there_after_reopening_in_the_order_of_calls(tmp_path: Path) -> None:
    database = await opened(tmp_path / "deep" / "x.db")
    for number in range(200):
        database.run(add(number))
    await database.close()
    again = await opened(tmp_path / "deep" / "x.db")
    assert await again.run(values) == list(range(200))
    await again.close()


async def test_the_file_is_private_and_durable(tmp_path: Path) -> None:
    database = await opened(tmp_path / "x.db")
    assert (tmp_path / "x.db").stat().st_mode & 0o777 == 0o600
    pragmas = await database.run(lambda db: (db.pragma("journal_mode"), db.pragma("synchronous")))
    assert pragmas == ("wal", 2)
    await database.close()


async def test_an_operation_that_fails_fails_alone_and_leaves_nothing(tmp_path: Path) -> None:
    database = await opened(tmp_path / "x.db")

    def halfway(db: apsw.Connection) -> None:
        db.execute("INSERT INTO t VALUES ('half')")
        raise ValueError("defect")

    operations = [add("a"), halfway, add("a"), add("b")]
    results = await asyncio.gather(*map(database.run, operations), return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], ValueError)
    assert isinstance(results[2], DatabaseUnavailable)
    assert results[3] is None
    assert await database.run(values) == ["a", "b"]
    await database.close()


async def test_without_open_and_after_close_it_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db", [SCHEMA])
    with pytest.raises(DatabaseUnavailable, match="is not open"):
        database.run(values)
    await database.open()
    await database.close()
    with pytest.raises(DatabaseUnavailable, match="is not open"):
        database.run(values)


async def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(DatabaseUnavailable, match=r"x\.db is damaged"):
        await opened(tmp_path / "x.db")
    assert (tmp_path / "x.db").read_bytes().startswith(b"this is no database")


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "x.db"))
    db.execute("CREATE TABLE t (x); PRAGMA user_version = 2")
    db.close()
    with pytest.raises(DatabaseUnavailable, match=r"x\.db has schema 2.*newer"):
        await opened(tmp_path / "x.db")


async def test_a_second_one_is_told_that_the_file_is_in_use_and_has_it_once_the_first_lets_go(tmp_path: Path) -> None:
    first = await opened(tmp_path / "x.db")
    await first.run(values)
    second = Database(tmp_path / "x.db", [SCHEMA], busy_ms=10)
    with pytest.raises(DatabaseUnavailable, match=r"x\.db is in use"):
        await second.open()
    await first.close()
    await second.open()
    assert await second.run(values) == []
    await second.close()


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match=r"file/x\.db cannot be used"):
        await opened(tmp_path / "file" / "x.db")
