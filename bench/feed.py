"""A route feed for one worker under measurement: says which functions there are, then only listens.

Stands in for the control process, so that a row about the data plane measures nothing else.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from penstock.gateway.messages import Route, Synced, ToWorker


class RouteFeed:
    """Listens on `path`; every worker that connects is told `routes`. Runs in a thread of its own."""

    def __init__(self, path: Path, routes: Iterable[Route]) -> None:
        self._greeting = b"".join([*map(frame, routes), frame(Synced())])
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        for connection in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed from outside
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                connection.sendall(self._greeting)
                while connection.recv(1 << 16):
                    pass  # hellos, wakes and counters: nobody asks for them here


def frame(message: ToWorker) -> bytes:
    """A message as it goes over the feed: four bytes of length, then MessagePack."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body
