"""A range of a file as the body of an answer that has begun, at the client's pace and without holding the loop.

Used by `oneshot` for large outputs and by the static mode. Reads go through the page cache, so no thread is used.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from penstock.wire.exchange import Exchange

CHUNK = 256 << 10
"""Bytes read and written in one turn of the loop."""


class FileSender:
    """Sends `length` bytes of `fd` from `offset`, then closes it and calls `on_end` with whether all was sent."""

    __slots__ = ("_exchange", "_fd", "_left", "_loop", "_offset", "_on_end", "_ready", "_scheduled")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        exchange: Exchange,
        fd: int,
        offset: int,
        length: int,
        on_end: Callable[[bool], None],
    ) -> None:
        self._loop = loop
        self._exchange = exchange
        self._fd = fd
        self._offset = offset
        self._left = length
        self._on_end = on_end
        self._ready = True
        self._scheduled = False

    def start(self) -> None:
        self._turn()

    def writable(self, ready: bool) -> None:
        """The client's pace, as the exchange reports it."""
        self._ready = ready
        if ready and not self._scheduled:
            self._turn()

    def close(self) -> None:
        """Stop without `on_end`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _turn(self) -> None:
        self._scheduled = False
        if self._fd < 0 or not self._ready:
            return
        if self._left:
            data = os.pread(self._fd, min(CHUNK, self._left), self._offset)
            if not data:  # the file became shorter under us
                self._end(False)
                return
            self._offset += len(data)
            self._left -= len(data)
            self._scheduled = True
            self._exchange.write(data)
            self._loop.call_soon(self._turn)
        else:
            self._end(True)

    def _end(self, complete: bool) -> None:
        self.close()
        self._on_end(complete)
