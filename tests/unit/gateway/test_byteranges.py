"""One range of bytes, as clients ask for it."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.gateway.byteranges import ByteRange, parse_range


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", ByteRange()),
        ("bytes=0-0", ByteRange(0, 0)),
        ("bytes=5-", ByteRange(5)),
        ("BYTES=5-9", ByteRange(5, 9)),
        (" bytes=0-9999999999999999999 ", ByteRange(0, 9999999999999999999)),
        ("bytes=-10", ByteRange(suffix=10)),
    ],
)
def test_a_range_is_read(text: str, part: ByteRange) -> None:
    assert parse_range(text) == part


@pytest.mark.parametrize(
    "text",
    [
        "bytes=",
        "bytes=-",
        "bytes=-0",
        "bytes=9-5",
        "bytes=0-1,3-4",
        "bytes=a-b",
        "bytes=+1-2",
        "bytes=1 - 2",
        "items=0-1",
        "0-1",
        "bytes=\N{ARABIC-INDIC DIGIT ONE}-",
        "bytes=" + "9" * 100_000 + "-",
    ],
)
def test_what_is_not_one_range_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^Range: ") as refusal:
        parse_range(text)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("suffix", "size", "first"),
    [(10, 100, 90), (100, 100, 0), (101, 100, 0), (1, 0, 0)],
)
def test_a_suffix_is_the_end_of_the_object(suffix: int, size: int, first: int) -> None:
    assert ByteRange(suffix=suffix).resolved(size) == ByteRange(first)


def test_what_has_no_suffix_stays_as_it_is() -> None:
    assert ByteRange(5, 9).resolved(3) == ByteRange(5, 9)
