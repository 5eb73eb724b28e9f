"""What is on stdin as the body of a request: streamed as it comes, and sent again where a request has to be.

Used by `penstock invoke`.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterable, AsyncIterator

from penstock.cli.options import note
from penstock.errors import PenstockError

BLOCK = 1 << 16
"""Bytes read from stdin at a time: what a pipe holds by default on Linux (pipe(7))."""
KEPT = 1 << 20
"""Bytes of a pipe that are remembered, so that a request can be sent again; of a longer one it cannot."""


class FileBody:
    """The rest of a regular file, whose length is known; bytes appended meanwhile are not sent. Can be sent again."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self.descriptor = descriptor
        self.start = start
        self.size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        os.lseek(self.descriptor, self.start, os.SEEK_SET)
        left = self.size
        while left and (block := os.read(self.descriptor, min(left, BLOCK))):
            left -= len(block)
            yield block
        if left:
            raise PenstockError("the file on stdin became shorter while it was being sent")


class PipeBody:
    """What arrives on a pipe, terminal or socket, as it arrives."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._kept: list[bytes] = []
        self._size = 0
        self._ended = False

    @property
    def complete(self) -> bool:
        """Whether all that was read is remembered, so that it can be sent again."""
        return self._size <= KEPT

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in list(self._kept):
            yield block
        if self._ended:
            return
        async for block in pipe_blocks(self.descriptor):
            self._size += len(block)
            if self.complete:
                self._kept.append(block)
            else:
                self._kept.clear()
            yield block
        self._ended = True


Body = bytes | FileBody | PipeBody | None
"""None: the request has no body."""


def stdin_body(method: str) -> Body:
    """stdin as it comes. None where there is no stdin, or a terminal for a method that needs no body."""
    if sys.stdin is None:
        return None
    descriptor = sys.stdin.fileno()
    if os.isatty(descriptor):
        if method in ("GET", "HEAD"):
            return None
        note("Reading the request body from the terminal, end it with Ctrl-D.")
    mode = os.fstat(descriptor)
    if stat.S_ISCHR(mode.st_mode) and mode.st_rdev == os.stat(os.devnull).st_rdev:
        return None
    if stat.S_ISREG(mode.st_mode):
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        return FileBody(descriptor, start, max(0, mode.st_size - start))
    return PipeBody(descriptor)


async def gathered(body: Body) -> bytes:
    """All of it."""
    if body is None or isinstance(body, bytes):
        return body or b""
    pieces: AsyncIterable[bytes] = body
    return b"".join([block async for block in pieces])


async def pipe_blocks(descriptor: int) -> AsyncIterator[bytes]:
    """What arrives on a pipe, terminal or socket, as it arrives.

    Waits by the loop and then reads: setting the descriptor to non-blocking would change it for the programs it is shared with.
    """
    loop = asyncio.get_running_loop()
    while True:
        readable: asyncio.Future[None] = loop.create_future()
        try:
            loop.add_reader(descriptor, _wake, readable)
        except PermissionError:  # /dev/zero and others that epoll does not know are always readable
            await asyncio.sleep(0)
        else:
            try:
                await readable
            finally:
                loop.remove_reader(descriptor)
        block = os.read(descriptor, BLOCK)
        if not block:
            return
        yield block


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
