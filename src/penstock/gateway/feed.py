"""The worker's end of the route feed: routes come in, wakes and counters go out.

While control is away the worker keeps its routes and tries again; what it counted meanwhile goes out when control is back.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import cast

import msgspec

from penstock.gateway.counters import WorkerCounters
from penstock.gateway.messages import MAX_MESSAGE, Flush, Hello, Route, RouteRemoved, Synced, ToControl, ToWorker, Wake
from penstock.gateway.routes import RouteTable

FIRST_RETRY, LAST_RETRY = 0.02, 0.25
"""Seconds between attempts to reach control, doubling."""

REPORT_INTERVAL = 1.0
"""Seconds between unasked reports of counters, so that a worker that dies takes little with it. While control asks for them
as often, as its scaler does, none is sent unasked."""

_decode = msgspec.msgpack.Decoder(ToWorker).decode
_encode = msgspec.msgpack.Encoder().encode
_log = logging.getLogger(__name__)


class FeedConnection(asyncio.Protocol):
    """One connection to control."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._feed.lost(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= 4:
            size = int.from_bytes(self._buffer[position : position + 4], "big")
            if size > MAX_MESSAGE:
                self._refuse(f"a message of {size} bytes")
                return
            if len(self._buffer) - position - 4 < size:
                break
            body = self._buffer[position + 4 : position + 4 + size]
            position += 4 + size
            try:
                message = _decode(body)
            except msgspec.MsgspecError as error:
                self._refuse(str(error))
                return
            self._feed.received(message)
        del self._buffer[:position]

    def send(self, message: ToControl) -> None:
        body = _encode(message)
        self.transport.write(len(body).to_bytes(4, "big") + body)

    def _refuse(self, what: str) -> None:
        _log.error("the route feed sent something else: %s", what)
        self.transport.abort()


class Feed:
    """Keeps a connection to control."""

    def __init__(
        self, path: str, worker: int, routes: RouteTable, counters: WorkerCounters, connections: Callable[[], int]
    ) -> None:
        self._path = path
        self._worker = worker
        self._routes = routes
        self._counters = counters
        self._connection: FeedConnection | None = None
        self._lost = asyncio.Event()
        self._open_connections = connections
        self._asked = False
        """Whether control has asked for counters since an unasked report was last due."""

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        loop = asyncio.get_running_loop()
        reports = loop.create_task(self._report_often())
        try:
            retry = FIRST_RETRY
            while True:
                try:
                    _, connection = await loop.create_unix_connection(lambda: FeedConnection(self), self._path)
                except OSError:
                    await asyncio.sleep(retry)
                    retry = min(retry * 2, LAST_RETRY)
                    continue
                retry = FIRST_RETRY
                self._begin(connection)
                await self._lost.wait()
        finally:
            reports.cancel()

    def received(self, message: ToWorker) -> None:
        match message:
            case Route():
                if self._routes.apply(message):
                    self.wake(message.key)
            case RouteRemoved():
                self._routes.remove(message.key)
            case Synced():
                self._routes.end_snapshot()
            case Flush():
                self._asked = True
                self._report(message.id)

    def wake(self, key: str) -> None:
        """Ask for a replica. Without a connection nothing is sent; whoever asks will ask again."""
        self._send(Wake(key=key))

    def report_unasked(self) -> None:
        """An unasked report is due: send it if there is anything to say that control did not ask for since the last one."""
        if not self._asked and self._counters.dirty:
            self._report(0)
        self._asked = False

    def lost(self, connection: FeedConnection) -> None:
        if self._connection is connection:
            self._connection = None
            self._lost.set()

    def _begin(self, connection: FeedConnection) -> None:
        self._lost.clear()
        self._connection = connection
        self._routes.begin_snapshot()
        self._send(Hello(worker=self._worker, pid=os.getpid()))
        for function in self._routes.waiting():
            self.wake(function.key)

    def _report(self, flush: int) -> None:
        """Send what was counted, unless the connection is known to be lost: then it waits for the next one."""
        if self._connection is None or self._connection.transport.is_closing():
            return
        now = asyncio.get_running_loop().time()  # the clock of `gateway.invoke`
        self._send(self._counters.report(flush, self._open_connections(), now))

    def _send(self, message: ToControl) -> None:
        if self._connection is not None:
            self._connection.send(message)

    async def _report_often(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            self.report_unasked()
