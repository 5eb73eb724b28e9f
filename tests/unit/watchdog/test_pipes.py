"""Our ends of pipes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from penstock.watchdog.pipes import PIPE_LARGE, PipeReader, Pipes, PipeWriter, unread

Until = Callable[[Callable[[], object]], Awaitable[None]]


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_after_a_start_only_our_ends_stay_open() -> None:
    with Pipes() as pipes:
        (stdin, feed), (stdout, out) = pipes.inward(), pipes.outward()
    assert [is_open(fd) for fd in (stdin, feed, stdout, out)] == [False, True, False, True]
    os.close(feed)
    os.close(out)


def test_after_a_failed_start_none_stays_open() -> None:
    pipes = Pipes()
    with pytest.raises(OSError, match="no start"), pipes:
        ends = [*pipes.inward(), *pipes.outward()]
        raise OSError("no start")
    assert not any(is_open(fd) for fd in ends)


def test_an_end_of_the_program_can_be_kept_open() -> None:
    with Pipes() as pipes:
        stdin, feed = pipes.inward()
        pipes.keep_theirs(stdin)
    assert is_open(stdin)
    os.close(stdin)
    os.close(feed)


def test_what_nobody_has_read_can_be_counted_at_either_end() -> None:
    out, into = os.pipe()
    assert unread(out) == 0
    os.write(into, b"abc")
    assert unread(out) == unread(into) == 3
    os.close(into)
    assert os.read(out, 2) == b"ab"
    assert unread(out) == 1
    os.close(out)


async def test_a_reader_hands_on_everything_and_ends_once(until: Until) -> None:
    out, into = os.pipe()
    data, ends = bytearray(), []
    reader = PipeReader(asyncio.get_running_loop(), out, data.extend, lambda: ends.append(1))
    os.write(into, b"abc")
    await until(lambda: data == b"abc")
    os.close(into)
    await until(lambda: ends)
    assert reader.closed
    reader.conclude()
    reader.close()
    assert ends == [1]


async def test_concluding_ends_although_the_pipe_is_held_open() -> None:
    out, into = os.pipe()
    data, ends = bytearray(), []
    reader = PipeReader(asyncio.get_running_loop(), out, data.extend, lambda: ends.append(1))
    os.write(into, b"rest")
    reader.conclude()
    assert data == b"rest"
    assert ends == [1]
    assert reader.closed
    os.close(into)


async def test_a_paused_reader_concludes_when_it_may_go_on() -> None:
    out, into = os.pipe()
    data, ends = bytearray(), []
    reader = PipeReader(asyncio.get_running_loop(), out, data.extend, lambda: ends.append(1))
    os.write(into, b"rest")
    reader.pause()
    reader.conclude()
    assert not data
    reader.resume()
    assert data == b"rest"
    assert ends == [1]
    os.close(into)


async def test_concluding_is_bounded_although_a_stray_goes_on_writing() -> None:
    out, into = os.pipe()
    os.set_blocking(into, False)
    total, ends = 0, []

    def refill(data: bytes) -> None:
        nonlocal total
        total += len(data)
        os.write(into, b"x" * len(data))

    reader = PipeReader(asyncio.get_running_loop(), out, refill, lambda: ends.append(1))
    os.write(into, b"x" * 4096)
    reader.conclude()
    assert ends
    assert PIPE_LARGE <= total < 2 * PIPE_LARGE
    os.close(into)


async def test_a_writer_says_when_it_is_full_and_when_there_is_room(until: Until) -> None:
    out, into = os.pipe()
    told: list[str] = []
    writer = PipeWriter(asyncio.get_running_loop(), into, lambda: told.append("full"), lambda: told.append("room"))
    writer.write(bytes(3 * PIPE_LARGE))
    writer.write(b"end")
    assert told == ["full"]
    received = bytearray()

    def read() -> bool:
        received.extend(os.read(out, PIPE_LARGE))
        return received.endswith(b"end")

    await until(read)
    await until(lambda: told == ["full", "room"])
    assert len(received) == 3 * PIPE_LARGE + 3
    writer.end()
    assert os.read(out, 1) == b""
    os.close(out)


async def test_a_reader_that_left_lets_the_source_go_on(until: Until) -> None:
    out, into = os.pipe()
    told: list[str] = []
    writer = PipeWriter(asyncio.get_running_loop(), into, lambda: told.append("full"), lambda: told.append("room"))
    writer.write(bytes(3 * PIPE_LARGE))
    os.close(out)
    await until(lambda: told == ["full", "room"])
    writer.write(b"discarded")
    writer.end()
    assert not is_open(into)
