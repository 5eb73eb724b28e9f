"""A program's stdin and stdout as one transport, so that a connection of `wire` can speak HTTP over them.

Used by the process pool. It is only as much of a transport as `wire.client` asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from penstock.watchdog.pipes import PipeReader, PipeWriter


class PipeTransport(asyncio.Transport):
    """Reads `out`, writes `feed`, and closes both. The protocol's `connection_made` is called at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, feed: int, out: int) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._out = out
        self._closing = False
        self._reader = PipeReader(loop, out, protocol.data_received, self._ended)
        self._writer = PipeWriter(loop, feed, protocol.pause_writing, protocol.resume_writing)
        protocol.connection_made(self)

    def fileno(self) -> int:
        """The descriptor that is read."""
        return self._out

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """This object stands for the socket: it has its `fileno`."""
        return self if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The pipe is the buffer, and nobody may write more before it has room again."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._writer.write(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def pause_reading(self) -> None:
        self._reader.pause()

    def resume_reading(self) -> None:
        self._reader.resume()

    def is_closing(self) -> bool:
        """Whether nothing more can be exchanged: closed here, or the program reads no more."""
        return self._closing or self._writer.closed

    def close(self) -> None:
        """Read no more, and close when what was written is in the pipe."""
        self._writer.end()
        self._close()

    def abort(self) -> None:
        """Close at once."""
        self._writer.close()
        self._close()

    def conclude(self) -> None:
        """The program has ended: read what is left, whoever else holds its stdout."""
        self._reader.conclude()

    def _close(self) -> None:
        if not self._closing:
            self._closing = True
            self._reader.close()
            self._loop.call_soon(self._protocol.connection_lost, None)

    def _ended(self) -> None:
        """The program closed its stdout."""
        self._protocol.eof_received()
        self.abort()
