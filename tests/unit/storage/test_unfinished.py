"""Lists of uploads that were never finished: what stores answer is read, what is none is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from penstock.storage.errors import BucketNotFound, StorageError, StorageUnavailable, UploadFailed
from penstock.storage.listing import Lister
from penstock.storage.reference import ObjectRef
from penstock.storage.unfinished import Unfinished, read_uploads, remove_parts, unfinished

PAGE = b"""<?xml version="1.0"?><ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket>
<NextKeyMarker>a%2Bb+c</NextKeyMarker><NextUploadIdMarker>2~x</NextUploadIdMarker><IsTruncated>true</IsTruncated>
<Upload><Key>a%2Bb+c</Key><UploadId>2~x</UploadId><Initiated>1970-01-01T00:01:40.500Z</Initiated></Upload>
</ListMultipartUploadsResult>"""
LAST = PAGE.replace(b">true<", b">false<")


class Scripted:
    """Answers with what it has, and keeps what it was asked (`storage.listing.Lister`)."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, str, Mapping[str, str]]] = []

    async def ask(self, method: str, bucket: str, path: str, parameters: Mapping[str, str]) -> bytes:
        self.asked.append((method, bucket, path, dict(parameters)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def lister(self) -> Lister:
        return cast(Lister, self)


def test_a_page_is_read() -> None:
    page = read_uploads(PAGE)
    assert page.uploads == [("a+b c", "2~x", 100.5)]
    assert page.markers == {"key-marker": "a+b c", "upload-id-marker": "2~x"}


def test_a_store_may_leave_out_the_namespace() -> None:
    assert read_uploads(PAGE.replace(b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b"")) == read_uploads(PAGE)


def test_the_last_page_has_no_successor() -> None:
    assert read_uploads(LAST).markers == {}
    assert read_uploads(b"<ListMultipartUploadsResult/>") == ([], {})


@pytest.mark.parametrize(
    "body",
    (
        b"", b"<html>", b"no XML", PAGE.replace(b"1970-01-01T00:01:40.500Z", b"yesterday"),
        PAGE.replace(b"<UploadId>2~x</UploadId>", b""), PAGE.replace(b"<Key>a%2Bb+c</Key>", b"<Key/>"),
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&undefined;</x>",
    ),
)  # fmt: skip
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(StorageError, match="not what S3 answers"):
        read_uploads(body)


async def test_all_pages_are_asked_for() -> None:
    store = Scripted(PAGE, LAST)
    found = [one async for one in unfinished(store.lister, "bucket", "a")]
    assert found == [Unfinished(ObjectRef("bucket", "a+b c"), "2~x", 100.5)] * 2
    assert [asked[3].get("key-marker") for asked in store.asked] == [None, "a+b c"]
    assert [asked[3]["prefix"] for asked in store.asked] == ["a", "a"]


async def test_a_store_that_gives_the_same_page_for_ever_is_not_asked_for_ever() -> None:
    store = Scripted(PAGE, PAGE)
    assert len([one async for one in unfinished(store.lister, "bucket")]) == 2


async def test_the_key_is_encoded_in_the_request_that_removes() -> None:
    store = Scripted(b"")
    await remove_parts(store.lister, Unfinished(ObjectRef("bucket", "a/ü +%?"), "2~x", 0.0))
    assert store.asked == [("DELETE", "bucket", "a/%C3%BC%20%2B%25%3F", {"uploadId": "2~x"})]


@pytest.mark.parametrize("error", (UploadFailed("it has ended"), BucketNotFound("there is none")))
async def test_an_upload_that_has_ended_meanwhile_is_no_error(error: StorageError) -> None:
    await remove_parts(Scripted(error).lister, Unfinished(ObjectRef("bucket", "a"), "2~x", 0.0))


async def test_a_store_that_does_not_answer_is_one() -> None:
    with pytest.raises(StorageUnavailable):
        store = Scripted(StorageUnavailable("no answer"))
        await remove_parts(store.lister, Unfinished(ObjectRef("bucket", "a"), "2~x", 0.0))
