"""Programs that builds run: compilers, package managers, engines. One child at a time and thread, heard line by line, ended whole.

Each child leads a session of its own, so that Ctrl-C on the terminal reaches us alone and we end it with everything it started.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from penstock.errors import BuildFailed, NotSupported
from penstock.providers.runtimes import processes
from penstock.storage.handover import OWN_VARIABLES, without

KEPT = 64 << 10
"""Bytes of a program's last output that are kept for BuildFailed."""
GRACE = 2.0
"""Seconds from SIGTERM to SIGKILL when a build is cancelled: an engine's client ends its build by the former only."""
_PIECE = 1 << 16
_PIECES = 64
"""Reads between two looks at whether the program still runs: what it leaves behind may write without end."""
_PASSES = 20
"""Times that orphans are looked for: one pass may miss what is being started meanwhile."""

Hear = Callable[[str], None]
"""Told each line of a program's output, without its line end."""


class _Child:
    """A running program and the mark by which whatever it starts is known, also in another session."""

    def __init__(self, mark: str, arguments: Sequence[str], directory: Path | None, environ: Mapping[str, str]) -> None:
        self.mark = f"{mark}-{uuid.uuid4().hex}"
        self.output, writer = os.pipe()
        try:
            self.process = subprocess.Popen(
                arguments,
                cwd=directory,
                env={**environ, processes.MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            os.close(self.output)
            raise
        finally:
            os.close(writer)
        os.set_blocking(self.output, False)

    def interrupt(self) -> None:
        """SIGTERM to its session, so that it can tidy up."""
        for pid in self._session():
            processes.kill(pid, signal.SIGTERM)

    def runs(self) -> bool:
        return bool(self._session())

    def end(self) -> int:
        """Kill all that is left of it and of what it has started; its exit code."""
        processes.kill_leftovers({self.process.pid}, {self.mark})
        return self.process.wait()

    def close(self) -> None:
        os.close(self.output)

    def _session(self) -> list[int]:
        leader = self.process.pid
        return [stat.pid for stat in processes.all_processes() if stat.session == leader and stat.state not in "ZX"]


class Programs:
    """What one builder has running. `run` from any number of threads, `cancel` from any other."""

    def __init__(self) -> None:
        self.mark = f"build-{uuid.uuid4().hex}"
        """By which all that they start is known, as `end_orphans` wants it."""
        self._running: set[_Child] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    def run(
        self,
        arguments: Sequence[str],
        *,
        directory: Path | None = None,
        environ: Mapping[str, str] | None = None,
        hear: Hear | None = None,
    ) -> str:
        """Run a program to its end and return the last KEPT bytes of what it wrote, stdout and stderr as they came.

        `environ` is the whole environment, by default ours; keys that are for Penstock alone are left out. What the program has
        left running is killed. Raises NotSupported when there is no such program, BuildFailed with the program's words when it
        ends badly or is cancelled.
        """
        child = self._start(arguments, directory, without(os.environ if environ is None else environ, OWN_VARIABLES))
        try:
            words = _listen(child, hear)
        finally:
            code = child.end()
            child.close()
            with self._lock:
                self._running.discard(child)
        if self._cancelled:
            raise BuildFailed("the build was cancelled", words)
        if code != 0:
            raise BuildFailed(f"{os.path.basename(arguments[0])} ended with {_end(code)}", words)
        return words

    def check(self) -> None:
        """Raises BuildFailed when builds have been cancelled."""
        if self._cancelled:
            raise BuildFailed("the build was cancelled")

    def cancel(self) -> None:
        """End every program with its descendants, and let no new one start. Returns when they are gone."""
        with self._lock:
            self._cancelled = True
            running = list(self._running)
        for child in running:
            child.interrupt()
        deadline = time.monotonic() + GRACE
        try:
            while any(child.runs() for child in running) and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:  # also when a second Ctrl-C comes
            processes.kill_leftovers({child.process.pid for child in running}, {child.mark for child in running})

    def _start(self, arguments: Sequence[str], directory: Path | None, environ: Mapping[str, str]) -> _Child:
        with self._lock:
            if self._cancelled:
                raise BuildFailed("the build was cancelled")
            try:
                child = _Child(self.mark, arguments, directory, environ)
            except FileNotFoundError as error:
                if directory is not None and not directory.is_dir():
                    raise
                raise NotSupported(f"the program {arguments[0]!r} is not installed, or not in PATH") from error
            self._running.add(child)
        return child


def end_orphans(mark: str) -> None:
    """Kill what is left of the Programs of that mark, whose process was killed before it could."""
    for _ in range(_PASSES):
        left = [
            stat.pid
            for stat in processes.all_processes()
            if stat.state not in "ZX" and processes.mark_of(stat.pid).startswith(f"{mark}-")
        ]
        if not left:
            return
        for pid in left:
            processes.kill(pid)


def _listen(child: _Child, hear: Hear | None) -> str:
    """Read until the program has ended or closed its output; a process that it left behind is not waited for."""
    pidfd = os.pidfd_open(child.process.pid)
    kept, lines = bytearray(), _Lines(hear)
    try:
        poller = select.poll()
        poller.register(child.output, select.POLLIN)
        poller.register(pidfd, select.POLLIN)
        over = False
        while not over:
            over = any(number == pidfd for number, _ in poller.poll())
            piece: bytes | None = None
            for _ in range(_PIECES):
                piece = _read(child.output)
                if not piece:
                    break
                kept += piece
                del kept[:-KEPT]
                lines.feed(piece)
            else:
                continue
            if piece == b"":
                poller.unregister(child.output)
                poller.poll()  # for the end of the program
                over = True
    finally:
        os.close(pidfd)
    lines.close()
    return kept.decode(errors="replace")


def _read(pipe: int) -> bytes | None:
    """A piece; empty at the end, None when there is nothing yet."""
    try:
        return os.read(pipe, _PIECE)
    except BlockingIOError:
        return None


class _Lines:
    """Cuts output into lines, at carriage returns as well: progress bars write those."""

    def __init__(self, hear: Hear | None) -> None:
        self._hear = hear
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._rest = ""

    def feed(self, piece: bytes) -> None:
        if self._hear is None:
            return
        *lines, self._rest = (self._rest + self._decode(piece)).replace("\r", "\n").split("\n")
        for line in lines:
            self._say(line)
        if len(self._rest) > KEPT:
            self.close()

    def close(self) -> None:
        self._say(self._rest)
        self._rest = ""

    def _say(self, line: str) -> None:
        if self._hear is not None and line.strip():
            self._hear(line.rstrip())


def _end(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.strsignal(-code) or 'unknown'})"
