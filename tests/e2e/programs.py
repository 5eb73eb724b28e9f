"""Programs written for a test, and what became of their processes."""

from __future__ import annotations

import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

import psutil

from tests.e2e.serving import wait_until


class Workshop:
    """A directory for programs. It lies beside the server's home, which functions cannot see."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pw-"))

    def python(self, name: str, source: str) -> str:
        """The program line of a Python script."""
        path = self.directory / f"{name}.py"
        path.write_text(textwrap.dedent(source))
        return f"{sys.executable} -I -S {path}"

    def file(self, name: str) -> Path:
        return self.directory / name

    def close(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_dead(*pids: int, deadline: float = 60.0) -> None:
    wait_until(lambda: not any(alive(pid) for pid in pids), f"the end of processes {pids}", deadline)


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below `pid`."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def below(pid: int, *words: str) -> list[psutil.Process]:
    """Processes below `pid` whose command line holds all `words`."""
    found = []
    for process in descendants(pid):
        try:
            line = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue  # it has just ended
        if all(word in line for word in words):
            found.append(process)
    return found


def role(pid: int, module: str) -> psutil.Process:
    """The child of a supervisor that runs a module of ours; of workers, one of them."""

    def find() -> list[psutil.Process]:
        return [process for process in below(pid, module) if _parent(process) == pid]

    return wait_until(find, f"a process of {module}", 60.0)[0]


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return 0
