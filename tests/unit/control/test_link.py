"""One worker's link: frames, folding, flushes, and a peer that does not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control import link as link_module
from penstock.control.link import BadMessage, Link, frame, read_message
from penstock.gateway.messages import MAX_MESSAGE, Counters, Flush, Hello, Synced, Wake
from tests.unit.control.support import until, within

HELLO = Hello(worker=3, pid=1)


async def test_a_frame_is_four_bytes_of_length_and_a_message() -> None:
    data = frame(Wake(key="a.b"))
    assert int.from_bytes(data[:4]) == len(data) - 4
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    assert await read_message(reader) == Wake(key="a.b")


async def test_a_length_above_the_limit_is_refused_before_anything_is_read() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((MAX_MESSAGE + 1).to_bytes(4))
    with pytest.raises(BadMessage, match=f"a message of {MAX_MESSAGE + 1} bytes"):
        await read_message(reader)


@given(st.binary(max_size=64))
async def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(len(data).to_bytes(4) + data)
    reader.feed_eof()
    with contextlib.suppress(BadMessage):
        await read_message(reader)


class StuckWriter:
    """A socket whose peer reads nothing: everything stays in `written`, drain never ends while `stuck`."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.flowing = asyncio.Event()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drain(self) -> None:
        await self.flowing.wait()

    def close(self) -> None:
        self.closed = True


class Owner:
    """A feed with one route."""

    def __init__(self) -> None:
        self.attached: list[Link] = []
        self.wakes: list[str] = []
        self.counters: list[Counters] = []

    async def snapshot(self) -> Mapping[str, bytes]:
        return {"a": b"route a;"}

    def attach(self, link: Link) -> None:
        self.attached.append(link)

    def wake(self, key: str) -> None:
        self.wakes.append(key)

    def count(self, counters: Counters) -> None:
        self.counters.append(counters)


def stuck_link() -> tuple[Link, StuckWriter]:
    """A link that has just said hello, to a worker that does not read."""
    reader, writer = asyncio.StreamReader(), StuckWriter()
    reader.feed_data(frame(HELLO))
    return Link(Owner(), reader, writer), writer  # type: ignore[arg-type]


async def test_a_worker_that_does_not_read_gets_the_latest_route_of_each_function_only() -> None:
    link, writer = stuck_link()
    running = asyncio.create_task(link.run())
    await until(lambda: writer.written, "the snapshot")
    for round_ in range(1000):
        for name in ("a", "b"):
            link.offer(name, b"%s%d;" % (name.encode(), round_))
    assert repr(link) == "<Link worker=3 outbox=2 flushes=0>"
    writer.flowing.set()
    await until(lambda: len(writer.written) == 2, "the folded batch")
    assert writer.written[1] == b"a999;b999;"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_worker_that_never_reads_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_module, "STALL_TIMEOUT", 0.05)
    link, writer = stuck_link()
    await within(link.run())
    assert writer.closed
    assert "worker 3 cut off, it does not read" in caplog.text


async def test_the_snapshot_is_followed_by_synced() -> None:
    link, writer = stuck_link()
    running = asyncio.create_task(link.run())
    await until(lambda: writer.written, "the snapshot")
    assert writer.written == [b"route a;" + frame(Synced())]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_flushes_that_wait_for_the_same_turn_are_one_message() -> None:
    link, writer = stuck_link()
    running = asyncio.create_task(link.run())
    await until(lambda: writer.written, "the snapshot")
    flushes = [asyncio.create_task(link.flush(number)) for number in (1, 2, 3)]
    await until(lambda: repr(link).endswith("flushes=3>"), "the flushes")
    writer.flowing.set()
    await until(lambda: len(writer.written) == 2, "the request")
    assert writer.written[1] == frame(Flush(id=3))
    running.cancel()
    await within(asyncio.gather(running, *flushes, return_exceptions=True))
