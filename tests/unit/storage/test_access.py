"""Buckets that are not on the list are refused."""

from __future__ import annotations

import pytest

from penstock.storage.access import check_bucket
from penstock.storage.errors import BucketNotAllowed
from penstock.storage.reference import ObjectRef


def test_a_bucket_of_the_list_is_allowed() -> None:
    check_bucket(ObjectRef("inbox", "k"), {"inbox", "outbox"})


@pytest.mark.parametrize("bucket", ("inbo", "inbox2", "INBOX", ""))
def test_any_other_is_refused_without_telling_the_list(bucket: str) -> None:
    with pytest.raises(BucketNotAllowed) as caught:
        check_bucket(ObjectRef(bucket, "k"), {"inbox", "secret-one"})
    assert "secret-one" not in str(caught.value)
    assert caught.value.status == 403
