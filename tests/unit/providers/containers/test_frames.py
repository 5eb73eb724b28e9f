"""The engine's log streams, taken apart."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ProviderUnavailable
from penstock.providers.containers.frames import HELD, LONGEST, SPLIT, STDERR, STDOUT, TROUBLE, Entry, Frames, nanos_of
from tests.unit.providers.containers.scripted_logs import START, frame, stamp


def parse(*chunks: bytes, details: bool = False) -> list[Entry]:
    frames = Frames(details)
    found = [entry for chunk in chunks for entry in frames.feed(chunk)]
    return found + frames.end()


def texts(*chunks: bytes, details: bool = False) -> list[str]:
    return [entry.text for entry in parse(*chunks, details=details)]


def test_a_frame_is_a_line_with_stream_and_time() -> None:
    [out, err] = parse(frame(b"hello\n", 1_234_567_891) + frame(b"oh\n", 2_000_000_000, stream=2))
    assert (out.stream, out.text, out.nanos) == (STDOUT, "hello", START * 10**9 + 1_234_567_891)
    assert out.timestamp == datetime(2026, 1, 1, 0, 0, 1, 234_567, tzinfo=UTC)
    assert (err.stream, err.text) == (STDERR, "oh")


def test_times_without_fraction_and_with_a_zone_are_read() -> None:
    data = b"2026-01-01T02:00:00+02:00 text\n2026-01-01T00:00:00.5Z more\n"
    assert [entry.nanos - START * 10**9 for entry in parse(data)] == [0, 500_000_000]


def test_a_time_that_is_none_is_text_at_the_time_of_what_came_before() -> None:
    data = frame(b"first\n", 5) + b"\x01\0\0\0\0\0\0\x0ano 25:61 x"
    [first, second] = parse(data)
    assert (second.text, second.nanos) == ("no 25:61 x", first.nanos)
    assert texts(b"2026-13-45T00:00:00Z text\n") == ["2026-13-45T00:00:00Z text"]


def test_a_line_that_was_split_is_joined() -> None:
    data = frame(b"x" * SPLIT, 1) + frame(b"between\n", 2, stream=2) + frame(b"y" * SPLIT, 3) + frame(b"end\n", 4)
    [between, long] = parse(data)
    assert between.text == "between"
    assert long.text == "x" * SPLIT + "y" * SPLIT + "end"
    assert long.last - long.nanos == 3


def test_last_words_without_line_end_are_no_piece_of_what_the_next_process_says() -> None:
    assert texts(frame(b"dying") + frame(b"born\n")) == ["dying", "born"]


def test_lines_of_different_tasks_are_not_mixed() -> None:
    data = (
        frame(b"a" * SPLIT, details="task=1") + frame(b"b" * SPLIT, details="task=2") + frame(b"A\n", details="task=1")
    )
    assert [(entry.attributes, entry.text[-2:]) for entry in parse(data, details=True)] == [
        ("task=1", "aA"),
        ("task=2", "bb"),
    ]


def test_without_attributes_details_are_empty() -> None:
    [entry] = parse(frame(b"one two\n", details=""), details=True)
    assert (entry.attributes, entry.text) == ("", "one two")


def test_an_empty_line_is_a_line_and_carriage_returns_at_the_end_are_not_text() -> None:
    assert texts(frame(b"\n") + frame(b"a\rb\r\n")) == ["", "a\rb"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert texts(frame(b"\xff\xfe ok\n")) == ["\ufffd\ufffd ok"]


def test_the_log_of_a_terminal_is_bare_text() -> None:
    data = f"{stamp(1)} hi\r\n{stamp(2)} you\r\n{stamp(3)} no end".encode()
    assert [(entry.text, entry.nanos - START * 10**9) for entry in parse(data)] == [
        ("hi", 1),
        ("you", 2),
        ("no end", 3),
    ]


def test_a_long_line_of_a_terminal_has_times_within() -> None:
    data = b"%s %s%s %s%s end\r\n" % (
        stamp(1).encode(),
        b"x" * SPLIT,
        stamp(1).encode(),
        b"y" * SPLIT,
        stamp(2).encode(),
    )
    [entry] = parse(data)
    assert entry.text == "x" * SPLIT + "y" * SPLIT + "end"


def test_what_the_engine_says_of_its_trouble_is_no_line() -> None:
    frames = Frames()
    data = b"Error grabbing logs: invalid character\n"
    assert frames.feed(bytes([TROUBLE, 0, 0, 0]) + len(data).to_bytes(4, "big") + data) == []
    assert frames.troubles == ["Error grabbing logs: invalid character"]


def test_pieces_are_counted_as_the_engine_counts_them() -> None:
    frames = Frames()
    frames.feed(frame(b"x" * SPLIT) + frame(b"end\n") + frame(b"next\n"))
    assert frames.pieces == {"": 3}


def test_a_header_cut_off_is_nothing_and_a_frame_cut_off_is_what_came_of_it() -> None:
    assert texts(b"\x01\0\0") == []
    assert texts(frame(b"hello world\n")[:-7]) == ["hello"]
    assert texts(frame(b"hello\n")[:20]) == []


@pytest.mark.parametrize("data", [b"\x01\0\0\x01\0\0\0\x01x", b"\x01\0\0\0\0\0\0\x01xHTTP/1.1 400", b"\x02abcdefg"])
def test_bytes_that_are_no_frames_are_told_apart(data: bytes) -> None:
    with pytest.raises(ProviderUnavailable, match="cannot be read"):
        parse(data)


def test_a_frame_that_claims_gigabytes_is_not_held() -> None:
    frames = Frames()
    found = frames.feed(b"\x01\0\0\0\xff\xff\xff\xff" + stamp(0).encode() + b" ")
    for _ in range(64):
        found += frames.feed(b"x" * (64 << 10))
        assert len(frames._buffer) <= LONGEST + (64 << 10)
    assert found
    assert all(len(entry.text) < 2 * LONGEST for entry in found)


def test_a_line_without_end_becomes_several() -> None:
    data = frame(b"x" * SPLIT) * (3 * LONGEST // SPLIT)
    found = parse(data)
    assert [len(entry.text) for entry in found] == [LONGEST] * 3
    raw = stamp(0).encode() + b" " + b"x" * (2 * LONGEST)
    assert sum(len(entry.text) for entry in parse(raw)) == 2 * LONGEST


def test_unfinished_lines_of_a_thousand_tasks_are_not_all_held() -> None:
    frames = Frames(details=True)
    found = [entry for task in range(1000) for entry in frames.feed(frame(b"x" * SPLIT, details=f"task={task}"))]
    assert len(found) >= 1000 - HELD // SPLIT - 1


def test_times_go_to_nanoseconds_and_back() -> None:
    when = datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    assert nanos_of(when) == START * 10**9 + 250_000_000
    assert Entry(STDOUT, nanos_of(when), 0, "", "").timestamp == when


MESSAGES = st.tuples(
    st.one_of(st.binary(max_size=40), st.just(b"x" * SPLIT), st.just(b"\n"), st.just(b"line\r\n")),
    st.integers(0, 10**10),
    st.integers(0, 3),
    st.sampled_from(["", "a=b", "a=c,d=%2C"]),
)


def _chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(MESSAGES, max_size=12), st.lists(st.integers(0, 10**6), max_size=20))
def test_frames_are_the_same_however_they_are_cut(messages: list[tuple[bytes, int, int, str]], cuts: list[int]) -> None:
    data = b"".join(frame(text, nanos, stream, details) for text, nanos, stream, details in messages)
    assert parse(*_chunks(data, cuts), details=True) == parse(data, details=True)


@given(st.lists(MESSAGES, max_size=12), st.lists(st.integers(0, 10**6), max_size=20))
def test_bare_text_is_the_same_however_it_is_cut(messages: list[tuple[bytes, int, int, str]], cuts: list[int]) -> None:
    data = b"".join(f"{stamp(nanos)} ".encode() + text for text, nanos, _, _ in messages)
    assert parse(*_chunks(data, cuts)) == parse(data)


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_are_lines_or_refused(chunks: list[bytes]) -> None:
    try:
        found = parse(*chunks)
    except ProviderUnavailable:
        return
    assert all("\n" not in entry.text for entry in found)
