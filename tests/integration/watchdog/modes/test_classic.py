"""The classic mode with real programs through the real server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.watchdog.app import _prepare_descriptors
from tests.watchdogs import LIMITS

Start = Callable[..., Awaitable[Any]]
Script = Callable[[str], str]
Until = Callable[[Callable[[], object]], Awaitable[None]]


async def test_the_body_is_stdin_and_stdout_is_the_answer(start: Start) -> None:
    answer = await (await start(fprocess="cat")).call(body=b"hello")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"hello", "5")


async def test_success_carries_the_duration_with_six_decimals(start: Start) -> None:
    answer = await (await start(fprocess="cat")).call(body=b"x")
    seconds, _, decimals = answer.headers["x-duration-seconds"].partition(".")
    assert seconds.isdigit()
    assert len(decimals) == 6


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 300_000, 1 << 20, (1 << 20) + 1, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_of_every_size_come_back_identical(start: Start, size: int, chunked: bool) -> None:
    body = os.urandom(size)
    answer = await (await start(fprocess="cat")).call(body=body, chunked=chunked and size > 0)
    assert answer.status == 200
    assert answer.body == body


async def test_a_failing_program_is_500_with_its_exit_code_and_output(start: Start, script: Script) -> None:
    answer = await (await start(fprocess=script("echo out; echo err >&2; exit 3"))).call()
    assert (answer.status, answer.body) == (500, b"exit status 3\nout\nerr\n")
    assert "x-duration-seconds" not in answer.headers


async def test_death_by_signal_is_500_with_the_signals_name(start: Start, script: Script) -> None:
    answer = await (await start(fprocess=script("echo out; kill -TERM $$"))).call()
    assert (answer.status, answer.body) == (500, b"signal: terminated\nout\n")


async def test_a_missing_program_is_500_and_names_program_and_path(start: Start) -> None:
    answer = await (await start(fprocess="no-such-program -x", PATH="/nowhere")).call(body=b"x")
    assert answer.status == 500
    assert answer.body == b"program 'no-such-program' was not found in PATH=/nowhere\n"


async def test_a_program_that_appears_later_is_found(start: Start, tmp_path: Path) -> None:
    running = await start(fprocess=str(tmp_path / "late"))
    assert (await running.call()).status == 500
    (tmp_path / "late").write_text("#!/bin/sh\necho here\n")
    (tmp_path / "late").chmod(0o755)
    assert (await running.call()).body == b"here\n"


async def test_a_file_that_is_no_program_is_500_in_plain_words(start: Start, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("just text")
    (tmp_path / "text").chmod(0o755)
    answer = await (await start(fprocess=str(tmp_path / "text"))).call()
    assert answer.status == 500
    assert b"neither a binary" in answer.body


async def test_arguments_are_split_at_single_spaces_without_a_shell(start: Start) -> None:
    answer = await (await start(fprocess="printf [%s] a  $HOME;ls")).call()
    assert answer.body == b"[a][][$HOME;ls]"


async def test_exec_timeout_is_408_even_if_grandchildren_hold_the_output(start: Start, script: Script) -> None:
    running = await start(fprocess=script("echo partial; sleep 600 & sleep 600"), exec_timeout="200ms")
    answer = await running.call()
    assert (answer.status, answer.body) == (408, b"Killed process.\n")


async def test_exec_timeout_kills_the_whole_group(start: Start, script: Script, tmp_path: Path, until: Until) -> None:
    pids = tmp_path / "pids"
    running = await start(fprocess=script(f"sleep 600 & echo $! $$ > {pids}; wait"), exec_timeout="10m")
    for limit in LIMITS:
        assert (await running.call(headers=[("X-Timeout", f"{limit}s")])).status == 408
        if pids.exists() and len(pids.read_text().split()) == 2:
            break
    await until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


async def test_a_shorter_x_timeout_is_honoured_and_a_longer_one_is_not(start: Start) -> None:
    running = await start(fprocess="sleep 600", exec_timeout="300ms")
    for wanted in ("50ms", "10m"):
        assert (await running.call(headers=[("X-Timeout", wanted)])).status == 408


async def test_a_grandchild_that_keeps_stdout_open_does_not_hold_the_answer(start: Start, script: Script) -> None:
    answer = await (await start(fprocess=script("echo done; sleep 600 &"))).call()
    assert answer.body == b"done\n"


@pytest.mark.usefixtures("subreaper")
async def test_a_process_that_escaped_by_setsid_is_swept_up(
    start: Start, script: Script, tmp_path: Path, until: Until
) -> None:
    pid_file = tmp_path / "pid"
    running = await start(
        fprocess=script(
            f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 600' & until test -s {pid_file}; do sleep 0.01; done; echo done"
        )
    )
    assert (await running.call()).body == b"done\n"
    await until(lambda: not alive(int(pid_file.read_text())))


async def test_a_program_that_never_reads_its_stdin_is_no_error(start: Start) -> None:
    answer = await (await start(fprocess="echo hi")).call(body=os.urandom(3 << 20))
    assert (answer.status, answer.body) == (200, b"hi\n")


async def test_stderr_is_part_of_the_answer_unless_told_otherwise(
    start: Start, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    fprocess = script("echo out; echo oops >&2")
    assert (await (await start(fprocess=fprocess)).call()).body == b"out\noops\n"
    assert (await (await start(fprocess=fprocess, combine_output="false")).call()).body == b"out\n"
    assert "stderr: oops" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_the_classic_methods_reach_the_function(start: Start, method: str) -> None:
    assert (await (await start(fprocess="printenv Http_Method")).call(method)).body == f"{method}\n".encode()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "FOO"])
async def test_other_methods_are_405(start: Start, method: str) -> None:
    answer = await (await start(fprocess="cat")).call(method)
    assert (answer.status, answer.body) == (405, b"")


async def test_the_request_content_type_is_echoed_on_success(start: Start) -> None:
    answer = await (await start(fprocess="cat")).call(body=b"x", headers=[("Content-Type", "a/b")])
    assert answer.headers["content-type"] == "a/b"


async def test_a_configured_content_type_wins(start: Start) -> None:
    running = await start(fprocess="cat", content_type="image/png")
    assert (await running.call(body=b"x", headers=[("Content-Type", "a/b")])).headers["content-type"] == "image/png"


async def test_output_without_a_known_type_is_sniffed_and_empty_output_has_none(start: Start) -> None:
    running = await start(fprocess="cat")
    assert (await running.call(body=b"<html><p>")).headers["content-type"] == "text/html; charset=utf-8"
    assert "content-type" not in (await running.call()).headers


async def test_errors_are_sniffed_and_not_echoed(start: Start) -> None:
    answer = await (await start(fprocess="false")).call(body=b"x", headers=[("Content-Type", "a/b")])
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_cgi_variables_can_be_switched_off(start: Start) -> None:
    assert b"Http_" not in (await (await start(fprocess="env", cgi_headers="false")).call()).body


async def test_the_watchdogs_own_variables_are_hidden_from_the_program(start: Start) -> None:
    running = await start(fprocess="env", PENSTOCK_RUN_ID="secret", PENSTOCK_SECRETS_DIR="/s", mine="1")
    lines = (await running.call()).body.split(b"\n")
    assert b"mine=1" in lines
    assert b"PENSTOCK_SECRETS_DIR=/s" in lines
    assert not any(line.startswith(b"PENSTOCK_RUN_ID") for line in lines)


async def test_the_program_starts_with_default_signals(start: Start) -> None:
    answer = await (await start(fprocess="grep SigIgn /proc/self/status")).call()
    assert int(answer.body.split()[1], 16) & 0x7FFFFFFF == 0  # above are the C library's own


async def test_the_program_gets_three_descriptors(start: Start) -> None:
    _prepare_descriptors()
    answer = await (await start(fprocess="ls /proc/self/fd")).call(body=b"x")
    assert answer.body.split() == [b"0", b"1", b"2", b"3"]  # the last one is ls reading the directory


async def test_marshal_request_gives_json_on_stdin(start: Start) -> None:
    body = os.urandom(100_001)
    running = await start(fprocess="cat", marshal_request="true")
    marshalled = json.loads((await running.call(body=body, headers=[("x-a", "1"), ("X-A", "2")])).body)
    assert base64.b64decode(marshalled["body"]["raw"]) == body
    assert marshalled["header"]["X-A"] == ["1", "2"]
    assert "Host" not in marshalled["header"]


async def test_marshal_request_without_body_has_an_empty_raw(start: Start) -> None:
    running = await start(fprocess="cat", marshal_request="true")
    assert json.loads((await running.call("GET")).body)["body"] == {"raw": ""}


async def test_large_output_goes_through_a_file_and_arrives_whole(start: Start, tmp_path: Path) -> None:
    running = await start(fprocess="dd if=/dev/zero bs=1M count=40 status=none")
    answer = await running.call()
    assert (answer.status, len(answer.body), answer.complete) == (200, 40 << 20, True)


async def test_large_output_of_a_failure_follows_its_exit_code(start: Start, script: Script) -> None:
    answer = await (await start(fprocess=script("head -c 9000000 /dev/zero; exit 9"))).call()
    assert answer.status == 500
    assert answer.body == b"exit status 9\n" + bytes(9_000_000)


async def test_output_that_no_disk_can_hold_is_500_and_ends_the_program(
    start: Start, tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(fprocess="yes")
    monkeypatch.setattr("penstock.watchdog.spool._unlinked_file", lambda _: os.open("/dev/full", os.O_RDWR))
    answer = await running.call()
    assert answer.status == 500
    assert b"No space left on device" in answer.body
    await until(lambda: not running.watchdog.spawner.running)


async def test_a_header_too_large_for_the_environment_is_431(start: Start) -> None:
    answer = await (await start(fprocess="cat")).call(headers=[("X-Big", "x" * 200_000)])
    assert answer.status == 431


@pytest.mark.parametrize("target", ["/a%00b", "/a%zz", "/a%2"])
async def test_a_path_that_cannot_be_decoded_is_400(start: Start, target: str) -> None:
    assert (await (await start(fprocess="cat")).call("GET", target)).status == 400


async def test_nothing_is_started_for_a_truncated_small_request(start: Start, tmp_path: Path, until: Until) -> None:
    running = await start(fprocess=f"touch {tmp_path}/ran")
    reader, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)
    assert not (tmp_path / "ran").exists()
    assert not await reader.read()


async def test_a_client_that_leaves_kills_the_program(start: Start, until: Until) -> None:
    running = await start(fprocess="sleep 600")
    _, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: running.watchdog.spawner.running)
    writer.close()
    await until(lambda: not running.watchdog.spawner.running)
    assert running.watchdog.limiter.inflight == 0


async def test_no_descriptor_or_process_is_left_after_many_calls_of_every_kind(
    start: Start,
    script: Script,
    until: Until,
    descriptors: Callable[[], set[str]],
    children: Callable[[], list[int]],
) -> None:
    text = "read word; case $word in ok) cat;; fail) exit 1;; hang) sleep 600;; litter) sleep 600 & echo;; esac"
    running = await start(fprocess=script(text), exec_timeout="250ms", combine_output="false")
    missing = await start(fprocess="no-such-program")
    before = descriptors()
    for _ in range(5):
        kinds = [b"ok\n" + bytes(5 << 20), b"ok\n", b"fail\n", b"hang\n", b"litter\n"]
        await asyncio.gather(*(running.call(body=kind) for kind in kinds), missing.call(body=b"x"))
    await until(lambda: not running.watchdog.spawner.running and not running.watchdog.server.connections)
    await until(lambda: not missing.watchdog.server.connections)
    await until(lambda: not children())
    await until(lambda: {one for one in descriptors() if "pipe" in one or "pidfd" in one or "sock" in one} <= before)


async def test_memory_and_file_limits_hold_for_the_program_and_not_for_us(start: Start, script: Script) -> None:
    own = os.sysconf("SC_OPEN_MAX")
    running = await start(
        # The hard ones are set on the program when it runs already, and so are all where this process itself uses more.
        fprocess=script(
            "until test $(ulimit -H -d) = 262144 -a $(ulimit -H -n) = 64 -a $(ulimit -H -t) = 7; do sleep 0.01; done; "
            "ulimit -S -d; ulimit -S -n; ulimit -S -t; ulimit -H -t"
        ),
        PENSTOCK_RLIMIT_MEMORY=str(256 << 20),
        PENSTOCK_RLIMIT_NOFILE="64",
        PENSTOCK_RLIMIT_CPU="7",
    )
    assert (await running.call()).body.split() == [b"262144", b"64", b"7", b"7"]
    assert os.sysconf("SC_OPEN_MAX") == own


async def test_a_memory_limit_below_our_own_use_still_starts_the_program(start: Start, script: Script) -> None:
    text = "until test $(ulimit -H -d) = 4096; do sleep 0.01; done; ulimit -H -d"
    running = await start(fprocess=script(text), PENSTOCK_RLIMIT_MEMORY=str(4 << 20))
    assert (await running.call()).body == b"4096\n"


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_many_requests_at_once_are_all_answered(start: Start) -> None:
    running = await start(fprocess="cat")
    bodies = [os.urandom(size) for size in (0, 10, 70_000, 2 << 20) for _ in range(15)]
    answers = await asyncio.gather(*(running.call(body=body, chunked=len(body) == 10) for body in bodies))
    assert [answer.body for answer in answers] == bodies


async def test_nothing_is_started_for_a_client_that_left_before_its_turn(
    start: Start, tmp_path: Path, until: Until
) -> None:
    running = await start(fprocess=f"touch {tmp_path}/ran")
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
