from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from penstock.errors import ProviderUnavailable
from penstock.model import FunctionSpec, Namespace
from penstock.providers.store import MIGRATIONS, FunctionRecord, SqliteStore


def record(name: str, desired: int = 1, generation: int = 1) -> FunctionRecord:
    spec = FunctionSpec(name=name, env_process="cat", env_vars={"K": "日本"}, labels={"a": "b"})
    return FunctionRecord(
        spec=spec, desired=desired, generation=generation, created_at=datetime(2026, 1, 2, tzinfo=UTC)
    )


async def test_what_was_stored_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.db"
    store = SqliteStore(path)
    assert (await store.open()).functions == []
    await store.put_function(record("a"))
    await store.put_function(record("b", desired=3))
    await store.set_desired("b", "openfaas-fn", 0)
    await store.remove_function("a", "openfaas-fn")
    await store.put_namespace(Namespace(name="team", labels={"x": "y"}))
    await store.close()
    again = SqliteStore(path)
    desired = await again.open()
    assert desired.functions == [record("b", desired=0)]
    assert desired.namespaces == [Namespace(name="team", labels={"x": "y"})]
    await again.close()


async def test_many_writes_at_once_are_kept_in_call_order(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    writes = [store.put_function(record("f", generation=number)) for number in range(1, 301)]
    await asyncio.gather(*writes)
    await store.close()
    again = SqliteStore(tmp_path / "state.db")
    assert [kept.generation for kept in (await again.open()).functions] == [300]
    await again.close()


async def test_close_finishes_writes_that_nobody_waited_for(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    for number in range(100):
        store.put_function(record(f"f{number}"))
    await store.close()
    again = SqliteStore(tmp_path / "state.db")
    assert len((await again.open()).functions) == 100
    await again.close()


async def test_the_file_is_private_and_durable(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    assert (tmp_path / "state.db").stat().st_mode & 0o777 == 0o600
    await store.put_function(record("f"))
    await store.close()
    db = apsw.Connection(str(tmp_path / "state.db"))
    assert db.pragma("journal_mode") == "wal"
    assert db.pragma("user_version") == len(MIGRATIONS)
    db.close()


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(ProviderUnavailable, match=r"state\.db is damaged"):
        await SqliteStore(path).open()
    assert path.read_bytes().startswith(b"this is no database")


async def test_a_damaged_specification_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    await store.open()
    await store.put_function(record("f"))
    await store.close()
    db = apsw.Connection(str(path))
    db.execute("UPDATE functions SET spec = ?", (b"{not json",))
    db.close()
    with pytest.raises(ProviderUnavailable, match=r"state\.db is damaged"):
        await SqliteStore(path).open()


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db = apsw.Connection(str(path))
    db.execute(f"CREATE TABLE t (x); PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(ProviderUnavailable, match=r"state\.db has schema 2.*newer"):
        await SqliteStore(path).open()


async def test_a_second_process_is_told_that_the_file_is_in_use(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "state.db")
    await first.open()
    await first.put_function(record("f"))
    with pytest.raises(ProviderUnavailable, match=r"state\.db is in use"):
        await SqliteStore(tmp_path / "state.db", busy_ms=10).open()
    await first.close()


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProviderUnavailable, match=r"file/state\.db cannot be used"):
        await SqliteStore(tmp_path / "file" / "state.db").open()


async def test_a_failing_write_fails_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    bad = store._write("INSERT INTO no_such_table VALUES (?)", (1,))
    good = store.put_function(record("good"))
    with pytest.raises(ProviderUnavailable, match="no_such_table"):
        await bad
    await good
    await store.close()


async def test_writing_before_opening_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProviderUnavailable, match="not open"):
        SqliteStore(tmp_path / "state.db").put_function(record("f"))


async def test_nothing_stays_open(tmp_path: Path) -> None:
    for _ in range(3):
        store = SqliteStore(tmp_path / "state.db")
        await store.open()
        await store.put_function(record("f"))
        await store.close()
    assert not [fd for fd in os.listdir("/proc/self/fd") if _place_of(fd).startswith(str(tmp_path))]


def _place_of(fd: str) -> str:
    """What a descriptor is of; nothing when it was closed meanwhile, as that of a listing itself."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""
