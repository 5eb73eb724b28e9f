"""Undoes what a handler does to the process that it shares with all other calls: directory, descriptors, streams, forks.

Mode `python` calls `after_call` when a handler returns, in its thread; it costs about a microsecond.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import io
import os
import sys
from typing import Any

from penstock.watchdog.importing import open_stream

# Python's own functions let go of the interpreter lock for each of these calls, and then the threads take turns at it: that
# halved the rate of a short handler. These take less time than the lock does.
_libc = ctypes.PyDLL(None)
_fchdir, _fcntl = _libc.fchdir, _libc.fcntl


class Guard:
    """Remembers how the process was when the worker began."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pid = os.getpid()
        self._directory = _directory()
        self._input = os.dup(0)
        self._kept = {fd: os.dup(fd) for fd in (1, 2)}
        self._streams = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._loop = loop
        self._open = True
        os.register_at_fork(after_in_child=self._forked)

    def after_call(self) -> None:
        """Put things back. In a process that the handler has forked this does not return."""
        if os.getpid() != self._pid:
            leave()
        if not self._open:
            return
        _fchdir(self._directory)
        if (
            _fcntl(0, fcntl.F_GETFD) < 0
        ):  # or the next connection would get its number, and be closed by the next such call
            os.dup2(self._input, 0)
        for fd in (1, 2):
            if _fcntl(fd, fcntl.F_GETFD) < 0:
                os.dup2(self._kept[fd], fd)
        if _closed(sys.stdout) or _closed(sys.stderr):
            self._reopen()

    def damaged(self) -> str:
        """Why this process must not go on: a standard stream has become something else. Empty when all is well."""
        for fd, kept in self._kept.items():
            try:
                if os.path.sameopenfile(fd, kept):
                    continue
            except OSError:
                pass
            return f"descriptor {fd} is not the log any more"
        return ""

    def close(self) -> None:
        self._open = False
        for fd in (self._input, *self._kept.values(), self._directory):
            if fd >= 0:
                os.close(fd)

    def _reopen(self) -> None:
        for name, stream in self._streams.items():
            if _closed(getattr(sys, name)):
                if _closed(stream):
                    stream = self._streams[name] = open_stream(1 if name == "stdout" else 2)
                setattr(sys, name, stream)

    def _forked(self) -> None:
        """In a child: as soon as it comes back to the loop, which is its parent's, it ends."""
        if self._open and os.getppid() == self._pid:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon(leave)


def leave() -> None:
    """End a process that a handler has forked and let return: its parent answers the call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOBase):
            with contextlib.suppress(Exception):
                stream.flush()
    os._exit(0)


def _closed(stream: Any) -> bool:
    return getattr(stream, "closed", False)  # a handler may have put anything there


def _directory() -> int:
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
