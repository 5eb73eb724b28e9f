"""Joints between the stages of a pipeline: who hands what to whom, and what is believed."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest

from penstock.watchdog import handover
from penstock.watchdog.handover import HAND_OVER_FROM, LISTEN_FROM, Inlet, Outlet, joint_before, joint_behind
from penstock.watchdog.pipes import PIPE_LARGE, PipeReader, enlarge
from penstock.wire.exchange import Exchange
from penstock.wire.message import RequestHead, parse_request

Until = Callable[[Callable[[], object]], Awaitable[None]]

KEY = b"0123456789abcdef0123456789abcdef"


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def nothing() -> None:
    pass


class Notes:
    """In place of an exchange: what its body's taker told it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def excuse_body(self) -> None:
        self.told.append("excuse")


class Joint:
    """Both sides of a joint: a program before it that writes to `into`, and one behind it that reads from `out`."""

    def __init__(self) -> None:
        self.key = secrets.token_hex(16).encode()
        self.source, self.into = os.pipe()
        self.out, self.feed = os.pipe()
        os.set_blocking(self.out, False)
        enlarge(self.feed)  # so that only what is meant to waits for room
        self.notes = Notes()
        self.sent = bytearray()
        loop = asyncio.get_running_loop()
        self.reader = PipeReader(loop, self.source, self.sent.extend, nothing)
        self.outlet = Outlet(self.key)
        self.inlet = Inlet(loop, self.feed, cast(Exchange, self.notes), self.key)
        self.received = bytearray()

    def read(self) -> bytearray:
        """All that has come out."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.out, PIPE_LARGE):
                self.received += data
        return self.received

    def ended(self) -> bool:
        """Whether the program behind sees the end of its input."""
        try:
            return os.read(self.out, 1) == b""
        except BlockingIOError:
            return False

    def write(self, data: bytes) -> None:
        """By way of the gateway."""
        self.inlet.write(data)
        self.read()

    def send(self, message: bytes, *fds: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendmsg([message], rights, 0, b"\0penstock-joint-" + self.key)

    def close(self) -> None:
        self.inlet.close()
        self.reader.close()
        self.outlet.close()
        for fd in (self.into, self.out):
            if is_open(fd):
                os.close(fd)


@pytest.fixture
async def joint() -> AsyncIterator[Joint]:
    made = Joint()
    yield made
    made.close()


def request(*lines: bytes) -> RequestHead:
    return parse_request(b"POST / HTTP/1.1\r\nHost: h\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


def test_the_keys_are_those_that_the_gateway_wrote_last() -> None:
    forged = b"f" * 32
    head = request(b"X-Pipeline-In: " + forged, b"X-Pipeline-In: " + KEY, b"X-Pipeline-Out: " + forged)
    assert (joint_before(head), joint_behind(head)) == (KEY, forged)


@pytest.mark.parametrize(
    "line",
    [
        b"X-Pipeline-In: ",
        b"X-Pipeline-In: " + KEY[:-1],
        b"X-Pipeline-In: " + KEY + b"0",
        b"X-Pipeline-In: " + KEY.upper(),
        b"X-Pipeline-In: ../../../../../../../etc/passwd",
        b"X-Other: X-Pipeline-In: " + KEY,
    ],
)
def test_what_is_no_key_names_no_joint(line: bytes) -> None:
    assert joint_before(request(line)) == b""


async def test_the_rest_of_a_large_body_goes_from_pipe_to_pipe(joint: Joint, until: Until) -> None:
    before = os.urandom(HAND_OVER_FROM)
    joint.write(before)
    assert joint.outlet.hand_over(joint.reader, len(before))
    os.write(joint.into, b"and the rest")
    os.close(joint.into)
    await until(lambda: joint.read() == before + b"and the rest")
    assert not joint.ended(), "the request is still under way"
    joint.inlet.end()
    assert joint.ended()
    assert joint.notes.told[-1] == "excuse"
    assert not joint.sent


async def test_what_comes_before_the_pipe_is_written_first(joint: Joint, until: Until) -> None:
    late = b"late"
    before = bytes(HAND_OVER_FROM)
    joint.write(before)
    assert joint.outlet.hand_over(joint.reader, len(before) + len(late))
    os.write(joint.into, b"last")
    await until(lambda: not handover_waits(joint))
    assert joint.read() == before
    joint.write(late)
    await until(lambda: joint.read() == before + late + b"last")


def handover_waits(joint: Joint) -> bool:
    """Whether a pipe was sent that has not been taken yet: then the name is still in use."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        probe.bind(b"\0penstock-joint-" + joint.key)
    except OSError:
        return True
    finally:
        probe.close()
    return False


async def test_a_pipe_waits_until_the_program_has_room_for_what_comes_before(joint: Joint, until: Until) -> None:
    before = os.urandom(3 * PIPE_LARGE)
    joint.inlet.write(before)
    assert joint.notes.told == ["pause"]
    assert joint.outlet.hand_over(joint.reader, len(before))
    os.write(joint.into, b"last")
    os.close(joint.into)
    await until(lambda: not handover_waits(joint))
    joint.inlet.end()
    await until(lambda: joint.read() == before + b"last")
    assert joint.notes.told == ["pause", "resume", "excuse"]
    await until(joint.ended)


async def test_an_answer_is_kept_while_it_is_small_or_nobody_listens(joint: Joint) -> None:
    joint.inlet.write(bytes(LISTEN_FROM - 1))
    assert not joint.outlet.hand_over(joint.reader, HAND_OVER_FROM - 1)
    assert not joint.outlet.hand_over(joint.reader, HAND_OVER_FROM)
    joint.inlet.write(b"x")
    assert not joint.outlet.hand_over(joint.reader, 2 * HAND_OVER_FROM - 1), "it is tried at each doubling only"
    assert joint.outlet.hand_over(joint.reader, 2 * HAND_OVER_FROM)


async def test_a_small_body_that_ends_is_written_as_without_a_joint(joint: Joint) -> None:
    joint.inlet.write(b"abc")
    joint.inlet.end()
    assert joint.read() == b"abc"
    assert joint.ended()
    assert joint.notes.told == []


async def test_a_large_body_whose_pipe_never_comes_is_written_as_without_a_joint(joint: Joint) -> None:
    for _ in range(8):
        joint.write(bytes(LISTEN_FROM))
    joint.inlet.end()
    assert len(joint.received) == 8 * LISTEN_FROM
    assert joint.ended()
    assert not handover_waits(joint)


async def test_the_program_before_keeps_its_reader_until_its_call_is_over(joint: Joint, until: Until) -> None:
    joint.write(bytes(HAND_OVER_FROM))
    assert joint.outlet.hand_over(joint.reader, HAND_OVER_FROM)
    await until(lambda: not handover_waits(joint))
    joint.inlet.close()
    os.write(joint.into, b"nobody takes it, and nobody is hurt")
    joint.outlet.close()
    with pytest.raises(BrokenPipeError):
        os.write(joint.into, b"x")


async def test_a_program_behind_that_has_ended_lets_the_one_before_go_on(joint: Joint, until: Until) -> None:
    joint.write(bytes(HAND_OVER_FROM))
    assert joint.outlet.hand_over(joint.reader, HAND_OVER_FROM)
    joint.inlet.stop()
    os.set_blocking(joint.into, False)
    written = 0

    def write() -> bool:
        nonlocal written
        try:
            written += os.write(joint.into, bytes(65536))
        except BlockingIOError:
            return False
        return written > 2 * PIPE_LARGE

    await until(write)


async def test_what_comes_by_the_gateway_after_the_pipe_was_taken_is_discarded(joint: Joint, until: Until) -> None:
    joint.write(bytes(HAND_OVER_FROM))
    assert joint.outlet.hand_over(joint.reader, HAND_OVER_FROM)
    await until(lambda: "excuse" in joint.notes.told)
    joint.write(b"forged")
    os.write(joint.into, b"true")
    await until(lambda: joint.read().endswith(b"true"))
    assert len(joint.received) == HAND_OVER_FROM + 4


async def test_a_position_that_is_never_reached_does_not_hold_the_end(joint: Joint, until: Until) -> None:
    joint.write(bytes(HAND_OVER_FROM))
    assert joint.outlet.hand_over(joint.reader, 2 * HAND_OVER_FROM)
    await until(lambda: not handover_waits(joint))
    joint.inlet.end()
    assert joint.ended()


async def test_messages_that_are_no_pipe_with_its_position_are_ignored(joint: Joint, until: Until) -> None:
    joint.write(bytes(HAND_OVER_FROM))
    position = HAND_OVER_FROM.to_bytes(8, "big")
    null = os.open(os.devnull, os.O_RDONLY)
    joint.send(b"", joint.source)
    joint.send(position)
    joint.send(position[:-1], joint.source)
    joint.send(position + b"0", joint.source)
    joint.send(position, joint.source, joint.source)
    joint.send(position, joint.into)
    joint.send(position, null)
    joint.send((HAND_OVER_FROM - 1).to_bytes(8, "big"), joint.source)
    os.close(null)
    before = len(os.listdir("/proc/self/fd"))
    assert joint.outlet.hand_over(joint.reader, HAND_OVER_FROM)
    os.write(joint.into, b"last")
    await until(lambda: joint.read().endswith(b"last"))
    assert len(os.listdir("/proc/self/fd")) == before, "the name's descriptor is now the pipe's"


async def test_a_name_that_is_taken_leaves_the_gateways_way(joint: Joint) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(b"\0penstock-joint-" + joint.key)
        joint.write(bytes(HAND_OVER_FROM))
    joint.write(b"last")
    joint.inlet.end()
    assert joint.received.endswith(b"last")
    assert joint.ended()


async def test_where_pages_cannot_be_moved_nobody_listens(joint: Joint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "can_splice", lambda: False)
    joint.write(bytes(HAND_OVER_FROM))
    assert not joint.outlet.hand_over(joint.reader, HAND_OVER_FROM)


def test_here_pages_can_be_moved() -> None:
    before = os.listdir("/proc/self/fd")
    assert handover.can_splice.__wrapped__()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("sent", [False, True])
async def test_closing_leaves_no_descriptor(sent: bool, until: Until) -> None:
    before = set(os.listdir("/proc/self/fd"))
    joint = Joint()
    joint.write(bytes(HAND_OVER_FROM))
    if sent:
        assert joint.outlet.hand_over(joint.reader, 2 * HAND_OVER_FROM)
        await until(lambda: not handover_waits(joint))
    joint.close()
    assert set(os.listdir("/proc/self/fd")) == before
