"""Processes that a measurement starts: begun here, watched until ready, stopped by their process id, whatever happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

START_DEADLINE = 60.0
"""Seconds until a server must answer."""

STOP_DEADLINE = 40.0
"""Seconds from SIGTERM to SIGKILL."""

PYTHON = sys.executable

T = TypeVar("T")


class BenchError(Exception):
    """A row cannot be measured; the message says why."""


class Stage:
    """A temporary directory, the processes started in it, and their end. A context manager."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="psb-"))
        self._stack = contextlib.ExitStack()
        self._count = 0

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def directory(self, name: str) -> Path:
        """A fresh directory."""
        self._count += 1
        path = self.path / f"{name}{self._count}"
        path.mkdir()
        return path

    def start(self, command: list[str], environ: Mapping[str, str] | None = None) -> Process:
        """Start a program; it ends with the stage."""
        self._count += 1
        process = Process(command, self.path / f"output{self._count}", environ)
        self._stack.callback(process.stop)
        return process

    def at_end(self, action: Callable[[], object]) -> None:
        """Do this when the stage ends."""
        self._stack.callback(action)


class Process:
    """One program, its output in a file."""

    def __init__(self, command: list[str], output: Path, environ: Mapping[str, str] | None) -> None:
        self._output = output
        self._command = command
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def printed(self) -> str:
        return self._output.read_text(errors="replace")

    def check(self) -> None:
        """Raises BenchError when it has ended."""
        if self._process.poll() is not None:
            shown = " ".join(self._command[:4])
            raise BenchError(f"{shown} ended with code {self._process.returncode}:\n{self.printed()[-2000:]}")

    def wait(self, seconds: float) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def wait_until(condition: Callable[[], T], what: str, *, process: Process | None = None, pause: float = 0.02) -> T:
    """The first true value of `condition`. Raises BenchError when it never comes or the process behind it ends."""
    end = time.monotonic() + START_DEADLINE
    while not (value := condition()):
        if process is not None:
            process.check()
        if time.monotonic() > end:
            raise BenchError(f"waited {START_DEADLINE:.0f} s for {what}")
        time.sleep(pause)
    return value


def free_port() -> int:
    """A TCP port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def memory(pid: int, *names: str) -> dict[str, int]:
    """Fields of /proc/PID/status such as VmRSS and VmHWM, in bytes."""
    fields = dict(_colon_lines(Path(f"/proc/{pid}/status").read_text()))
    return {name: int(fields[name].split()[0]) * 1024 for name in names}


def private_memory(pid: int) -> int:
    """Bytes that would be free if this process ended: Private_* of smaps_rollup."""
    fields = _colon_lines(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return sum(int(value.split()[0]) * 1024 for name, value in fields if name.startswith("Private_"))


def reset_peak(pid: int) -> None:
    """Let VmHWM start over (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time that a process, its descendants and those of them that it has waited for have used. Raises BenchError when
    there is no such process."""
    try:
        return _cpu_ticks(pid) / os.sysconf("SC_CLK_TCK")
    except (FileNotFoundError, ProcessLookupError):
        raise BenchError(f"process {pid} has ended, so its processor time is not known") from None


LOOKS = 20
"""At a process that ends children all the time."""


def _cpu_ticks(pid: int) -> int:
    """A child that ends meanwhile is looked for again among those that were waited for, so that it counts exactly once."""
    below, (own, waited) = 0, _own_ticks(pid)
    for _ in range(LOOKS):
        below = 0
        for child in children(pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended: the next look has it
                below += _cpu_ticks(child)
        before = waited
        own, waited = _own_ticks(pid)
        if waited == before:
            break
    return own + waited + below


def _own_ticks(pid: int) -> tuple[int, int]:
    """Clock ticks of a process, and of children that it has waited for (proc_pid_stat(5): utime, stime; cutime, cstime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def _colon_lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name, value.strip()
