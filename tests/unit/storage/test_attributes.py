"""What of an answer is kept with an object, and how often an object has called functions."""

from __future__ import annotations

import pytest

from penstock.storage.attributes import HOPS, hops, kept


def test_what_describes_the_bytes_is_kept_by_its_usual_name() -> None:
    fields = [
        ("content-type", "image/png"), ("CONTENT-ENCODING", "gzip"), ("Content-Language", "de"), ("X-Mine", "1"),
        ("Content-Disposition", 'attachment; filename="a b.txt"'), ("cache-control", "max-age=3"), ("Content-Length", "5"),
    ]  # fmt: skip
    assert kept(fields) == {
        "Content-Type": "image/png",
        "Content-Encoding": "gzip",
        "Content-Language": "de",
        "Content-Disposition": 'attachment; filename="a b.txt"',
        "Cache-Control": "max-age=3",
    }


def test_a_list_in_several_fields_is_one() -> None:
    fields = [("Content-Language", "de"), ("Content-Language", "en"), ("Cache-Control", "a"), ("Cache-Control", "b")]
    assert kept(fields) == {"Content-Language": "de, en", "Cache-Control": "a, b"}


def test_of_what_is_no_list_the_first_counts() -> None:
    assert kept([("Content-Type", "a/b"), ("Content-Type", "c/d")]) == {"Content-Type": "a/b"}


@pytest.mark.parametrize("value", ("", "ü", "a\nb", "a\x00b", "a\tb", "\x7f"))
def test_what_no_store_could_give_back_is_left_out(value: str) -> None:
    assert kept([("Content-Type", value)]) == {}


def test_hops_are_read() -> None:
    assert hops({HOPS: "7"}) == 7


@pytest.mark.parametrize("text", ("", "-1", "1.5", "many", "1234", "9" * 5000, "²", "٣", " 1"))
def test_a_number_that_somebody_has_made_up_counts_as_none(text: str) -> None:
    assert hops({HOPS: text}) == 0
    assert hops({}) == 0
