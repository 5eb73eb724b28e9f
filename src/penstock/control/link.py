"""One gateway worker's connection to the feed: frames in and out, with an outbox that stays small.

`control.feed` owns the links. A worker that reads slowly gets the latest route of each function, not every one in
between; a worker that does not read at all is cut off, and takes a fresh snapshot when it connects again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from penstock.gateway.messages import MAX_MESSAGE, Counters, Flush, Hello, Synced, ToControl, ToWorker, Wake

log = logging.getLogger(__name__)

HELLO_TIMEOUT = 10.0
"""Seconds that a new connection has to introduce itself."""

STALL_TIMEOUT = 30.0
"""Seconds that a worker may leave a batch unread; then its link is cut."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[ToControl] = msgspec.msgpack.Decoder(ToControl)


class BadMessage(Exception):
    """The peer does not speak the feed's language."""


def frame(message: ToWorker | ToControl) -> bytes:
    """A message as it goes over the socket: four bytes of length and MessagePack."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4) + body


async def read_message(reader: asyncio.StreamReader) -> ToControl:
    """The next message of a worker. Raises BadMessage, and IncompleteReadError at the end of the stream."""
    length = int.from_bytes(await reader.readexactly(4))
    if length > MAX_MESSAGE:
        raise BadMessage(f"a message of {length} bytes")
    body = await reader.readexactly(length)
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadMessage(str(error)) from error


class LinkOwner(Protocol):
    """What a link needs of the feed."""

    async def snapshot(self) -> Mapping[str, bytes]:
        """Frames of all routes by key, once they are known; the link gets every change from this moment on."""

    def attach(self, link: Link) -> None: ...

    def wake(self, key: str) -> None: ...

    def count(self, counters: Counters) -> None:
        """Raises ValueError for counters that make no sense."""


class Link:
    """One connected worker."""

    def __init__(self, owner: LinkOwner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.worker = -1
        self.inflight: dict[str, int] = {}
        self.connections = 0
        self._owner = owner
        self._reader = reader
        self._writer = writer
        self._outbox: dict[str, bytes] = {}
        self._flush = 0
        self._answered: dict[int, asyncio.Future[None]] = {}
        self._work = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Link worker={self.worker} outbox={len(self._outbox)} flushes={len(self._answered)}>"

    def offer(self, key: str, message: bytes) -> None:
        """Send this frame about function `key`, in place of one that still waits."""
        self._outbox.pop(key, None)
        self._outbox[key] = message
        self._work.set()

    async def flush(self, number: int) -> None:
        """Ask for counters and wait until they came or the worker is gone. Numbers must grow."""
        answered = asyncio.get_running_loop().create_future()
        self._answered[number] = answered
        self._flush = number
        self._work.set()
        try:
            await answered
        finally:
            self._answered.pop(number, None)

    async def run(self) -> None:
        """Serve the worker until it leaves. One that talks nonsense or stops reading is cut off with one log line."""
        sender: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                self._greet(await read_message(self._reader))
            sender = asyncio.create_task(self._send())
            receiver = asyncio.create_task(self._receive())
            await _first_of(sender, receiver)
        except (asyncio.IncompleteReadError, ConnectionError):
            log.debug("worker %d left the feed", self.worker)
        except TimeoutError:
            log.warning(
                "feed: worker %d cut off, it %s", self.worker, "does not read" if sender else "never said hello"
            )
        except BadMessage as error:
            log.warning("feed: connection closed, the peer sent nonsense: %s", error)
        finally:
            self._end()

    def _greet(self, message: ToControl) -> None:
        if not isinstance(message, Hello):
            raise BadMessage(f"{type(message).__name__} before Hello")
        self.worker = message.worker
        log.debug("worker %d (pid %d) joined the feed", message.worker, message.pid)

    def _end(self) -> None:
        for answered in self._answered.values():
            if not answered.done():
                answered.set_result(None)
        self._writer.close()

    async def _receive(self) -> None:
        # A wake is answered from the routes: one that came before them would be lost, so nothing is read until they are there.
        await self._owner.snapshot()
        while True:
            message = await read_message(self._reader)
            if isinstance(message, Wake):
                self._owner.wake(message.key)
            elif isinstance(message, Counters):
                self._count(message)
            else:
                raise BadMessage("a second Hello")

    def _count(self, counters: Counters) -> None:
        try:
            self._owner.count(counters)
        except ValueError as error:
            raise BadMessage(str(error)) from error
        self.inflight, self.connections = counters.inflight, counters.connections
        for number, answered in self._answered.items():
            if number <= counters.flush and not answered.done():
                answered.set_result(None)

    async def _send(self) -> None:
        routes = await self._owner.snapshot()
        self._outbox = dict(routes)
        self._owner.attach(self)
        await self._put(self._take() + frame(Synced()))
        while True:
            await self._work.wait()
            await self._put(self._take())

    def _take(self) -> bytes:
        """Everything that waits, as bytes; routes first, so that counters asked for later belong to them."""
        self._work.clear()
        pieces = list(self._outbox.values())
        self._outbox = {}
        if self._flush:
            pieces.append(frame(Flush(id=self._flush)))
            self._flush = 0
        return b"".join(pieces)

    async def _put(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(STALL_TIMEOUT):
            await self._writer.drain()


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    """Wait until one task ends, cancel the others and raise what the first one raised."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
