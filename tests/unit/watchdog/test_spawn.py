"""Finding and starting programs."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from penstock.watchdog.settings import ProgramLimits
from penstock.watchdog.spawn import ProgramMissing, Spawner, SpawnFailed, find_program, program_environment

Until = Callable[[Callable[[], object]], Awaitable[None]]


def test_a_program_is_looked_up_in_the_given_path_only(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("")
    search = os.fsencode(f"/nowhere:{tmp_path}")
    with pytest.raises(ProgramMissing, match=r"'tool' was not found in PATH=/nowhere:"):
        find_program(b"tool", search)
    program.chmod(0o755)
    assert find_program(b"tool", search) == os.fsencode(program)


def test_a_directory_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "tool").mkdir()
    with pytest.raises(ProgramMissing):
        find_program(b"tool", os.fsencode(tmp_path))


def test_a_name_with_a_slash_is_a_path() -> None:
    assert find_program(b"/bin/sh", b"") == b"/bin/sh"
    with pytest.raises(ProgramMissing, match=r"'\./no/such' does not exist"):
        find_program(b"./no/such", b"/bin")


def test_an_empty_name_is_no_program() -> None:
    with pytest.raises(ProgramMissing):
        find_program(b"", b"/bin:/usr/bin")


def test_private_variables_are_removed_and_odd_bytes_kept() -> None:
    environ = {"PENSTOCK_LIFELINE_FD": "3", "PENSTOCK_SECRETS_DIR": "/s", "odd": os.fsdecode(b"\xff")}
    assert program_environment(environ) == {b"PENSTOCK_SECRETS_DIR": b"/s", b"odd": b"\xff"}


async def test_the_exit_status_is_reported_once_and_nothing_stays(
    until: Until, descriptors: Callable[[], set[str]], children: Callable[[], list[int]]
) -> None:
    spawner = Spawner("false", {"PATH": os.environ["PATH"]}, ProgramLimits(), asyncio.get_running_loop())
    before = descriptors()
    statuses: list[int] = []
    for _ in range(20):
        spawner.spawn({}, (spawner.null,) * 3, statuses.append)
    await until(lambda: len(statuses) == 20)
    assert {os.waitstatus_to_exitcode(status) for status in statuses} == {1}
    assert not spawner.running
    assert not children()
    assert descriptors() <= before
    spawner.close()


async def test_too_many_open_files_is_an_error_and_not_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, "too many")

    spawner = Spawner("sleep 600", {"PATH": os.environ["PATH"]}, ProgramLimits(), asyncio.get_running_loop())
    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(SpawnFailed, match="Too many open files"):
        spawner.spawn({}, (spawner.null,) * 3, lambda status: None)
    assert not spawner.running
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    spawner.close()


@pytest.mark.usefixtures("subreaper")
async def test_a_sweep_leaves_running_programs_and_their_descendants_alone(
    tmp_path: Path, until: Until, children: Callable[[], list[int]]
) -> None:
    script, pid_file = tmp_path / "script", tmp_path / "pid"
    script.write_text(f"(setsid sh -c 'echo $$ > {pid_file}; exec sleep 600' &) ; read wait; exit 0")
    spawner = Spawner(f"sh {script}", {"PATH": os.environ["PATH"]}, ProgramLimits(), asyncio.get_running_loop())
    reader, writer = os.pipe()
    child = spawner.spawn({}, (reader, spawner.null, spawner.null), lambda status: None)
    await until(lambda: pid_file.exists() and pid_file.read_text())
    escaped = int(pid_file.read_text())
    await until(lambda: escaped in children())
    spawner.sweep()
    os.kill(escaped, 0)
    os.close(writer)
    os.close(reader)
    await until(lambda: child.pid not in spawner.running)
    await until(lambda: escaped not in children())
    spawner.close()


class Halting:
    """The loop of a machine that stands still for three seconds after the first look at the clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._looks = iter([0.0])

    def time(self) -> float:
        return next(self._looks, 3.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def test_the_end_of_programs_is_waited_for_on_a_slow_machine() -> None:
    spawner = Spawner("sleep 600", {"PATH": os.environ["PATH"]}, ProgramLimits(), cast(Any, Halting()))
    ends: list[int] = []
    spawner.spawn({}, (spawner.null, spawner.null, spawner.null), ends.append)
    ending = asyncio.ensure_future(spawner.end_all())
    await asyncio.sleep(0)
    assert not ending.done()
    await asyncio.wait_for(ending, 60)
    assert ends and not spawner.running
    spawner.close()


async def test_children_from_before_the_watchdog_are_left_alone() -> None:
    other = subprocess.Popen(["sleep", "600"])
    spawner = Spawner("true", {"PATH": os.environ["PATH"]}, ProgramLimits(), asyncio.get_running_loop())
    await spawner.end_all()
    assert other.poll() is None
    other.kill()
    other.wait()
    spawner.close()


async def test_one_program_is_started_in_each_turn_of_the_loop() -> None:
    spawner = Spawner("true", {"PATH": os.environ["PATH"]}, ProgramLimits(), asyncio.get_running_loop())
    started: list[int] = []
    for number in range(3):
        spawner.enqueue(functools.partial(started.append, number))
    assert started == [0]
    await asyncio.sleep(0)
    assert started == [0, 1]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert started == [0, 1, 2]
    spawner.close()


async def test_the_end_of_a_program_is_known_before_the_loop_has_heard_of_it(until: Until) -> None:
    spawner = Spawner("sleep 600", {"PATH": os.environ["PATH"]}, ProgramLimits(), asyncio.get_running_loop())
    ends: list[int] = []
    child = spawner.spawn({}, (spawner.null, spawner.null, spawner.null), ends.append)
    assert not child.has_ended()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.has_ended()
    assert not ends
    await until(lambda: ends)
    assert child.has_ended()
    spawner.close()
