"""The prefork mode with real programs: who waits, who is handed out, and what becomes of those that do not wait."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import SettingsError
from penstock.watchdog.modes import prefork
from penstock.watchdog.oneshot import Input
from penstock.watchdog.settings import load_settings

Start = Callable[..., Awaitable[Any]]
Script = Callable[[str], str]
Until = Callable[[Callable[[], object]], Awaitable[None]]

CORPUS = {
    "echo": ("cat", b"hello"),
    "empty input": ("cat", b""),
    "large input and output": ("cat", bytes(range(256)) * 20_000),
    "exit code": ("sh SCRIPT", b"cat; exit 3"),
    "death by a signal": ("sh SCRIPT", b"kill -TERM $$"),
    "stderr": ("sh SCRIPT", b"echo oops >&2; echo out"),
    "input that is not read": ("sh SCRIPT", b"exec <&-; echo done"),
    "output before the input": ("sh SCRIPT", b"echo first; cat"),
    "a child that stays": ("sh SCRIPT", b"sleep 600 & echo done"),
    "output and then failure": ("sh SCRIPT", b"echo part; exit 1"),
    "word count": ("wc", b"one two\nthree\n"),
    "missing program": ("no-such-program", b"x"),
}
"""Programs and inputs; SCRIPT is a file with the input, which it gets on stdin too."""


async def prefork_of(start: Start, fprocess: str, **variables: str) -> Any:
    return await start(fprocess=fprocess, mode="prefork", cgi_headers="false", **variables)


def waiting(running: Any) -> list[int]:
    return [one.child.pid for one in running.watchdog.mode.reserve._waiting]


@pytest.mark.parametrize("case", CORPUS)
async def test_answers_are_those_of_serializing(start: Start, tmp_path: Path, case: str, until: Until) -> None:
    fprocess, body = CORPUS[case]
    (tmp_path / "case").write_bytes(body)
    fprocess = fprocess.replace("SCRIPT", str(tmp_path / "case"))
    # One after the other: in one process each watchdog would take the other's programs for strays.
    without = await start(fprocess=fprocess, mode="serializing", cgi_headers="false")
    expected = await without.call(body=body)
    await without.watchdog.close()
    with_pool = await prefork_of(start, fprocess, pool_size="2")
    reserve = with_pool.watchdog.mode.reserve
    await until(lambda: len(waiting(with_pool)) == 2 or reserve._resting)
    for _ in range(3):
        answer = await with_pool.call(body=body)
        assert (answer.status, answer.body) == (expected.status, expected.body)
        assert without_times(answer.headers) == without_times(expected.headers)


def without_times(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in ("x-duration-seconds", "date")}


async def test_requests_get_processes_that_were_there_before_them(start: Start, script: Script, until: Until) -> None:
    running = await prefork_of(start, script("cat > /dev/null; echo $$"), pool_size="3")
    await until(lambda: len(waiting(running)) == 3)
    for _ in range(3):
        oldest = waiting(running)[0]
        assert int((await running.call(body=b"x")).body) == oldest
    await until(lambda: len(waiting(running)) == 3)


async def test_what_a_program_reads_at_its_start_is_older_than_the_request(
    start: Start, script: Script, tmp_path: Path, until: Until
) -> None:
    """Documented: clock, pid and random numbers of the start are those of the start."""
    running = await prefork_of(start, script(f"seen=$(cat {tmp_path}/clock); read body; echo $seen"), pool_size="1")
    await until(lambda: len(waiting(running)) == 1)
    (tmp_path / "clock").write_text("early")
    pid = await a_new_one(running, until)
    (tmp_path / "clock").write_text("late")
    assert pid == waiting(running)[0]
    assert (await running.call(body=b"x\n")).body == b"early\n"


async def a_new_one(running: Any, until: Until) -> int:
    """Replace the process that waits, and give the new one time to run up to its read of the request."""
    (pid,) = waiting(running)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: waiting(running) not in ([], [pid]))
    (pid,) = waiting(running)
    await until(lambda: b"pipe" in Path(f"/proc/{pid}/wchan").read_bytes() and not children_of(pid))
    return pid


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_a_burst_beyond_the_pool_is_answered_by_processes_of_its_own(start: Start, until: Until) -> None:
    running = await prefork_of(start, "cat", pool_size="2")
    await until(lambda: len(waiting(running)) == 2)
    bodies = [b"%d" % number for number in range(30)]
    answers = await asyncio.gather(*(running.call(body=body) for body in bodies))
    assert [answer.body for answer in answers] == bodies
    await until(lambda: len(waiting(running)) == 2)


async def test_one_that_died_while_it_waited_is_replaced_and_never_handed_out(
    start: Start, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await prefork_of(start, "cat", pool_size="2")
    await until(lambda: len(waiting(running)) == 2)
    before = waiting(running)
    os.kill(before[0], signal.SIGKILL)
    os.waitid(os.P_PID, before[0], os.WEXITED | os.WNOWAIT)
    assert (await running.call(body=b"alive")).body == b"alive"
    await until(lambda: len(waiting(running)) == 2 and not set(before) & set(waiting(running)))
    assert "ended before it was given a request: signal: killed" in capfd.readouterr().err


async def test_one_that_dies_with_a_request_it_never_read_costs_the_client_nothing(start: Start, until: Until) -> None:
    running = await prefork_of(start, "cat", pool_size="1")
    await until(lambda: len(waiting(running)) == 1)
    (pid,) = waiting(running)
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: b"State:\tT" in Path(f"/proc/{pid}/status").read_bytes())
    call = asyncio.ensure_future(running.call(body=b"unread"))
    await until(lambda: pid not in waiting(running))
    os.kill(pid, signal.SIGKILL)
    answer = await call
    assert (answer.status, answer.body) == (200, b"unread")


async def test_a_dead_one_is_passed_over_even_before_the_loop_has_heard_of_its_end(start: Start, until: Until) -> None:
    running = await prefork_of(start, "cat", pool_size="2")
    await until(lambda: len(waiting(running)) == 2)
    reserve = running.watchdog.mode.reserve
    dead, living = reserve._waiting
    os.kill(dead.child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, dead.child.pid, os.WEXITED | os.WNOWAIT)
    taken = reserve.take(Input(b"", True), lambda status: None)
    assert taken.child is living.child
    for fd in (taken.feed, taken.out, taken.errors, taken.witness):
        os.close(fd)


async def test_a_program_that_does_not_wait_is_started_again_with_pauses_and_requests_start_their_own(
    start: Start, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await prefork_of(start, "echo hi", pool_size="4")
    reserve = running.watchdog.mode.reserve
    await until(lambda: reserve._resting and not waiting(running))
    for _ in range(5):
        assert (await running.call()).body == b"hi\n"
    first = running.watchdog.spawner._serial
    await until(lambda: reserve._backoff.next > 0.4)
    assert running.watchdog.spawner._serial - first <= 40
    assert "the pool goes on in" in capfd.readouterr().err


async def test_the_last_words_of_one_that_cannot_wait_are_in_the_log(
    start: Start, script: Script, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await prefork_of(start, script("echo no licence >&2; exit 7"), pool_size="1")
    await until(lambda: running.watchdog.mode.reserve._resting)
    written = capfd.readouterr().err
    assert "stderr: no licence" in written
    assert "exit status 7; requests start their own" in written


async def test_a_pool_whose_program_does_not_exist_rests_and_requests_say_why(start: Start, until: Until) -> None:
    running = await prefork_of(start, "no-such-program", PATH="/nowhere")
    assert running.watchdog.mode.reserve._resting
    answer = await running.call(body=b"x")
    assert answer.status == 500
    assert b"'no-such-program' was not found" in answer.body


async def test_an_automatic_pool_follows_the_busiest_second_and_shrinks_again(
    start: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefork, "SHRINK_EVERY", 0.05)
    running = await prefork_of(start, "cat", pool_min="1", pool_max="5")
    reserve = running.watchdog.mode.reserve
    await until(lambda: len(waiting(running)) == 1)
    await asyncio.gather(*(running.call(body=b"x") for _ in range(20)))
    await until(lambda: len(waiting(running)) == 5)
    reserve._demand = type(reserve._demand)()
    await until(lambda: len(waiting(running)) == 1)
    await until(lambda: len(running.watchdog.spawner.running) == 1)


async def test_a_timeout_counts_from_the_request(start: Start, until: Until) -> None:
    running = await prefork_of(start, "cat", pool_size="1", exec_timeout="300ms")
    await until(lambda: len(waiting(running)) == 1)
    _, writer = await running.connect()
    pid = waiting(running)[0]
    await asyncio.sleep(0.4)  # it waits for longer than a run may take
    assert waiting(running) == [pid]
    writer.close()
    await running.watchdog.close()
    stuck = await prefork_of(start, "sleep 600", pool_size="1", exec_timeout="300ms")
    answer = await stuck.call(body=b"x")
    assert (answer.status, answer.body) == (500, b"signal: killed")


async def test_those_that_wait_end_with_the_watchdog_and_do_not_run(
    start: Start, script: Script, tmp_path: Path, until: Until, children: Callable[[], list[int]]
) -> None:
    running = await prefork_of(start, script(f"cat; touch {tmp_path}/ran"), pool_size="3")
    await until(lambda: len(waiting(running)) == 3)
    await running.watchdog.drain()
    assert not children()
    assert not (tmp_path / "ran").exists()


async def test_nothing_is_left_after_many_calls(
    start: Start, until: Until, descriptors: Callable[[], set[str]], children: Callable[[], list[int]]
) -> None:
    running = await prefork_of(
        start, f"{sys.executable} -c import\tsys;sys.stdout.write(sys.stdin.read())", pool_size="2"
    )
    await until(lambda: len(waiting(running)) == 2)
    before = len(descriptors())
    for _ in range(5):
        answers = await asyncio.gather(*(running.call(body=b"word") for _ in range(4)))
        assert {answer.body for answer in answers} == {b"word"}
    await until(lambda: len(waiting(running)) == 2 and not running.watchdog.server.connections)
    await until(lambda: len(children()) == 2)
    await until(lambda: len(descriptors()) <= before)


def test_variables_of_requests_are_refused_at_the_start_with_the_reason() -> None:
    with pytest.raises(
        SettingsError, match="cgi_headers: must be false in mode prefork, whose programs are started before"
    ):
        load_settings({"fprocess": "cat", "mode": "prefork"})
