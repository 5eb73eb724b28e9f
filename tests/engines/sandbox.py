"""A place with its own network, mounts and processes, for whatever a test starts that would leave traces on the machine.

Everything in it ends, and its folder goes, when it is closed or when the process that made it ends in any way: see `keeper`.
The machine reaches it and the containers in it by address; it reaches nothing but the machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import debian_path
from tests.engines import network
from tests.engines.waiting import DEADLINE, wait_until

KEEPER = Path(__file__).with_name("keeper.py")
OF_SANDBOX = ("net", "mnt", "uts", "pid")


class SandboxFailed(Exception):
    """The machine does not let us make one; the message says why."""


class Sandbox:
    """From its start to its end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pd-"))
        """For files of what runs in it; the same path inside and outside."""
        self.name = f"penstock-{self.folder.name}"
        """Its host name, and the cgroup that is removed with it."""
        self.environ = {**os.environ, "PATH": debian_path()}
        self._link: network.Link | None = None
        self._programs: list[Program] = []
        self._keeper = self._start_keeper()
        try:
            self.pid = self._wait_for_first_process()
            self._link = network.connect(self.pid)
        except BaseException:
            self.close()
            raise

    def _start_keeper(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", str(KEEPER), str(os.getpid()), self.name, str(self.folder)]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environ,
                start_new_session=True,
            )

    def _wait_for_first_process(self) -> int:
        assert self._keeper.stdout is not None
        with self._keeper.stdout as said, (self.folder / "log").open(errors="replace") as log:
            if said.readline() != b"ready\n":
                raise SandboxFailed(f"no namespaces of its own: {log.read()[-2000:]}")
        [unshare] = _children(self._keeper.pid)
        [first] = _children(unshare)
        return first

    @property
    def link(self) -> network.Link:
        assert self._link is not None
        return self._link

    @property
    def address(self) -> str:
        """Its own, as the machine and other sandboxes see it."""
        return self.link.inside

    @property
    def host_address(self) -> str:
        """The machine's, as everything in the sandbox sees it."""
        return self.link.outside

    def popen(self, argv: Sequence[str], **options: Any) -> Program:
        """Start a program in it; the options are those of subprocess.Popen."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("env", self.environ)
        own = [
            f"--{name}=/proc/{self.pid}/ns/{kind}"
            for name, kind in zip(("net", "mount", "uts", "pid"), OF_SANDBOX, strict=True)
        ]
        self._programs = [program for program in self._programs if program.returncode is None]
        self._programs.append(Program(["nsenter", *own, "--", *argv], **options))
        return self._programs[-1]

    def run(self, *argv: str) -> str:
        """The output of a program in it. Raises AssertionError with what it said."""
        program = self.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = program.communicate(timeout=DEADLINE)
        text: str = said.decode(errors="replace")
        assert program.returncode == 0, f"{' '.join(argv)}: {text}"
        return text

    def file(self, path: str) -> Path:
        """A file as the sandbox sees it, for reading and writing from outside."""
        return Path(f"/proc/{self.pid}/root") / path.lstrip("/")

    def outside(self, pid: int) -> int:
        """The machine's number of a process that has this one in the sandbox. Raises ProcessLookupError."""
        with contextlib.suppress(FileNotFoundError):
            namespace = self.file(f"/proc/{pid}/ns/pid").stat().st_ino
            depth = len(_numbers(self.pid)) - 1
            for entry in os.listdir("/proc"):
                if entry.isdecimal() and _is(int(entry), depth, pid, namespace):
                    return int(entry)
        raise ProcessLookupError(f"no process {pid} in the sandbox")

    def close(self) -> None:
        """End everything in it and remove its files, link and routes."""
        assert self._keeper.stdin is not None
        if self._keeper.stdin.closed:
            return
        if self._link is not None:
            # While it is certainly ours: once the namespace is gone, so is the link, and another may have its name.
            network.disconnect(self._link)
        for program in self._programs:
            program.let_go()
        with contextlib.suppress(BrokenPipeError), self._keeper.stdin as told:
            # A line, for a process that was forked off this one may hold the pipe open.
            told.write(b"end\n")
        self._keeper.wait(DEADLINE)


class Program(subprocess.Popen[bytes]):
    """A program in a sandbox: what was started here is its parent outside, which ends as it ends; signals go to the program."""

    @property
    def program(self) -> int:
        """Its number on the machine. Raises ProcessLookupError when it has ended."""
        children = wait_until(lambda: _children(self.pid) or self.poll() is not None, "a program in a sandbox")
        if isinstance(children, bool):
            raise ProcessLookupError(f"the program ended with {self.returncode}")
        return children[0]

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.program, number)
        if number in (signal.SIGKILL, signal.SIGCONT):
            self.let_go()

    def stop(self) -> None:
        """SIGSTOP; returns when no thread of it runs any more, which is when nsenter is told of it and stops itself."""
        self.send_signal(signal.SIGSTOP)
        wait_until(lambda: _state(self.pid) == "T", "a stopped program")

    def resume(self) -> None:
        """SIGCONT; returns when nsenter, which passes it on, waits again: it would undo a SIGSTOP that came before."""
        self.send_signal(signal.SIGCONT)
        wait_until(lambda: _state(self.pid) == "S", "a program that goes on")

    def let_go(self) -> None:
        """nsenter stops itself when its child is stopped, and would then not see its end, without which no PID namespace ends."""
        if self.poll() is None:
            super().send_signal(signal.SIGCONT)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _state(pid: int) -> str:
    """What it does, by its letter (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _numbers(pid: int) -> list[int]:
    """A process's numbers, from the machine's to that of its innermost PID namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    return []


def _is(candidate: int, depth: int, number: int, namespace: int) -> bool:
    try:
        numbers = _numbers(candidate)
        return numbers[depth : depth + 1] == [number] and Path(f"/proc/{candidate}/ns/pid").stat().st_ino == namespace
    except (FileNotFoundError, ProcessLookupError):
        return False
