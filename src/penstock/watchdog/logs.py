"""The watchdog's log: lines of its own and of its programs, written to stderr and stdout without ever blocking the loop.

Used by the app and the modes. A reader that stalls costs lines, which are counted and reported, never requests. Every line
is one line: control characters, with which a request could forge entries or drive a terminal, are escaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import stat
import time
from collections.abc import Callable

_BACKLOG = 1 << 20
"""Bytes kept for a stalled reader of the log; beyond, whole lines are dropped and counted."""
_LINE_MOST = 16 << 20
"""Bytes of a line when `log_buffer_size` is negative (unlimited in the original); somewhere memory ends."""
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\xc2[\x80-\x9f]")
"""C0 but the tab, DEL, and C1 as UTF-8."""


def escape(text: bytes) -> bytes:
    """`text` with control characters spelled as \\xNN."""
    if text.isascii() and text.isalnum():
        return text
    return _CONTROL.sub(lambda match: b"".join(b"\\x%02x" % byte for byte in match[0]), text)


class Sink:
    """One output descriptor. Writes what the descriptor takes now and keeps the rest until it takes more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd, self._owned, self._polled = _private_description(fd)
        self._backlog = bytearray()
        self._dropped = 0
        self._waiting = False

    def write(self, data: bytes) -> None:
        """Complete lines."""
        if self._backlog:
            self._keep(data)
            return
        written = self._put(data)
        if written < len(data):
            self._keep(data[written:])

    def flush(self) -> None:
        """Write as much of the backlog as is taken now."""
        if self._backlog:
            del self._backlog[: self._put(self._backlog)]
        if not self._backlog:
            self._watch(False)
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self.write(b"%d log lines dropped: the reader of this log was too slow\n" % dropped)

    def close(self) -> None:
        self.flush()
        self._watch(False)
        if self._owned:
            os.close(self._fd)
            self._owned = False

    def _keep(self, data: bytes) -> None:
        if len(self._backlog) + len(data) > _BACKLOG:
            self._dropped += data.count(b"\n")
            return
        self._backlog += data
        self._watch(True)

    def _watch(self, wanted: bool) -> None:
        if wanted == self._waiting:
            return
        self._waiting = wanted
        if wanted:
            self._loop.add_writer(self._fd, self.flush)
        else:
            self._loop.remove_writer(self._fd)

    def _put(self, data: bytes | bytearray) -> int:
        """Bytes taken. A log that nobody can read any more (EPIPE, EIO) takes everything."""
        if self._polled:
            poller = select.poll()
            poller.register(self._fd, select.POLLOUT)
            if not poller.poll(0):
                return 0
            data = data[: select.PIPE_BUF]  # what a writable pipe or socket takes without blocking
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)


def _private_description(fd: int) -> tuple[int, bool, bool]:
    """A descriptor that may be made non-blocking without its other holders noticing: (fd, ours to close, poll before writing)."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd, False, False
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            return os.open(f"/proc/self/fd/{fd}", flags), True, False
    return fd, False, True


class Log:
    """Lines of the watchdog, and a `Lines` for each stream of a program."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, prefix: bool = True, line_most: int = 65536, call_ids: bool = False
    ) -> None:
        self.err = Sink(loop, 2)
        self.out = Sink(loop, 1)
        self._prefix = prefix
        self._line_most = line_most if line_most > 0 else _LINE_MOST if line_most < 0 else 65536
        self._call_ids = call_ids
        self._second = 0
        self._stamp = b""

    def line(self, text: str, call_id: bytes | None = None) -> None:
        """One line of the watchdog's own; with `call_id` when it is about a request."""
        data = escape(text.encode("utf-8", "surrogateescape"))
        self.err.write(b"%b%b%b\n" % (self._time(), data, self._suffix(call_id)))

    def lines(self, stream: str, call_id: bytes | None = None) -> Lines:
        """Where a program's `stdout` or `stderr` goes: to our stream of that name."""
        sink = self.out if stream == "stdout" else self.err
        name = stream.encode() + b": "
        tail = self._suffix(call_id) + b"\n"

        def emit(text: bytes) -> None:
            head = self._time() + name if self._prefix else b""
            sink.write(head + escape(text) + tail)

        return Lines(emit, self._line_most)

    def close(self) -> None:
        self.err.close()
        self.out.close()

    def _suffix(self, call_id: bytes | None) -> bytes:
        if call_id is None or not self._call_ids:
            return b""
        return b" [%b]" % escape(call_id or b"none")

    def _time(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._stamp = time.strftime("%Y/%m/%d %H:%M:%S ", time.localtime(now)).encode()
        return self._stamp


class Lines:
    """Cuts a byte stream into lines at LF, CR and the length limit."""

    __slots__ = ("_emit", "_most", "_rest", "_returned")

    def __init__(self, emit: Callable[[bytes], None], most: int) -> None:
        self._emit = emit
        self._most = most
        self._rest = bytearray()
        self._returned = False
        """Whether what came last was a CR: it ended its line, and an LF behind it ends no other."""

    def feed(self, data: bytes) -> None:
        if self._returned:
            data = data.removeprefix(b"\n")
        self._returned = data.endswith(b"\r")
        self._rest += data
        if b"\n" in data or b"\r" in data:
            *lines, rest = bytes(self._rest).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._pieces(line)
        while len(self._rest) >= self._most:
            self._emit(bytes(self._rest[: self._most]))
            del self._rest[: self._most]

    def end(self) -> None:
        """The stream ended; an unfinished line is a line too."""
        if self._rest:
            self._emit(bytes(self._rest))
            self._rest.clear()

    def _pieces(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, self._most):
            self._emit(line[start : start + self._most])
