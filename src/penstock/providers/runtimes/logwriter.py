"""Writes what a replica prints to a bounded file, with the time and the stream before each line.

Runs as a thread of the replica itself, fed by the pipes that are its stdout and stderr. So it needs neither the control
process nor the zygote, nobody else's death can block the replica or break its pipes, and nothing is shared between replicas.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

_LINE_MOST = 64 << 10
"""Bytes; a longer line is cut into several."""
_READ = 64 << 10
STDOUT = b"stdout"
STDERR = b"stderr"


class LogFile:
    """`NAME.log` and, once that has reached half the bound, the half before it in `NAME.log.1`."""

    def __init__(self, directory: int, name: str, most: int) -> None:
        # The directory is held open: the sandbox hides its path from this process too.
        self._directory = directory
        self._name = name
        self._half = most // 2
        self._fd = self._open()
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Append whole lines. A full disk loses lines and never stops the replica."""
        with contextlib.suppress(OSError):
            if self._size and self._size + len(data) > self._half:
                self._rotate()
            self._size += os.write(self._fd, data)

    def _rotate(self) -> None:
        os.rename(self._name, self._name + ".1", src_dir_fd=self._directory, dst_dir_fd=self._directory)
        fresh = self._open()
        os.close(self._fd)
        self._fd, self._size = fresh, 0

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._name, flags, 0o600, dir_fd=self._directory)


class LogWriter:
    """Takes over descriptors 1 and 2 of this process; `start` begins to write, `finish` writes what is left."""

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._streams: dict[int, _Stream] = {}
        for target, name in ((1, STDOUT), (2, STDERR)):
            read, write = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read, False)
            os.dup2(write, target)
            os.close(write)
            self._streams[read] = _Stream(name)
        self._bell, self._ring = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """From here on the process has two threads."""
        self._thread.start()

    def finish(self) -> None:
        """Write what the pipes hold, whoever else still has their ends open; nothing is read afterwards."""
        if self._thread.is_alive():
            os.close(self._ring)
            self._thread.join()
        self._drain()
        self._file.write(b"".join(stream.rest() for stream in self._streams.values()))

    def _run(self) -> None:
        poller = select.poll()
        for fd in (*self._streams, self._bell):
            poller.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._bell in ready:
                return
            for fd in ready:
                if not self._read(fd):
                    poller.unregister(fd)

    def _drain(self) -> None:
        """What is in the pipes now; bounded, since a program may write for as long as it is read."""
        for fd in self._streams:
            for _ in range(64):
                try:
                    if not self._read(fd):
                        break
                except BlockingIOError:
                    break

    def _read(self, fd: int) -> bool:
        data = os.read(fd, _READ)
        if data:
            self._file.write(self._streams[fd].lines(data))
        return bool(data)


class _Stream:
    """Cuts what arrives into lines and stamps them."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._partial = b""

    def lines(self, data: bytes) -> bytes:
        whole, newline, partial = (self._partial + data).rpartition(b"\n")
        self._partial = partial
        lines = whole.split(b"\n") if newline else []
        if len(partial) > _LINE_MOST:
            lines.append(partial)
            self._partial = b""
        head = b"%s %s " % (_timestamp(), self._name)
        return b"".join(
            head + line[start : start + _LINE_MOST] + b"\n"
            for line in lines
            for start in range(0, len(line) or 1, _LINE_MOST)
        )

    def rest(self) -> bytes:
        partial, self._partial = self._partial, b""
        return b"%s %s %s\n" % (_timestamp(), self._name, partial) if partial else b""


def _timestamp() -> bytes:
    """Now in RFC 3339 with nanoseconds, UTC."""
    seconds, nanos = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % nanos
