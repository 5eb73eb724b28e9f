"""Log lines: one line each, whole, and never in the way."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.watchdog.logs import Lines, Log, Sink, escape

Until = Callable[[Callable[[], object]], Awaitable[None]]


def cut(pieces: list[bytes], most: int = 100) -> list[bytes]:
    found: list[bytes] = []
    lines = Lines(found.append, most)
    for piece in pieces:
        lines.feed(piece)
    lines.end()
    return found


def test_lines_are_cut_at_lf_cr_and_both() -> None:
    assert cut([b"a\nb\r\nc\rd"]) == [b"a", b"b", b"c", b"d"]
    assert cut([b"a\r", b"\nb\r", b"\r\n", b"\nc\r"]) == [b"a", b"b", b"", b"", b"c"]


def test_a_line_longer_than_the_limit_is_split_and_not_lost() -> None:
    assert cut([b"abcdefgh\nx"], most=3) == [b"abc", b"def", b"gh", b"x"]
    assert cut([b"abcdefgh"], most=3) == [b"abc", b"def", b"gh"]


@given(st.lists(st.binary(max_size=30)), st.integers(1, 10))
def test_nothing_but_line_ends_is_lost(pieces: list[bytes], most: int) -> None:
    assert b"".join(cut(pieces, most)) == re.sub(b"[\r\n]", b"", b"".join(pieces))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"a\x1b[2Jb", b"a\\x1b[2Jb"),
        (b"a\nb", b"a\\x0ab"),
        (b"\t\xc3\xa9", b"\t\xc3\xa9"),
        (b"\xc2\x9b", b"\\xc2\\x9b"),
    ],
)
def test_control_characters_are_escaped(text: bytes, shown: bytes) -> None:
    assert escape(text) == shown


async def test_prefix_and_call_id(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(asyncio.get_running_loop(), call_ids=True)
    lines = log.lines("stderr", b"id\n1")
    lines.feed(b"hello\n")
    log.lines("stdout", b"").feed(b"out\n")
    log.line("about nobody")
    log.close()
    out, err = capfd.readouterr()
    assert re.fullmatch(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d stderr: hello \[id\\x0a1\]\n.*about nobody\n", err)
    assert out.endswith("stdout: out [none]\n")


async def test_without_prefix_the_line_stands_alone(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(asyncio.get_running_loop(), prefix=False)
    log.lines("stderr").feed(b"hello\n")
    log.close()
    assert capfd.readouterr().err == "hello\n"


async def test_a_reader_that_stalls_costs_lines_and_never_blocks() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    sink = Sink(asyncio.get_running_loop(), writer)
    for _ in range(3000):
        sink.write(b"x" * 999 + b"\n")
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
    received = bytearray()
    os.set_blocking(reader, False)
    async with asyncio.timeout(60):
        while b"log lines dropped" not in received:
            with contextlib.suppress(BlockingIOError):
                received.extend(os.read(reader, 65536))
            await asyncio.sleep(0)
    lines = received.split(b"\n")
    kept = [line for line in lines if line == b"x" * 999]
    dropped = int(next(line for line in lines if b"dropped" in line).split()[0])
    assert len(kept) + dropped == 3000
    sink.close()
    os.close(reader)
    os.close(writer)


async def test_a_log_that_nobody_reads_any_more_is_no_error() -> None:
    reader, writer = os.pipe()
    sink = Sink(asyncio.get_running_loop(), writer)
    os.close(reader)
    sink.write(b"line\n")
    sink.close()
    os.close(writer)
