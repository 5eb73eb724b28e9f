"""Our ends of a program's pipes on the event loop: raw descriptors, no threads, back-pressure by not reading and not writing.

Used by the forking modes, the pools and the log. Asyncio's own pipe transports are left out because they copy more and report the
end of a pipe later than a request can wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import termios
from collections import deque
from collections.abc import Callable

READ_FIRST = 64 << 10
"""Bytes of the first reads: a pipe's usual capacity (pipe(7))."""
READ_MOST = 256 << 10
"""Bytes of a read once the flow has proved large. Larger ones were not faster and hold memory."""
PIPE_LARGE = 1 << 20
"""Capacity asked for a pipe that has once been full: the most an unprivileged process may have."""


class Pipes:
    """The pipes of a program about to be started. As a context manager: closes the program's ends afterwards, and ours too
    when the start failed. All are closed on exec and blocking, since programs expect that of theirs."""

    __slots__ = ("_ours", "_theirs")

    def __init__(self) -> None:
        self._ours: list[int] = []
        self._theirs: list[int] = []

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for fd in self._theirs + (self._ours if kind else []):
            os.close(fd)

    def inward(self) -> tuple[int, int]:
        """For the program's stdin: (its end, ours). Raises OSError."""
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        self._theirs.append(theirs)
        self._ours.append(ours)
        return theirs, ours

    def outward(self) -> tuple[int, int]:
        """For its stdout or stderr: (its end, ours). Raises OSError."""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        self._theirs.append(theirs)
        self._ours.append(ours)
        return theirs, ours

    def keep_theirs(self, theirs: int) -> None:
        """One of the program's ends is to stay open here as well; it is ours to close then."""
        self._theirs.remove(theirs)
        self._ours.append(theirs)

    def close_early(self, ours: int) -> None:
        """One of our ends is not needed any more."""
        self._ours.remove(ours)
        os.close(ours)


def enlarge(fd: int) -> None:
    """Give a pipe its largest capacity. Only for flows that need it: a user's pipes share one budget (pipe(7))."""
    with contextlib.suppress(OSError):  # EPERM: the user's budget is spent; the pipe works as it is
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_LARGE)


def unread(fd: int) -> int:
    """Bytes that are in a pipe, asked of either of its ends."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


class PipeReader:
    """Hands on what a program writes. `on_end` is called once: at end of file, or when `conclude` finds the pipe empty."""

    __slots__ = ("_fd", "_left", "_loop", "_on_data", "_on_end", "_paused", "_size", "_watching")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._on_data = on_data
        self._on_end = on_end
        self._size = READ_FIRST
        self._paused = False
        self._left: int | None = None
        self._watching = True
        loop.add_reader(fd, self._ready)

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def pause(self) -> None:
        """Stop reading: the pipe fills and the program waits."""
        self._paused = True
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if not self._paused or self._fd < 0:
            return
        self._paused = False
        self._watching = True
        self._loop.add_reader(self._fd, self._ready)
        if self._left is not None:
            self._drain()

    def conclude(self) -> None:
        """The program has ended: read what is left, then end even if a stray process holds the pipe open."""
        if self._fd >= 0 and self._left is None:
            self._left = PIPE_LARGE  # no pipe holds more, so what comes later is not the program's
            self._drain()

    def close(self) -> None:
        """Stop at once; `on_end` is not called. Whoever still writes gets SIGPIPE."""
        if self._fd >= 0:
            if self._watching:
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._watching = False

    def fileno(self) -> int:
        """The descriptor that is read; -1 once closed."""
        return self._fd

    def release(self) -> int:
        """Read no more and give the pipe away, with what is in it; -1 when it was closed. `on_end` is not called."""
        if self._watching:
            self._loop.remove_reader(self._fd)
            self._watching = False
        fd, self._fd = self._fd, -1
        return fd

    def _drain(self) -> None:
        while self._fd >= 0 and not self._paused:
            self._ready()

    def _ready(self) -> None:
        try:
            data = os.read(self._fd, self._size)
        except BlockingIOError:
            if self._left is not None:
                self._end()
            return
        if not data:
            self._end()
            return
        if len(data) == self._size and self._size < READ_MOST:
            self._size = READ_MOST
            enlarge(self._fd)
        self._on_data(data)
        if self._left is not None and self._fd >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._end()

    def _end(self) -> None:
        self.close()
        self._on_end()


class PipeWriter:
    """Writes a request body to a program. `on_full` and `on_room` tell the source to pause and to go on."""

    __slots__ = ("_ending", "_fd", "_loop", "_on_full", "_on_room", "_pending")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        on_full: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._on_full = on_full
        self._on_room = on_room
        self._pending: deque[memoryview] = deque()
        self._ending = False

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def write(self, data: bytes) -> None:
        """Write now what fits and the rest when there is room. Discarded once the program stopped reading."""
        if self._fd < 0:
            return
        if self._pending:
            self._pending.append(memoryview(data))
            return
        written = self._put(memoryview(data))
        if 0 <= written < len(data):
            self._pending.append(memoryview(data)[written:])
            enlarge(self._fd)
            self._loop.add_writer(self._fd, self._ready)
            self._on_full()

    def end(self) -> None:
        """No more will come: close once everything is written."""
        self._ending = True
        if not self._pending:
            self.close()

    @property
    def waiting(self) -> bool:
        """Whether anything waits for room in the pipe."""
        return bool(self._pending)

    def release(self) -> int:
        """Give the pipe away, into which everything was written; -1 when it was closed."""
        fd, self._fd = self._fd, -1
        return fd

    def stop(self) -> None:
        """The program reads no more: close, and let a source that was paused go on, since the rest is discarded."""
        waiting = bool(self._pending)
        self.close()
        if waiting:
            self._on_room()

    def close(self) -> None:
        if self._fd >= 0:
            if self._pending:
                self._loop.remove_writer(self._fd)
                self._pending.clear()
            os.close(self._fd)
            self._fd = -1

    def _put(self, data: memoryview) -> int:
        """Bytes taken by the pipe; -1 when the program reads no more, which is its right."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self.stop()
            return -1

    def _ready(self) -> None:
        while self._pending:
            piece = self._pending[0]
            written = self._put(piece)
            if written < 0:
                return
            if written < len(piece):
                self._pending[0] = piece[written:]
                return
            self._pending.popleft()
        self._loop.remove_writer(self._fd)
        if self._ending:
            self.close()
        else:
            self._on_room()
