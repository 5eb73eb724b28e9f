"""Pages of a listing: what stores answer is read, what is none is refused."""

from __future__ import annotations

import pytest

from penstock.storage.errors import StorageError
from penstock.storage.listing import ObjectInfo, read_page

PAGE = b"""<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken><Contents><Key>a%2Bb+c%0Ad/%C3%BC</Key>
<LastModified>1970-01-01T00:01:40.500Z</LastModified><ETag>&quot;e-2&quot;</ETag><Size>7</Size></Contents></ListBucketResult>"""


def test_a_page_is_read() -> None:
    assert read_page(PAGE) == ([ObjectInfo("a+b c\nd/ü", 7, "e-2", 100.5)], "next")


def test_a_store_may_leave_out_the_namespace() -> None:
    assert read_page(PAGE.replace(b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b"")) == read_page(PAGE)


def test_the_last_page_has_no_successor() -> None:
    assert read_page(PAGE.replace(b">true<", b">false<")).token == ""
    assert read_page(b"<ListBucketResult/>") == ([], "")


@pytest.mark.parametrize(
    "body",
    (
        b"", b"<html>", b"no XML", PAGE.replace(b">7<", b">seven<"), PAGE.replace(b"1970-01-01T00:01:40.500Z", b"yesterday"),
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&undefined;</x>",
    ),
)  # fmt: skip
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(StorageError, match="not what S3 answers"):
        read_page(body)
