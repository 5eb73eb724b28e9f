"""Objects of a real store: what is written is read, whatever the size and the key, and what goes wrong is said."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest

from penstock.errors import InvalidInput
from penstock.storage import listing
from penstock.storage.attributes import HOPS
from penstock.storage.errors import (
    BucketNotFound,
    ObjectExists,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    UploadFailed,
)
from penstock.storage.objects import ObjectStore, ObjectStream
from penstock.storage.reference import ObjectRef, parse_reference
from penstock.storage.upload import Stored
from penstock.storagesettings import MIN_PART
from tests.integration.storage.faultyway import Decide, Hang, Pass, Say, always, faulty_way, first
from tests.s3server import S3Server

KEYS = (
    "plain", "a b", "ünïcödé/日本語/🚰", "a+b", "100%", "%2F", "a%20b", "?x=1&y#z", "a..b", "...", "~", "q'uo\"te", "back\\slash",
    "<&>;", "deep/" * 60 + "x", "k" * 1024, " lead", "trail ", "*", "a:b@c", "-",
)  # fmt: skip
LARGE = 3 * MIN_PART + 1234


@pytest.fixture
def store(s3: S3Server, bucket: str) -> ObjectStore:
    return ObjectStore(dataclasses.replace(s3.settings(bucket), part_size=MIN_PART, parallel_parts=2), s3.keys)


def impatient(s3: S3Server, endpoint: str, retry: float = 0.5, timeout: float = 120.0) -> ObjectStore:
    """A store at another address that soon gives up to try again."""
    settings = dataclasses.replace(
        s3.settings("any-bucket"),
        endpoint=endpoint,
        part_size=MIN_PART,
        timeout=timeout,
        retry_timeout=retry,
        connect_timeout=120.0,
    )
    return ObjectStore(settings, s3.keys)


def data_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def write(store: ObjectStore, ref: ObjectRef, data: bytes, content_type: str = "", new: bool = False) -> Stored:
    upload = await store.write(ref, {"Content-Type": content_type} if content_type else {}, if_none_match=new)
    for start in range(0, len(data), 100_000):
        await upload.write(data[start : start + 100_000])
    return await upload.finish()


async def read(stream: ObjectStream) -> bytes:
    return b"".join([piece async for piece in stream])


class TestContent:
    @pytest.mark.parametrize("size", (0, 1, MIN_PART - 1, MIN_PART, MIN_PART + 1, LARGE))
    async def test_what_is_written_is_read(self, store: ObjectStore, s3: S3Server, bucket: str, size: int) -> None:
        ref, data = ObjectRef(bucket, "o"), data_of(size)
        stored = await write(store, ref, data, "text/x-any")
        stream = await store.read(ref)
        assert await read(stream) == data == s3.get(bucket, "o")
        assert (stream.size, stream.etag, stream.attributes["Content-Type"]) == (size, stored.etag, "text/x-any")
        assert stored.size == size

    @pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
    async def test_every_key_is_the_same_for_other_clients(
        self, store: ObjectStore, s3: S3Server, bucket: str, key: str
    ) -> None:
        ref = parse_reference(str(ObjectRef(bucket, key)))
        await write(store, ref, b"ours")
        assert s3.get(bucket, key) == b"ours"
        s3.put(bucket, key, b"theirs")
        assert await read(await store.read(ref)) == b"theirs"
        assert (await store.head(ref)).key == key
        assert [item.key async for item in store.list(bucket)] == [key]
        await store.remove(ref)
        assert [item.key async for item in store.list(bucket)] == []

    @pytest.mark.parametrize(
        "key", ("", "a\nb", "a\x00b", "a\x7fb", "k" * 1025, "é" * 513, "a//b", "/a", "a/", "../a", "a/./b")
    )
    async def test_a_key_that_cannot_be_reached_is_refused(self, store: ObjectStore, bucket: str, key: str) -> None:
        with pytest.raises(InvalidInput):
            await store.read(ObjectRef(bucket, key))

    @pytest.mark.parametrize("size", (1, LARGE))
    async def test_what_describes_an_object_is_kept_with_it(self, store: ObjectStore, bucket: str, size: int) -> None:
        ref = ObjectRef(bucket, "o")
        described = {
            "Content-Type": "text/csv",
            "Content-Encoding": "gzip",
            "Content-Language": "de, en",
            "Content-Disposition": 'attachment; filename="a b.txt"',
            "Cache-Control": "max-age=3",
            HOPS: "7",
        }
        async with await store.write(ref, described) as upload:
            await upload.write(bytes(size))
            await upload.finish()
        stream = await store.read(ref)
        assert stream.attributes == described
        assert len(await read(stream)) == size  # and nobody takes the coding off on the way

    async def test_an_object_that_the_library_cannot_read_is_said_so(
        self, store: ObjectStore, s3: S3Server, bucket: str
    ) -> None:
        s3.put(bucket, "o", b"x", "text/\xfc")
        with pytest.raises(StorageError, match="its Content-Type is not ASCII"):
            await store.read(ObjectRef(bucket, "o"))

    async def test_a_file_of_another_content_type_has_none_of_ours(self, store: ObjectStore, bucket: str) -> None:
        ref = ObjectRef(bucket, "o")
        await write(store, ref, b"x", "image/png")
        await write(store, ref, b"y")
        assert (await store.head(ref)).content_type != "image/png"


class TestRanges:
    @pytest.mark.parametrize(
        ("first_byte", "last", "expected"),
        (
            (0, 0, b"0"),
            (2, 4, b"234"),
            (7, 99, b"789"),
            (9, None, b"9"),
            (0, None, b"0123456789"),
            (0, 9, b"0123456789"),
        ),
    )
    async def test_a_range_is_those_bytes(
        self, store: ObjectStore, s3: S3Server, bucket: str, first_byte: int, last: int | None, expected: bytes
    ) -> None:
        s3.put(bucket, "o", b"0123456789")
        stream = await store.read(ObjectRef(bucket, "o"), first_byte, last)
        assert await read(stream) == expected
        assert (stream.size, stream.first, stream.last) == (10, first_byte, first_byte + len(expected) - 1)

    @pytest.mark.parametrize(("first_byte", "last"), ((10, None), (10, 20)))
    async def test_a_range_behind_the_end_is_refused(
        self, store: ObjectStore, s3: S3Server, bucket: str, first_byte: int, last: int | None
    ) -> None:
        s3.put(bucket, "o", b"0123456789")
        with pytest.raises(RangeNotSatisfiable, match=r"o, which has 10 bytes$") as refused:
            await store.read(ObjectRef(bucket, "o"), first_byte, last)
        assert refused.value.size == 10

    async def test_a_range_that_ends_before_it_begins_is_refused(self, store: ObjectStore, bucket: str) -> None:
        with pytest.raises(InvalidInput):
            await store.read(ObjectRef(bucket, "o"), 5, 4)


class TestAborting:
    async def test_an_upload_given_up_leaves_neither_object_nor_parts(
        self, store: ObjectStore, s3: S3Server, bucket: str
    ) -> None:
        upload = await store.write(ObjectRef(bucket, "o"))
        await upload.write(bytes(LARGE))
        await upload.abort()
        assert (s3.keys_in(bucket), s3.uploads(bucket)) == ([], [])
        with pytest.raises(UploadFailed):
            await upload.write(b"x")

    async def test_an_upload_that_its_block_leaves_unfinished_is_given_up(
        self, store: ObjectStore, s3: S3Server, bucket: str
    ) -> None:
        with pytest.raises(KeyError):
            async with await store.write(ObjectRef(bucket, "o")) as upload:
                await upload.write(bytes(LARGE))
                raise KeyError
        assert (s3.keys_in(bucket), s3.uploads(bucket)) == ([], [])

    async def test_a_writer_that_is_cancelled_leaves_nothing(
        self, store: ObjectStore, s3: S3Server, bucket: str
    ) -> None:
        begun = asyncio.Event()

        async def endless() -> None:
            async with await store.write(ObjectRef(bucket, "o")) as upload:
                while True:
                    await upload.write(bytes(MIN_PART))
                    if s3.uploads(bucket):
                        begun.set()

        task = asyncio.create_task(endless())
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        assert (s3.keys_in(bucket), s3.uploads(bucket)) == ([], [])

    async def test_what_has_finished_stays(self, store: ObjectStore, s3: S3Server, bucket: str) -> None:
        async with await store.write(ObjectRef(bucket, "o")) as upload:
            await upload.write(bytes(LARGE))
            await upload.finish()
        assert (s3.keys_in(bucket), s3.uploads(bucket)) == (["o"], [])

    async def test_the_object_before_stays_when_its_successor_is_given_up(
        self, store: ObjectStore, s3: S3Server, bucket: str
    ) -> None:
        s3.put(bucket, "o", b"before")
        upload = await store.write(ObjectRef(bucket, "o"))
        await upload.write(bytes(LARGE))
        await upload.abort()
        assert s3.get(bucket, "o") == b"before"


class TestOnlyIfNew:
    @pytest.mark.parametrize("size", (3, LARGE))
    async def test_a_new_object_is_written(self, store: ObjectStore, bucket: str, size: int) -> None:
        assert (await write(store, ObjectRef(bucket, "o"), bytes(size), new=True)).size == size

    async def test_an_object_that_exists_ends_it_at_once(self, store: ObjectStore, s3: S3Server, bucket: str) -> None:
        s3.put(bucket, "o", b"before")
        with pytest.raises(ObjectExists, match=f"s3://{bucket}/o"):
            await store.write(ObjectRef(bucket, "o"), if_none_match=True)

    @pytest.mark.parametrize("size", (3, LARGE))
    async def test_an_object_that_comes_in_between_ends_it_in_the_end(
        self, store: ObjectStore, s3: S3Server, bucket: str, size: int
    ) -> None:
        upload = await store.write(ObjectRef(bucket, "o"), if_none_match=True)
        await upload.write(bytes(size))
        s3.put(bucket, "o", b"faster")
        with pytest.raises(ObjectExists):
            await upload.finish()
        assert s3.get(bucket, "o") == b"faster"
        assert s3.uploads(bucket) == []


class TestListing:
    async def test_keys_come_in_their_order_page_by_page(
        self, store: ObjectStore, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listing, "PAGE", 2)
        for key in ("b", "a", "é", "c/d", "c"):
            s3.put(bucket, key, key.encode())
        items = [item async for item in store.list(bucket)]
        assert [item.key for item in items] == ["a", "b", "c", "c/d", "é"]
        assert [item.size for item in items] == [1, 1, 1, 3, 2]
        assert items[0].etag == hashlib.md5(b"a", usedforsecurity=False).hexdigest()
        assert items[0].modified == pytest.approx((await store.head(ObjectRef(bucket, "a"))).modified, abs=1)

    async def test_a_prefix_may_end_in_the_middle_of_a_name(
        self, store: ObjectStore, s3: S3Server, bucket: str
    ) -> None:
        for key in ("in/1", "in/10", "in/2", "inn"):
            s3.put(bucket, key, b"")
        assert [item.key async for item in store.list(bucket, "in/1")] == ["in/1", "in/10"]
        assert [item.key async for item in store.list(bucket, "in/", after="in/1")] == ["in/10", "in/2"]
        assert [item.key async for item in store.list(bucket, after="in/2")] == ["inn"]

    async def test_keys_that_no_reference_can_name_are_listed_too(
        self, store: ObjectStore, s3: S3Server, bucket: str
    ) -> None:
        odd = sorted(["a//b", "dir/", "../up", "a/../b", "/lead", "x\ny", "plus + space"])
        for key in odd:
            s3.put(bucket, key, b"")
        assert [item.key async for item in store.list(bucket)] == odd

    async def test_a_bucket_that_is_not_there(self, store: ObjectStore) -> None:
        with pytest.raises(BucketNotFound, match="no-such-bucket"):
            await anext(aiter(store.list("no-such-bucket")))


class TestPresigning:
    async def test_an_address_gives_the_object_without_keys(
        self, store: ObjectStore, s3: S3Server, bucket: str
    ) -> None:
        s3.put(bucket, "a b+c", b"content")
        url = await store.presign(ObjectRef(bucket, "a b+c"))
        assert await asyncio.to_thread(fetch, urllib.request.Request(url)) == b"content"

    async def test_an_address_takes_an_object_without_keys(self, store: ObjectStore, s3: S3Server, bucket: str) -> None:
        url = await store.presign(ObjectRef(bucket, "o"), "PUT", 60)
        await asyncio.to_thread(fetch, urllib.request.Request(url, b"theirs", method="PUT"))
        assert s3.get(bucket, "o") == b"theirs"

    @pytest.mark.parametrize("seconds", (0, -1, 604801))
    async def test_a_time_that_no_store_accepts_is_refused(self, store: ObjectStore, bucket: str, seconds: int) -> None:
        with pytest.raises(InvalidInput, match="a week"):
            await store.presign(ObjectRef(bucket, "o"), "GET", seconds)


def fetch(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request) as answer:
        body: bytes = answer.read()
        return body


class TestWhatIsMissingOrRefused:
    async def test_an_object_that_is_not_there(self, store: ObjectStore, bucket: str) -> None:
        ref = ObjectRef(bucket, "no such")
        for call in (store.read(ref), store.head(ref)):
            with pytest.raises(ObjectNotFound, match=f"s3://{bucket}/no%20such"):
                await call
        await store.remove(ref)  # is no error

    async def test_a_bucket_that_is_not_there(self, store: ObjectStore) -> None:
        ref = ObjectRef("no-such-bucket", "o")
        for call in (store.read(ref), store.head(ref), store.remove(ref)):
            with pytest.raises(BucketNotFound, match="no-such-bucket"):
                await call
        for size in (1, LARGE):
            with pytest.raises(StorageError, match="no-such-bucket"):
                await write(store, ref, bytes(size))

    @pytest.mark.parametrize("wrong", ("PENSTOCK_S3_ACCESS_KEY", "PENSTOCK_S3_SECRET_KEY"))
    async def test_wrong_keys(self, s3: S3Server, bucket: str, wrong: str) -> None:
        store = ObjectStore(s3.settings(bucket), {**s3.keys, wrong: "wrong-one"})
        ref = ObjectRef(bucket, "o")
        for call in (store.read(ref), store.head(ref), store.remove(ref), store.probe(), write(store, ref, b"x")):
            with pytest.raises(StorageDenied) as caught:
                await call
            assert "wrong-one" not in str(caught.value)
            assert s3.secret_key not in str(caught.value)
        with pytest.raises(StorageDenied):
            await anext(aiter(store.list(bucket)))

    async def test_no_keys(self, s3: S3Server, bucket: str) -> None:
        with pytest.raises(StorageDenied, match="PENSTOCK_S3_ACCESS_KEY"):
            await ObjectStore(s3.settings(bucket), {}).read(ObjectRef(bucket, "o"))

    async def test_keys_of_a_file_that_is_replaced(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        store = ObjectStore(dataclasses.replace(s3.settings(bucket), credentials_file=str(file)), {})
        with pytest.raises(StorageDenied, match="keys"):
            await store.head(ObjectRef(bucket, "o"))
        file.write_text(f"[default]\naws_access_key_id = {s3.access_key}\naws_secret_access_key = {s3.secret_key}\n")
        await write(store, ObjectRef(bucket, "o"), b"x")
        assert s3.get(bucket, "o") == b"x"

    async def test_the_probe_is_silent_when_all_is_well(self, store: ObjectStore) -> None:
        await store.probe()


class TestTrouble:
    async def test_a_store_that_is_not_there(self, s3: S3Server, bucket: str) -> None:
        store = impatient(s3, "http://127.0.0.1:1")
        ref = ObjectRef(bucket, "o")
        for call in (store.read(ref), store.head(ref), write(store, ref, b"x"), write(store, ref, bytes(LARGE))):
            with pytest.raises(StorageUnavailable, match="refuses connections"):
                await call
        with pytest.raises(StorageUnavailable, match="refuses connections"):
            await anext(aiter(store.list(bucket)))

    async def test_a_name_that_nobody_has(self, s3: S3Server, bucket: str) -> None:
        store = impatient(s3, "http://no-such-host.invalid:9000")
        with pytest.raises(StorageUnavailable, match="cannot be resolved"):
            await store.read(ObjectRef(bucket, "o"))

    @pytest.mark.parametrize("status", (500, 503))
    async def test_a_store_that_is_out_of_order_for_a_moment(self, s3: S3Server, bucket: str, status: int) -> None:
        s3.put(bucket, "o", b"content")
        async with faulty_way(s3.endpoint, first(2, Say(status))) as way:
            store = impatient(s3, way.endpoint, retry=120.0)
            assert await read(await store.read(ObjectRef(bucket, "o"))) == b"content"
            assert way.count("GET") == 3

    async def test_a_store_that_stays_out_of_order(self, s3: S3Server, bucket: str) -> None:
        async with faulty_way(s3.endpoint, always(Say(503, "SlowDown"))) as way:
            store = impatient(s3, way.endpoint)
            with pytest.raises(StorageUnavailable, match="503 SlowDown"):
                await store.read(ObjectRef(bucket, "o"))
            with pytest.raises(StorageUnavailable, match="503 SlowDown"):
                await anext(aiter(store.list(bucket)))

    async def test_a_store_that_never_answers(self, s3: S3Server, bucket: str) -> None:
        async with faulty_way(s3.endpoint, always(Hang())) as way:
            store = impatient(s3, way.endpoint, timeout=1.0)
            with pytest.raises(StorageUnavailable, match="in time"):
                await store.read(ObjectRef(bucket, "o"))
            with pytest.raises(StorageUnavailable, match="within"):
                await store.probe()

    async def test_an_answer_that_breaks_off_is_taken_up_where_it_ended(self, s3: S3Server, bucket: str) -> None:
        data = data_of(4 << 20)
        s3.put(bucket, "o", data)
        async with faulty_way(s3.endpoint, first(1, Pass(cut=1 << 20))) as way:
            store = impatient(s3, way.endpoint, retry=120.0)
            assert await read(await store.read(ObjectRef(bucket, "o"))) == data
            assert way.count("GET") == 2

    async def test_one_that_breaks_off_when_the_time_for_trying_again_is_over_is_taken_up_too(
        self, s3: S3Server, bucket: str
    ) -> None:
        data = data_of(12 << 20)
        s3.put(bucket, "o", data)
        async with faulty_way(s3.endpoint, first(2, Pass(cut=4 << 20))) as way:
            # The library's time runs from its request on: no time at all is as if the object had been read for long.
            store = impatient(s3, way.endpoint, retry=0.0)
            assert await read(await store.read(ObjectRef(bucket, "o"), first=5)) == data[5:]
            assert way.count("GET") == 3

    async def test_one_that_was_written_anew_when_it_breaks_off_is_not_mixed_with_the_new_one(
        self, s3: S3Server, bucket: str
    ) -> None:
        s3.put(bucket, "o", data_of(12 << 20))
        async with faulty_way(s3.endpoint, first(1, Pass(cut=4 << 20))) as way:
            stream = await impatient(s3, way.endpoint, retry=0.0).read(ObjectRef(bucket, "o"))
            await anext(stream)
            s3.put(bucket, "o", data_of(12 << 20)[::-1])
            with pytest.raises(StorageUnavailable, match="written anew"):
                await read(stream)

    async def test_an_answer_that_always_breaks_off(self, s3: S3Server, bucket: str) -> None:
        s3.put(bucket, "o", data_of(4 << 20))
        async with faulty_way(s3.endpoint, always(Pass(cut=1000))) as way:
            stream = await impatient(s3, way.endpoint).read(ObjectRef(bucket, "o"))
            with pytest.raises(StorageUnavailable):
                await read(stream)

    @pytest.mark.parametrize(
        ("decide", "error"),
        (
            (always(Say(403, "AccessDenied"), r"PUT .*partNumber=2"), StorageDenied),
            (always(Say(500), r"PUT .*partNumber=3"), StorageUnavailable),
            (always(Say(400, "InvalidPart"), r"POST .*uploadId="), StorageError),
        ),
        ids=("a part is refused", "a part is never taken", "the end is refused"),
    )
    async def test_an_upload_that_fails_leaves_neither_object_nor_parts(
        self, s3: S3Server, bucket: str, decide: Decide, error: type[StorageError]
    ) -> None:
        async with faulty_way(s3.endpoint, decide) as way:
            with pytest.raises(error):
                async with await impatient(s3, way.endpoint).write(ObjectRef(bucket, "o")) as upload:
                    for _ in range(8):
                        await upload.write(bytes(MIN_PART))
                    await upload.finish()
        assert (s3.keys_in(bucket), s3.uploads(bucket)) == ([], [])

    async def test_a_part_that_fails_for_a_moment_is_sent_again(self, s3: S3Server, bucket: str) -> None:
        data = data_of(LARGE)
        async with faulty_way(s3.endpoint, first(2, Say(503), r"PUT .*partNumber=")) as way:
            await write(impatient(s3, way.endpoint, retry=120.0), ObjectRef(bucket, "o"), data)
        assert s3.get(bucket, "o") == data

    async def test_a_reader_that_goes_away_ends_the_request(self, s3: S3Server, bucket: str) -> None:
        s3.put(bucket, "o", data_of(16 << 20))
        async with faulty_way(s3.endpoint, always(Pass())) as way:
            stream = await impatient(s3, way.endpoint).read(ObjectRef(bucket, "o"))
            assert await anext(stream)
            await stream.aclose()
            assert [piece async for piece in stream] == []


async def test_memory_does_not_grow_with_the_object(s3: S3Server, bucket: str) -> None:
    program = textwrap.dedent("""\
        import asyncio, dataclasses, os, resource, sys
        from penstock.storage.leaving import leave
        from penstock.storage.objects import ObjectStore
        from penstock.storage.reference import ObjectRef
        from penstock.storagesettings import StorageSettings

        async def main() -> None:
            settings = StorageSettings(endpoint=sys.argv[1], part_size=5 << 20, parallel_parts=2)
            store, ref = ObjectStore(settings, os.environ), ObjectRef(sys.argv[2], "o")
            async def through(mebibytes: int) -> None:
                upload = await store.write(ref)
                for _ in range(mebibytes):
                    await upload.write(bytes(1 << 20))
                await upload.finish()
                async for piece in await store.read(ref):
                    mebibytes -= len(piece) / (1 << 20)
                assert mebibytes == 0
            await through(16)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await through(256)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

        asyncio.run(main())
        leave(0)
        """)
    command = [sys.executable, "-c", program, s3.endpoint, bucket]
    done = await asyncio.to_thread(subprocess.run, command, env=s3.keys, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) < 96 << 10, "KiB more for 256 MiB than for 16 MiB"
