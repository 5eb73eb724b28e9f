"""Pages from pipe to pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from penstock.watchdog.pipemover import PipeMover
from penstock.watchdog.pipes import PIPE_LARGE, unread

Until = Callable[[Callable[[], object]], Awaitable[None]]


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class Ends:
    """A pipe that is moved from, and one that is moved to; the test closes what is left of its own ends."""

    def __init__(self) -> None:
        self.source, self.into = os.pipe()
        self.out, self.feed = os.pipe()
        for fd in (self.feed, self.out):
            os.set_blocking(fd, False)
        self.filled = 0

    def mover(self) -> PipeMover:
        return PipeMover(asyncio.get_running_loop(), self.source, self.feed)

    def read(self) -> bytes:
        try:
            return os.read(self.out, PIPE_LARGE)
        except BlockingIOError:
            return b""

    def fill(self) -> bool:
        """Write until neither pipe takes more, which shows when nothing was moved since the last time; call it again until then."""
        os.set_blocking(self.into, False)
        before = self.filled
        with contextlib.suppress(BlockingIOError):
            while True:
                self.filled += os.write(self.into, bytes(65536))
        return self.filled == before

    def shut(self, name: str) -> None:
        os.close(getattr(self, name))
        setattr(self, name, -1)

    def close(self) -> None:
        for fd in (self.into, self.out):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


async def test_what_comes_is_moved_and_the_end_waits_for_both(ends: Ends, until: Until) -> None:
    mover = ends.mover()
    os.write(ends.into, b"abc")
    await until(lambda: unread(ends.out) == 3)
    ends.shut("into")
    await until(lambda: not is_open(ends.source))
    assert ends.read() == b"abc"
    assert is_open(ends.feed), "the stage before has not said yet that it ended well"
    mover.end()
    assert mover.closed
    assert os.read(ends.out, 1) == b""


async def test_more_than_both_pipes_hold_is_moved_at_the_readers_pace(ends: Ends, until: Until) -> None:
    size, received = 8 * PIPE_LARGE, bytearray()
    data = os.urandom(PIPE_LARGE)
    mover = ends.mover()

    def write() -> None:
        for _ in range(size // len(data)):
            left = memoryview(data)
            while left:
                left = left[os.write(ends.into, left) :]
        ends.shut("into")

    writer = threading.Thread(target=write)
    writer.start()

    def read() -> bool:
        received.extend(ends.read())
        return len(received) == size

    await until(read)
    writer.join()
    mover.end()
    assert mover.closed
    assert bytes(received) == data * (size // len(data))


async def test_after_the_end_what_is_left_is_moved_although_a_stray_holds_the_pipe_open(ends: Ends) -> None:
    mover = ends.mover()
    os.write(ends.into, b"rest")
    mover.end()
    assert ends.read() == b"rest"
    assert os.read(ends.out, 1) == b""
    assert mover.closed
    with pytest.raises(BrokenPipeError):
        os.write(ends.into, b"stray")


async def test_what_is_left_after_the_end_waits_for_a_slow_reader(ends: Ends, until: Until) -> None:
    mover = ends.mover()
    await until(ends.fill)
    mover.end()
    assert is_open(ends.feed)
    received = 0

    def read() -> bool:
        nonlocal received
        received += len(ends.read())
        return mover.closed

    await until(read)
    assert received + len(ends.read()) == ends.filled


async def test_a_program_that_reads_no_more_does_not_stop_the_one_before(ends: Ends, until: Until) -> None:
    mover = ends.mover()
    ends.shut("out")
    os.write(ends.into, b"a")
    await until(lambda: not unread(ends.into))
    os.write(ends.into, b"b")
    await until(lambda: not unread(ends.into))
    assert not is_open(ends.feed)
    mover.end()
    assert mover.closed


async def test_stopping_discards_what_comes_even_while_the_program_was_slow(ends: Ends, until: Until) -> None:
    mover = ends.mover()
    await until(ends.fill)
    mover.stop()
    assert not is_open(ends.feed)
    await until(lambda: not unread(ends.into))
    mover.close()
    assert mover.closed


async def test_without_a_feed_all_is_discarded(ends: Ends, until: Until) -> None:
    ends.shut("out")
    os.close(ends.feed)
    mover = PipeMover(asyncio.get_running_loop(), ends.source, -1)
    os.write(ends.into, b"abc")
    await until(lambda: not unread(ends.into))
    mover.close()
    assert mover.closed


async def test_closing_closes_both_and_may_be_repeated(ends: Ends) -> None:
    mover = ends.mover()
    for _ in range(2):
        mover.close()
    assert not is_open(ends.source)
    assert not is_open(ends.feed)
