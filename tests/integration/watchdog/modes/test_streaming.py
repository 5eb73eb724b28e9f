"""The streaming mode with real programs through the real server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.watchdogs import LIMITS

Start = Callable[..., Awaitable[Any]]
Script = Callable[[str], str]
Until = Callable[[Callable[[], object]], Awaitable[None]]


async def begin(start: Start, fprocess: str, **variables: str) -> Any:
    return await start(fprocess=fprocess, mode="streaming", **variables)


async def test_the_answer_begins_while_the_body_is_still_coming(start: Start) -> None:
    running = await begin(start, "cat")
    reader, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert b"hello" in await asyncio.wait_for(reader.readuntil(b"hello"), 30)
    writer.write(b"5\r\nagain\r\n0\r\n\r\n")
    assert b"again" in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 30)


async def test_the_content_type_is_octet_stream_unless_configured(start: Start) -> None:
    assert (await (await begin(start, "echo")).call()).headers["content-type"] == "application/octet-stream"
    running = await begin(start, "true", content_type="video/mp4")
    assert (await running.call()).headers["content-type"] == "video/mp4"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "FOO", "HEAD"])
async def test_every_method_reaches_the_program(start: Start, method: str) -> None:
    answer = await (await begin(start, "printenv Http_Method")).call(method)
    assert (answer.status, answer.complete) == (200, True)
    assert answer.body == (b"" if method == "HEAD" else f"{method}\n".encode())


async def test_a_large_body_flows_both_ways_at_once_in_little_memory(start: Start) -> None:
    running = await begin(start, "cat")
    reader, writer = await running.connect()
    size, piece = 96 << 20, os.urandom(1 << 20)
    expected = hashlib.sha256()
    for _ in range(size // len(piece)):
        expected.update(piece)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def send() -> None:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()

    sending = asyncio.ensure_future(send())
    digest, total = hashlib.sha256(), 0
    await reader.readuntil(b"\r\n\r\n")
    while (length := int(await reader.readline(), 16)) > 0:
        data = await reader.readexactly(length)
        await reader.readexactly(2)
        digest.update(data)
        total += length
    await sending
    assert total == size
    assert digest.digest() == expected.digest()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


KEY = "0123456789abcdef0123456789abcdef"


async def strung(start: Start, **variables: str) -> tuple[int, bytes]:
    """Two programs of which the first one's answer is the second one's request, as a gateway relays it: the bytes that were
    relayed, and the answer of the second one."""
    first = await begin(start, "head -c 4194304 /dev/zero", **variables)
    second = await begin(start, "wc -c")
    source, asking = await first.connect()
    answer, telling = await second.connect()
    asking.write(f"GET / HTTP/1.1\r\nHost: x\r\nX-Pipeline-Out: {KEY}\r\n\r\n".encode())
    await source.readuntil(b"\r\n\r\n")
    head = f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Pipeline-In: {KEY}\r\n\r\n"
    telling.write(head.encode())
    relayed, length = 0, 1
    while length:
        line = await asyncio.wait_for(source.readline(), 30)
        length = int(line, 16)
        telling.write(line + await asyncio.wait_for(source.readexactly(length + 2), 30))
        await telling.drain()
        relayed += length
    await answer.readuntil(b"\r\n\r\n")
    size = int(await asyncio.wait_for(answer.readline(), 30), 16)
    return relayed, await asyncio.wait_for(answer.readexactly(size), 30)


async def test_a_stage_hands_the_rest_of_a_large_output_to_the_one_behind(start: Start) -> None:
    relayed, counted = await strung(start)
    assert counted == b"4194304\n"
    assert relayed < 4194304


async def test_an_answer_whose_size_is_logged_is_not_handed_over(start: Start) -> None:
    assert await strung(start, access_log="true") == (4194304, b"4194304\n")


async def test_a_client_that_does_not_read_stops_the_program(start: Start, until: Until) -> None:
    running = await begin(start, "yes", exec_timeout="0")
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readexactly(100)
    reader._transport.pause_reading()
    (child,) = running.watchdog.spawner.running.values()
    await until(lambda: state(child.pid) == "S")
    writer.transport.abort()
    await until(lambda: not running.watchdog.spawner.running)


async def test_a_program_that_does_not_read_stops_the_client(start: Start) -> None:
    running = await begin(start, "sleep 600", exec_timeout="0")
    _, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            for _ in range(100):
                writer.write(bytes(1 << 20))
                await writer.drain()
    writer.transport.abort()


async def test_a_program_that_ends_without_reading_is_no_error(start: Start) -> None:
    answer = await (await begin(start, "head -c 3")).call(body=b"abc" + bytes(5 << 20))
    assert (answer.status, answer.body, answer.complete) == (200, b"abc", True)


async def test_a_failure_before_the_first_byte_is_500_by_the_watchdog(start: Start) -> None:
    answer = await (await begin(start, "false")).call()
    assert (answer.status, answer.body) == (500, b"exit status 1\n")
    assert answer.headers["x-openfaas-internal"] == "penstock-watchdog"


async def test_a_missing_program_is_500_by_the_watchdog(start: Start) -> None:
    answer = await (await begin(start, "no-such-program")).call(body=b"x")
    assert answer.status == 500
    assert b"was not found in PATH=" in answer.body
    assert answer.headers["x-openfaas-internal"] == "penstock-watchdog"


async def test_a_failure_after_the_first_byte_cuts_the_answer(start: Start, script: Script) -> None:
    answer = await (await begin(start, script("echo begun; exit 4"))).call()
    assert (answer.status, answer.body, answer.complete) == (200, b"begun\n", False)


async def test_a_timeout_before_the_first_byte_is_504(start: Start) -> None:
    answer = await (await begin(start, "sleep 600", exec_timeout="100ms")).call()
    assert answer.status == 504
    assert answer.headers["x-openfaas-internal"] == "penstock-watchdog"


async def test_a_timeout_after_the_first_byte_cuts_the_answer(start: Start, script: Script) -> None:
    running = await begin(start, script("echo begun; sleep 600"), exec_timeout="10m")
    answer: Any = None
    for limit in LIMITS:
        answer = await running.call(headers=[("X-Timeout", f"{limit}s")])
        if answer.status != 504:
            break
    assert (answer.status, answer.body, answer.complete) == (200, b"begun\n", False)


async def test_the_answer_ends_with_the_program_although_grandchildren_live(start: Start, script: Script) -> None:
    answer = await (await begin(start, script("echo done; sleep 600 &"))).call()
    assert (answer.body, answer.complete) == (b"done\n", True)


async def test_the_exit_code_is_awaited_after_stdout_was_closed(start: Start, script: Script) -> None:
    answer = await (await begin(start, script("echo x; exec >&-; sleep 0.2; exit 5"))).call()
    assert not answer.complete


async def test_what_a_slow_client_has_not_read_yet_survives_the_programs_end(start: Start, until: Until) -> None:
    running = await begin(start, "head -c 3000000 /dev/zero")
    reader, writer = await running.connect()
    reader._transport.pause_reading()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    await asyncio.sleep(0.3)
    reader._transport.resume_reading()
    everything = await asyncio.wait_for(reader.read(), 30)
    assert everything.count(b"\0") == 3_000_000
    assert everything.endswith(b"0\r\n\r\n")


async def test_a_client_that_leaves_kills_the_whole_group(
    start: Start, script: Script, tmp_path: Path, until: Until
) -> None:
    pids = tmp_path / "pids"
    running = await begin(start, script(f"sleep 600 & echo $! > {pids}; echo ready; wait"))
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"ready")
    writer.close()
    await until(lambda: state(int(pids.read_text())) in ("", "Z"))
    await until(lambda: not running.watchdog.spawner.running)


async def test_lines_of_stderr_go_to_the_log(start: Start, script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    running = await begin(start, script("echo note >&2; cat"), log_callid="true")
    assert (await running.call(body=b"x", headers=[("X-Call-Id", "id-1")])).body == b"x"
    assert "stderr: note [id-1]" in capfd.readouterr().err


async def test_no_descriptor_or_process_is_left_after_many_calls_of_every_kind(
    start: Start,
    script: Script,
    until: Until,
    descriptors: Callable[[], set[str]],
    children: Callable[[], list[int]],
) -> None:
    text = "read word; case $word in ok) cat;; fail) exit 1;; cut) echo; exit 1;; hang) sleep 600;; esac"
    running = await begin(start, script(text), exec_timeout="250ms")
    before = descriptors()
    for _ in range(5):
        kinds = [b"ok\n" + bytes(5 << 20), b"ok\n", b"fail\n", b"cut\n", b"hang\n"]
        await asyncio.gather(*(running.call(body=kind) for kind in kinds))
    await until(lambda: not running.watchdog.spawner.running and not running.watchdog.server.connections)
    await until(lambda: not children())
    await until(lambda: {one for one in descriptors() if "pipe" in one or "pidfd" in one or "sock" in one} <= before)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_signals_are_known_by_the_names_of_the_original() -> None:
    from penstock.watchdog.spawn import describe_exit

    assert describe_exit(signal.SIGKILL) == "signal: killed"
    assert describe_exit(3 << 8) == "exit status 3"


async def test_many_requests_at_once_are_all_answered(start: Start) -> None:
    running = await begin(start, "cat")
    bodies = [os.urandom(size) for size in (0, 10, 70_000, 2 << 20) for _ in range(15)]
    answers = await asyncio.gather(*(running.call(body=body, chunked=len(body) == 10) for body in bodies))
    assert [answer.body for answer in answers] == bodies


async def test_nothing_is_started_for_a_client_that_left_before_its_turn(
    start: Start, tmp_path: Path, until: Until
) -> None:
    running = await begin(start, f"touch {tmp_path}/ran")
    waiting: list[Callable[[], None]] = []
    running.watchdog.spawner.enqueue = waiting.append
    _, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
    await until(lambda: waiting)
    writer.transport.abort()
    await until(lambda: running.watchdog.limiter.inflight == 0)
    waiting[0]()
    assert not running.watchdog.spawner.running
    assert not (tmp_path / "ran").exists()
