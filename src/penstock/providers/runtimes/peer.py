"""The zygote's end of a stream socket: cuts messages out of what arrives, keeps what cannot be written yet, never blocks.

The zygote has one for every process runtime that is connected and one for every warmed parent.
"""

from __future__ import annotations

import errno
import socket

from penstock.providers.runtimes.messages import Frames

_MOST = 16 << 20
"""Bytes waiting for a peer that does not read; then it is dropped."""


class Peer:
    """A connection with what could not be written yet. Never blocks."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.waiting = b""
        self._frames = Frames()

    def receive(self) -> list[bytes]:
        """Bodies that have arrived. Raises ConnectionResetError at the end of the stream."""
        try:
            data = self.connection.recv(1 << 20)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "closed")
        return self._frames.feed(data)

    def send(self, data: bytes) -> None:
        if len(self.waiting) + len(data) > _MOST:
            raise BrokenPipeError(errno.EPIPE, "it does not read")
        self.waiting += data
        self.flush()

    def flush(self) -> None:
        if self.waiting:
            try:
                self.waiting = self.waiting[self.connection.send(self.waiting) :]
            except BlockingIOError:
                return
