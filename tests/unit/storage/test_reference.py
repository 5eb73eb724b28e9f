"""References to objects: every key has one, and what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.storage.reference import ObjectRef, check_key, parse_location, parse_reference

KEY = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("text", "key"),
    (
        ("s3://bucket/a", "a"),
        ("s3://bucket/a/b.txt", "a/b.txt"),
        ("s3://bucket/a%20b", "a b"),
        ("s3://bucket/a b", "a b"),
        ("s3://bucket/a+b", "a+b"),
        ("s3://bucket/100%25", "100%"),
        ("s3://bucket/%2525", "%25"),
        ("s3://bucket/a..b/...", "a..b/..."),
        ("s3://bucket/%C3%BC", "ü"),
        ("s3://bucket/ü", "ü"),
        ("s3://bucket/a?b#c", "a?b#c"),
        ("s3://bucket/a%2Fb", "a/b"),
        ("s3://bucket/~'\"", "~'\""),
    ),
)
def test_a_reference_names_a_key(text: str, key: str) -> None:
    assert parse_reference(text) == ObjectRef("bucket", key)


@given(KEY)
def test_every_key_that_can_be_reached_has_a_reference_in_ascii(key: str) -> None:
    try:
        check_key(key)
    except InvalidInput:
        return
    text = str(ObjectRef("bucket", key))
    assert text.isascii()
    assert text.isprintable()
    assert parse_reference(text) == ObjectRef("bucket", key)


@pytest.mark.parametrize(
    "text",
    (
        "", "bucket/key", "http://bucket/key", "S3://bucket/key", "s3:/bucket/key", "s3://", "s3:///key", "s3://bucket",
        "s3://bucket/", "s3://Bucket/key", "s3://bu/key", "s3://bucket_1/key", "s3://bu..cket/key", "s3://user@bucket/key",
        "s3://bucket:80/key", f"s3://{'b' * 64}/key", "s3://-bucket/key", "s3://bucket/100%", "s3://bucket/%zz", "s3://bucket/%",
        "s3://bucket/a%0Ab", "s3://bucket/a\nb", "s3://bucket/a%00b", "s3://bucket/a%7Fb", "s3://bucket/%C2%85", "s3://bucket/%FF",
        "s3://bucket/\ud800", "s3://bucket//a", "s3://bucket/a//b", "s3://bucket/a/", "s3://bucket/..", "s3://bucket/../a",
        "s3://bucket/a/%2E%2E/b", "s3://bucket/./a", f"s3://bucket/{'k' * 1025}", f"s3://bucket/{'%C3%A9' * 513}", " s3://bucket/a",
    ),
)  # fmt: skip
def test_what_is_no_reference_is_refused_in_one_safe_line(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1100


def test_the_longest_key_is_accepted() -> None:
    assert len(parse_reference(f"s3://bucket/{'%C3%A9' * 512}").key) == 512


@pytest.mark.parametrize(
    ("text", "prefix"),
    (("s3://bucket", ""), ("s3://bucket/", ""), ("s3://bucket/a/", "a/"), ("s3://bucket/a%20", "a ")),
)
def test_a_location_is_any_prefix(text: str, prefix: str) -> None:
    assert parse_location(text) == ("bucket", prefix)
