from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.headers import HOP_BY_HOP, connection_options, field_lines, forward_fields


@dataclass
class Head:
    raw_fields: bytes
    hop_by_hop: bool = True
    named_by_connection: frozenset[bytes] = frozenset()
    chunked: bool = False


def test_a_block_with_nothing_to_remove_is_passed_on_as_it_came() -> None:
    raw = b"Host: a\r\nx-ODD  : no\r\n"
    assert forward_fields(Head(raw, hop_by_hop=False)) is raw


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_every_hop_by_hop_field_is_removed_however_it_is_spelled(name: bytes) -> None:
    for spelled in (name, name.upper(), name.title()):
        assert forward_fields(Head(b"A: b\r\n" + spelled + b":x\r\nC: d\r\n")) == b"A: b\r\nC: d\r\n"


@pytest.mark.parametrize(
    "line", [b"X-Connection: a\r\n", b"Connection-X: a\r\n", b"X: connection: a\r\n", b"Tea: a\r\n"]
)
def test_fields_that_only_look_like_them_stay(line: bytes) -> None:
    assert forward_fields(Head(line)) == line


def test_fields_that_connection_names_are_removed() -> None:
    head = Head(b"X-A: 1\r\nX-Ab: 2\r\nx-a: 3\r\n", named_by_connection=connection_options(b"close, X-A , ,keep-alive"))
    assert forward_fields(head) == b"X-Ab: 2\r\n"


def test_dropped_fields_are_removed_even_where_nothing_else_is() -> None:
    assert forward_fields(Head(b"A: 1\r\nB: 2\r\n", hop_by_hop=False), frozenset({b"a"})) == b"B: 2\r\n"


def test_chunked_framing_is_stated_once() -> None:
    head = Head(b"Transfer-Encoding: Chunked\r\nA: 1\r\n", chunked=True)
    assert forward_fields(head) == b"A: 1\r\nTransfer-Encoding: chunked\r\n"


def test_fields_that_frame_or_address_a_message_cannot_be_named_away() -> None:
    value = b"Content-Length, HOST,transfer-encoding , X"
    assert connection_options(value) == {b"x"}


NAMES = st.sampled_from(
    [b"Host", b"Connection", b"X-A", b"TE", b"te", b"Keep-Alive", b"Content-Length", b"X-TE", b"Upgrade"]
)
VALUES = st.sampled_from([b"", b"a", b"te: x", b"close", b"\xff"])


@given(st.lists(st.tuples(NAMES, VALUES)), st.booleans())
def test_what_is_left_is_what_was_there_without_the_fields_of_one_hop(
    fields: list[tuple[bytes, bytes]], chunked: bool
) -> None:
    raw = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    kept = b"".join(name + b": " + value + b"\r\n" for name, value in fields if name.lower() not in HOP_BY_HOP)
    expected = kept + (b"Transfer-Encoding: chunked\r\n" if chunked else b"")
    assert forward_fields(Head(raw, chunked=chunked)) == expected


def test_fields_become_lines() -> None:
    assert field_lines([(b"A", b"1"), (b"x-b", b"\xe9 \t")]) == b"A: 1\r\nx-b: \xe9 \t\r\n"
    assert field_lines([]) == b""


@pytest.mark.parametrize(
    "field",
    [
        (b"", b"v"),
        (b"A B", b"v"),
        (b"A:", b"v"),
        (b"A\r\nB", b"v"),
        (b"A\n", b"v"),
        (b"A\0", b"v"),
        (b"\xe9", b"v"),
        (b"A", b"v\r\nB: w"),
        (b"A", b"v\n"),
        (b"A", b"v\r"),
        (b"A", b"\0"),
    ],
)
def test_a_field_that_would_break_the_message_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="cannot send the field"):
        field_lines([(b"Ok", b"ok"), field])


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_whatever_is_accepted_is_exactly_one_line(name: bytes, value: bytes) -> None:
    try:
        lines = field_lines([(name, value)])
    except ValueError:
        return
    assert lines == name + b": " + value + b"\r\n"
    assert lines.count(b"\n") == lines.count(b"\r") == 1
    assert b":" not in name
