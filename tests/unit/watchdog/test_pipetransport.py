"""A program's two pipes as one transport."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Awaitable, Callable

from penstock.watchdog.pipetransport import PipeTransport

Until = Callable[[Callable[[], object]], Awaitable[None]]


class Recorder(asyncio.Protocol):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.events: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.events.append("eof")

    def pause_writing(self) -> None:
        self.events.append("full")

    def resume_writing(self) -> None:
        self.events.append("room")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")


def transport() -> tuple[PipeTransport, Recorder, int, int]:
    """A transport, its protocol, and the program's ends: what it reads and what it writes."""
    (stdin, feed), (out, stdout) = os.pipe(), os.pipe()
    protocol = Recorder()
    return PipeTransport(asyncio.get_running_loop(), protocol, feed, out), protocol, stdin, stdout


async def taken(stdin: int, size: int) -> int:
    """Read as the program would, until so many bytes have come or there are no more; how many came."""
    os.set_blocking(stdin, False)
    received = 0
    async with asyncio.timeout(60):
        while received < size:
            try:
                piece = os.read(stdin, 1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0.001)
                continue
            if not piece:
                break
            received += len(piece)
    return received


async def test_what_is_written_arrives_and_what_arrives_is_handed_on(until: Until) -> None:
    pipe, protocol, stdin, stdout = transport()
    pipe.write(b"question ")
    pipe.writelines([b"and ", b"more"])
    assert os.read(stdin, 100) == b"question and more"
    os.write(stdout, b"answer")
    await until(lambda: protocol.data == b"answer")
    assert protocol.events == ["made"]
    pipe.abort()
    os.close(stdin)
    os.close(stdout)


async def test_it_can_be_polled_like_a_socket() -> None:
    pipe, _, stdin, stdout = transport()
    poller = select.poll()
    poller.register(pipe.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)
    assert not poller.poll(0)
    pipe.pause_reading()
    os.write(stdout, b"unasked")
    assert poller.poll(0)
    pipe.abort()
    os.close(stdin)
    os.close(stdout)


async def test_the_end_of_stdout_is_an_end_of_file_and_closes_both(until: Until) -> None:
    pipe, protocol, stdin, stdout = transport()
    os.close(stdout)
    await until(lambda: protocol.events == ["made", "eof", "lost"])
    assert pipe.is_closing()
    assert os.read(stdin, 1) == b""
    os.close(stdin)


async def test_the_writer_is_told_when_the_pipe_is_full_and_when_there_is_room(until: Until) -> None:
    pipe, protocol, stdin, stdout = transport()
    pipe.write(bytes(3 << 20))
    assert protocol.events == ["made", "full"]
    assert await taken(stdin, 3 << 20) == 3 << 20
    await until(lambda: protocol.events == ["made", "full", "room"])
    pipe.abort()
    os.close(stdin)
    os.close(stdout)


async def test_a_program_that_reads_no_more_makes_it_useless_for_another_request() -> None:
    pipe, _, stdin, stdout = transport()
    os.close(stdin)
    assert not pipe.is_closing()
    pipe.write(b"x")
    assert pipe.is_closing()
    pipe.abort()
    os.close(stdout)


async def test_closing_delivers_what_was_written(until: Until) -> None:
    pipe, protocol, stdin, stdout = transport()
    pipe.write(bytes(2 << 20))
    pipe.close()
    assert await taken(stdin, 1 << 30) == 2 << 20
    await until(lambda: "lost" in protocol.events)
    os.close(stdin)
    os.close(stdout)
