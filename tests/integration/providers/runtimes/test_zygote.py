"""The zygote itself: who may speak to it, what it refuses, and what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model import FunctionSpec
from penstock.providers.runtimes import processes
from penstock.providers.runtimes.base import Order
from penstock.providers.runtimes.messages import Exited, Frames, Hello, Launch, Launched, frame, read_launch, read_news
from tests.integration.providers.runtimes.harness import Server, ended, running_server
from tests.integration.providers.waiting import until


def launch(server: Server, token: str = "0123456789ab", **environ: str) -> Launch:
    directory = server.home.replicas / token
    return Launch(
        order=Order(token=token, replica="f-1", spec=FunctionSpec(name="f"), generation=1, deployed="x"),
        run_id=server.environ["PENSTOCK_RUN_ID"],
        directory=str(directory),
        address=f"unix:{directory}/http.sock",
        log_directory=str(server.home.logs / "ns" / "f"),
        log_bytes=1 << 20,
        environ={"fprocess": "cat", **environ},
    )


async def connected(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    await until("the zygote listens", server.home.zygote_socket.exists)
    return await asyncio.open_unix_connection(server.home.zygote_socket)


def state_of(server: Server) -> str:
    found = processes.stat_of(server.zygote.pid) if server.zygote else None
    return found.state if found else ""


def descriptors(pid: int) -> set[str]:
    """What a process has open; it may close some while they are read."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(fd.readlink()))
    return found


async def news(reader: asyncio.StreamReader) -> object:
    async with asyncio.timeout(60):
        length = int.from_bytes(await reader.readexactly(4), "big")
        return read_news(await reader.readexactly(length))


async def launched(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Launched]:
    """A connection over which a replica was launched, and what was said of that."""
    server.home.replicas.mkdir(parents=True)
    reader, writer = await connected(server)
    assert isinstance(await news(reader), Hello)
    writer.write(frame(launch(server)))
    said = await news(reader)
    assert isinstance(said, Launched)
    return reader, writer, said


async def told_of_an_end(server: Server) -> bool:
    """Whether the first thing that whoever connects now is told, after the greeting, is the end of a replica."""
    reader, writer = await connected(server)
    assert isinstance(await news(reader), Hello)
    said = await news(reader)
    writer.close()
    return isinstance(said, Exited)


async def test_it_greets_launches_and_reports_the_end() -> None:
    with running_server() as server:
        server.home.replicas.mkdir(parents=True)
        reader, writer = await connected(server)
        hello = await news(reader)
        assert isinstance(hello, Hello) and hello.replicas == {} and hello.sandbox
        writer.write(frame(launch(server)))
        launched = await news(reader)
        assert isinstance(launched, Launched) and processes.is_running(launched.pid, launched.started)
        processes.kill(launched.pid)
        exited = await news(reader)
        assert exited == Exited(token="0123456789ab", status=9)
        assert processes.describe_end(9) == "ended by signal 9 (Killed)"
        writer.close()


async def test_ends_that_nobody_heard_are_told_to_the_next_who_connects() -> None:
    with running_server() as server:
        reader, writer, replica = await launched(server)
        writer.close()
        reader, writer = await connected(server)
        hello = await news(reader)
        assert isinstance(hello, Hello) and hello.replicas == {"0123456789ab": replica.pid}
        writer.close()
        await writer.wait_closed()
        processes.kill(replica.pid)
        await until("it has ended", lambda: ended(replica.pid))
        assert await told_of_an_end(server)


async def test_an_end_that_is_told_to_whoever_has_just_gone_is_told_to_the_next_as_well() -> None:
    with running_server() as server:
        assert server.zygote
        _, writer, replica = await launched(server)
        server.zygote.send_signal(signal.SIGSTOP)
        await until("the zygote stands still", lambda: state_of(server) == "T")
        writer.close()
        await writer.wait_closed()
        processes.kill(replica.pid)
        await until("it has ended", lambda: ended(replica.pid))
        server.zygote.send_signal(signal.SIGCONT)
        assert await told_of_an_end(server)


async def test_a_replica_that_cannot_be_set_up_ends_with_a_sentence_in_its_log() -> None:
    with running_server() as server:
        reader, writer = await connected(server)
        await news(reader)
        writer.write(frame(launch(server, fprocess="")))
        await news(reader)
        exited = await news(reader)
        assert isinstance(exited, Exited) and processes.describe_end(exited.status).startswith("exit code")
        writer.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        frame(Exited(token="x")),
        b"\x00\x00\x00\x00",
    ],
)
async def test_whoever_speaks_something_else_is_dropped_and_others_go_on(garbage: bytes) -> None:
    with running_server() as server:
        server.home.replicas.mkdir(parents=True)
        good_reader, good_writer = await connected(server)
        await news(good_reader)
        reader, writer = await connected(server)
        await news(reader)
        writer.write(garbage)
        assert await asyncio.wait_for(reader.read(), 60) == b""
        good_writer.write(frame(launch(server)))
        assert isinstance(await news(good_reader), Launched)
        good_writer.close()
        writer.close()


async def test_a_client_that_stops_in_the_middle_of_a_message_blocks_nobody() -> None:
    with running_server() as server:
        server.home.replicas.mkdir(parents=True)
        await until("the zygote listens", server.home.zygote_socket.exists)
        with socket.socket(socket.AF_UNIX) as stalled:
            stalled.connect(str(server.home.zygote_socket))
            stalled.send(b"\x00\x00\x10\x00half")
            reader, writer = await connected(server)
            await news(reader)
            writer.write(frame(launch(server)))
            assert isinstance(await news(reader), Launched)
            writer.close()


async def test_its_socket_is_private() -> None:
    with running_server() as server:
        await until("the zygote listens", server.home.zygote_socket.exists)
        assert stat.S_IMODE(server.home.zygote_socket.stat().st_mode) == 0o600


async def test_replicas_hold_no_descriptors_of_the_zygotes() -> None:
    with running_server() as server:
        _, writer, replica = await launched(server)
        socket_path = server.home.replicas / "0123456789ab/http.sock"
        await until("it listens", socket_path.exists)
        shared = descriptors(replica.pid) & descriptors(server.zygote.pid if server.zygote else 0)
        same = {link for link in shared if link.startswith(("socket:", "pipe:"))}
        lifeline = Path(f"/proc/self/fd/{server._read}").readlink()
        assert same <= {str(lifeline)}
        writer.close()


@given(st.lists(st.binary(max_size=300), max_size=10), st.integers(1, 50))
def test_frames_are_cut_the_same_however_they_arrive(bodies: list[bytes], step: int) -> None:
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    frames = Frames()
    found = [body for start in range(0, len(stream), step) for body in frames.feed(stream[start : start + step])]
    assert found == bodies


def test_a_launch_survives_the_way_with_its_secrets() -> None:
    order = Order(
        token="t", replica="r", spec=FunctionSpec(name="f"), generation=1, deployed="d", secrets={"k": b"\x00\xff"}
    )
    message = Launch(order=order, run_id="r", directory="/d", address="a", log_directory="/l", log_bytes=1, environ={})
    (body,) = Frames().feed(frame(message))
    assert read_launch(body) == message
    assert "\\xff" not in repr(message) and "secrets" not in repr(message)
