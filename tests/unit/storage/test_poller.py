"""A bucket is compared with what was seen before, page by page, and nothing is told twice or lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from penstock.database import DatabaseUnavailable
from penstock.storage import poller as module
from penstock.storage.errors import StorageError, StorageUnavailable
from penstock.storage.eventlog import Seen
from penstock.storage.poller import Poller, Polling
from tests.unit.storage.support import Deliveries, ScriptedCaller, by_key, function


class Stored(NamedTuple):
    key: str
    size: int = 1
    etag: str = "e1"
    modified: float = 1.5


class Bucket:
    """A store with one bucket that lists what it has, until the key `breaks`."""

    def __init__(self, *keys: str) -> None:
        self.objects = {key: Stored(key) for key in keys}
        self.breaks = ""
        self.lists = 0
        self.ordered = True

    async def list(self, bucket: str, prefix: str = "", after: str = "") -> AsyncIterator[Stored]:
        self.lists += 1
        for key in sorted(self.objects, reverse=not self.ordered):
            if self.breaks and key >= self.breaks:
                raise StorageUnavailable("broken off")
            await asyncio.sleep(0)
            yield self.objects[key]


@dataclass
class Leads:
    """Who leads: we, another one, or nobody knows."""

    held: bool
    elsewhere: bool = False


class Looks(Deliveries):
    """A poller of one bucket, with a function that wants to hear of everything in it."""

    def __init__(self, path: Path, bucket: Bucket, existing: bool = False, leads: bool = True) -> None:
        functions = by_key(function("f", events="created,removed"))
        super().__init__(path, functions, ScriptedCaller())
        self.functions = functions
        self.lease = Leads(leads, not leads)
        polling = Polling(("photos",), 30.0, existing)
        self.poller = Poller(bucket, self.deliverer, self.clock, polling, self.lease)

    async def told(self) -> list[tuple[str, str]]:
        """What the function was told, in order of keys, since the last asking."""
        await self.until(lambda: self.log.counts.pending == 0 and not self.deliverer.in_flight)
        told = [(headers["X-Event-Name"].split(":")[1], headers["X-Object-Key"]) for _, headers in self.caller.calls]
        self.caller.calls.clear()
        return sorted(told, key=lambda one: one[1])


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)


async def test_the_first_look_takes_what_is_there_as_seen(tmp_path: Path) -> None:
    bucket = Bucket("a", "b", "c", "d")
    async with Looks(tmp_path, bucket) as one:
        await one.poller.look("photos")
        assert await one.told() == []
        bucket.objects["e"] = Stored("e")
        await one.poller.look("photos")
        assert await one.told() == [("ObjectCreated", "e")]


async def test_the_first_look_tells_of_what_is_there_where_that_is_wanted(tmp_path: Path) -> None:
    async with Looks(tmp_path, Bucket("a", "b", "c", "d"), existing=True) as one:
        await one.poller.look("photos")
        assert [key for _, key in await one.told()] == ["a", "b", "c", "d"]
        await one.poller.look("photos")
        assert await one.told() == []


async def test_a_bucket_that_was_empty_at_the_first_look_was_looked_into(tmp_path: Path) -> None:
    bucket = Bucket()
    async with Looks(tmp_path, bucket) as one:
        await one.poller.look("photos")
        bucket.objects["a"] = Stored("a")
        await one.poller.look("photos")
        assert await one.told() == [("ObjectCreated", "a")]


@pytest.mark.parametrize(
    "written", [Stored("b", etag="e2"), Stored("b", modified=2.5), Stored("b", size=2)], ids=("etag", "time", "size")
)
async def test_an_object_that_was_written_again_is_told(tmp_path: Path, written: Stored) -> None:
    bucket = Bucket("a", "b", "c", "d")
    async with Looks(tmp_path, bucket) as one:
        await one.poller.look("photos")
        bucket.objects["b"] = written
        await one.poller.look("photos")
        assert await one.told() == [("ObjectCreated", "b")]
        await one.poller.look("photos")
        assert await one.told() == []


@pytest.mark.parametrize(
    "gone", ["a", "abcdefghi", "ijkl", "abcdefghijkl", "l", "b", "fgh"], ids=lambda gone: f"without-{gone}"
)
async def test_objects_that_went_are_told_wherever_they_were(tmp_path: Path, gone: str) -> None:
    bucket = Bucket(*"abcdefghijkl")
    async with Looks(tmp_path, bucket) as one:
        await one.poller.look("photos")
        for key in gone:
            del bucket.objects[key]
        await one.poller.look("photos")
        assert await one.told() == [("ObjectRemoved", key) for key in gone]
        assert [seen.key for seen in await one.log.seen("photos", "", None, 100)] == sorted(bucket.objects)
        await one.poller.look("photos")
        assert await one.told() == []


async def test_one_that_came_again_is_told_again(tmp_path: Path) -> None:
    bucket = Bucket("a")
    async with Looks(tmp_path, bucket) as one:
        await one.poller.look("photos")
        del bucket.objects["a"]
        await one.poller.look("photos")
        bucket.objects["a"] = Stored("a", modified=9.0)
        await one.poller.look("photos")
        assert sorted(await one.told()) == [("ObjectCreated", "a"), ("ObjectRemoved", "a")]


async def test_a_look_that_broke_off_has_told_of_no_removal_behind_it_and_the_next_goes_on(tmp_path: Path) -> None:
    bucket = Bucket(*"abcdef")
    async with Looks(tmp_path, bucket) as one:
        await one.poller.look("photos")
        bucket.objects |= {key: Stored(key) for key in ("aa", "zz")}
        bucket.breaks = "e"
        with pytest.raises(StorageUnavailable):
            await one.poller.look("photos")
        assert await one.told() == [("ObjectCreated", "aa")]
        bucket.breaks = ""
        await one.poller.look("photos")
        assert await one.told() == [("ObjectCreated", "zz")]


async def test_a_first_look_that_broke_off_is_still_the_first(tmp_path: Path) -> None:
    bucket = Bucket(*"abcdef")
    bucket.breaks = "e"
    async with Looks(tmp_path, bucket) as one:
        with pytest.raises(StorageUnavailable):
            await one.poller.look("photos")
        bucket.breaks = ""
        await one.poller.look("photos")
        assert await one.told() == []


async def test_what_was_seen_outlives_the_process(tmp_path: Path) -> None:
    bucket = Bucket("a")
    async with Looks(tmp_path, bucket) as one:
        await one.poller.look("photos")
    bucket.objects["b"] = Stored("b")
    async with Looks(tmp_path, bucket) as again:
        await again.poller.look("photos")
        assert await again.told() == [("ObjectCreated", "b")]


async def test_a_store_that_lists_out_of_order_is_not_believed(tmp_path: Path) -> None:
    bucket = Bucket("a", "b")
    bucket.ordered = False
    async with Looks(tmp_path, bucket) as one:
        with pytest.raises(StorageError, match="out of order"):
            await one.poller.look("photos")


async def test_a_key_that_no_request_can_name_is_left_out_and_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = Bucket("folder/", "good", "new\nline")
    async with Looks(tmp_path, bucket, existing=True) as one:
        await one.poller.look("photos")
        assert await one.told() == [("ObjectCreated", "good")]
        assert len(await one.log.seen("photos", "", None, 10)) == 3
    assert "\nline" not in caplog.text


async def test_it_looks_again_and_again_while_some_function_wants_to_hear(tmp_path: Path) -> None:
    bucket = Bucket("a")
    async with Looks(tmp_path, bucket) as one:
        running = asyncio.create_task(one.poller.run())
        await one.until(lambda: one.poller.looks["photos", "complete"] == 1)
        await one.at_rest()
        bucket.objects["b"] = Stored("b")
        await one.until(lambda: one.clock.sleepers >= 3)
        await one.clock.advance(30.0)
        await one.until(lambda: one.poller.looks["photos", "complete"] == 2)
        assert await one.told() == [("ObjectCreated", "b")]
        one.functions.clear()
        await one.until(lambda: one.clock.sleepers >= 3)
        await one.clock.advance(30.0)
        await one.until(lambda: one.clock.sleepers >= 3)
        assert bucket.lists == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_of_several_gateways_only_the_one_that_leads_looks(tmp_path: Path) -> None:
    bucket = Bucket("a")
    async with Looks(tmp_path, bucket, leads=False) as one:
        running = asyncio.create_task(one.poller.run())
        await one.until(lambda: one.clock.sleepers >= 3)
        assert bucket.lists == 0
        one.lease.held, one.lease.elsewhere = True, False
        await one.clock.advance(30.0)
        await one.until(lambda: one.poller.looks["photos", "complete"] == 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_that_takes_the_lead_tells_of_what_the_one_before_may_have_missed(tmp_path: Path) -> None:
    bucket = Bucket()
    async with Looks(tmp_path, bucket, leads=False) as one:
        running = asyncio.create_task(one.poller.run())
        await one.until(lambda: one.clock.sleepers >= 3)
        begins = one.clock.now().timestamp() - module.HANDOVER - 30.0
        for key, modified in (("old", begins - 1), ("recent", begins)):
            bucket.objects[key] = Stored(key, modified=modified)
        one.lease.held, one.lease.elsewhere = True, False
        await one.clock.advance(30.0)
        await one.until(lambda: one.poller.looks["photos", "complete"] == 1)
        assert await one.told() == [("ObjectCreated", "recent")]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_that_does_not_know_yet_who_leads_follows_nobody(tmp_path: Path) -> None:
    bucket = Bucket("there before")
    async with Looks(tmp_path, bucket) as one:
        one.lease.held = False
        bucket.objects["there before"] = Stored("there before", modified=one.clock.now().timestamp())
        running = asyncio.create_task(one.poller.run())
        await one.until(lambda: one.clock.sleepers >= 3)
        assert not bucket.lists
        one.lease.held = True
        await one.clock.advance(30.0)
        await one.until(lambda: one.poller.looks["photos", "complete"] == 1)
        assert await one.told() == []
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_that_takes_the_lead_and_has_looked_before_tells_of_all_that_came_since(tmp_path: Path) -> None:
    bucket = Bucket("a")
    async with Looks(tmp_path, bucket, leads=False) as one:
        await one.poller.look("photos")
        running = asyncio.create_task(one.poller.run())
        await one.until(lambda: one.clock.sleepers >= 3)
        bucket.objects["b"] = Stored("b", modified=2.0)
        one.lease.held, one.lease.elsewhere = True, False
        await one.clock.advance(30.0)
        await one.until(lambda: one.poller.looks["photos", "complete"] == 1)
        assert await one.told() == [("ObjectCreated", "b")]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_is_away_is_said_once_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = Bucket("a")
    bucket.breaks = "a"
    async with Looks(tmp_path, bucket) as one:
        running = asyncio.create_task(one.poller.run())
        for looks in range(1, 4):
            await one.until(lambda: one.poller.looks["photos", "failed"] == looks)  # noqa: B023 - awaited at once
            await one.until(lambda: one.clock.sleepers >= 3)
            await one.clock.advance(30.0)
        assert caplog.text.count("cannot look into the bucket photos: broken off") == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_marks_of_a_look_and_its_deliveries_are_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket("a")
    async with Looks(tmp_path, bucket, existing=True) as one:
        monkeypatch.setattr("penstock.storage.eventlog._insert", _fail)
        with pytest.raises(DatabaseUnavailable, match="disk"):
            await one.poller.look("photos")
        monkeypatch.undo()
        assert await one.log.seen("photos", "", None, 10) == []
        await one.poller.look("photos")
        assert await one.log.seen("photos", "", None, 10) == [Seen("a", "e1 1 1.5")]
        assert await one.told() == [("ObjectCreated", "a")]


def _fail(*_: object) -> int:
    raise OSError("disk")
