"""Output of a program kept until its exit code is known: in memory while small, in an unlinked file beyond.

A `oneshot.Run` fills it and sends from it, so that ten gigabytes of output cost disk and not memory.
"""

from __future__ import annotations

import os

MEMORY_MOST = 4 << 20
"""Bytes kept in memory. Above that a file is cheaper than the risk of many such answers at once."""


class Spool:
    """Bytes in order. `feed` raises OSError when the disk is full."""

    __slots__ = ("_directory", "_fd", "_pieces", "size")

    def __init__(self, directory: str) -> None:
        self.size = 0
        self._directory = directory
        self._pieces: list[bytes] = []
        self._fd = -1

    @property
    def on_disk(self) -> bool:
        return self._fd >= 0

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        if self._fd < 0:
            self._pieces.append(data)
            if self.size <= MEMORY_MOST:
                return
            self._fd = _unlinked_file(self._directory)
            for piece in self._pieces:
                self._write(piece)
            self._pieces.clear()
        else:
            self._write(data)

    def head(self, size: int) -> bytes:
        """The first bytes, at most `size`."""
        if self._fd >= 0:
            return os.pread(self._fd, size, 0)
        return b"".join(self._pieces)[:size]

    def whole(self) -> bytes:
        """All of it; only for what is in memory."""
        return b"".join(self._pieces)

    def take_file(self) -> int:
        """The descriptor of the file, now the caller's to close."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        self._pieces.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]


def _unlinked_file(directory: str) -> int:
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # not every file system has O_TMPFILE
        import tempfile  # a thirtieth of a watchdog's start, and hardly ever needed

        fd, path = tempfile.mkstemp(prefix="penstock-output-", dir=directory)
        os.unlink(path)
        return fd
