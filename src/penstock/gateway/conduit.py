"""Between two stages of a pipeline: what a stage's relay takes for its client, and the bytes on their way to the next.

A stage's relay works between two ends as any other. A `StageExchange` stands where the client's exchange would: it takes the
request body from the stage before and hands the answer on, with the framing it came with and with both sides' back-pressure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from penstock.core.headers import Field
from penstock.wire.exchange import Exchanging, Listener
from penstock.wire.message import RequestHead

if TYPE_CHECKING:
    from penstock.gateway.stage import Stage

CONDUIT_HIGH = 256 << 10
"""Bytes that wait for a stage to take them at which the stage before is paused; as much as a connection holds."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)


class Conduit:
    """Bytes on their way from one stage's answer to the next one's request body."""

    __slots__ = ("_buffer", "_paused", "_reader", "_writer", "finished")

    def __init__(self, writer: StageExchange) -> None:
        self._writer = writer
        self._reader: Listener | None = None
        self._buffer = bytearray()
        self._paused = False
        self.finished = False
        """Whether all has been written."""

    @property
    def drained(self) -> bool:
        return self.finished and not self._buffer

    def write(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.body(data)
            return
        self._buffer += data
        if len(self._buffer) > CONDUIT_HIGH:
            self.pause()

    def finish(self) -> None:
        if not self.finished:
            self.finished = True
            if self._reader is not None:
                self._reader.body_end()

    def take(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def attach(self, reader: Listener) -> None:
        self._reader = reader
        data = self.take()
        if data:
            reader.body(data)
        if self.finished:
            reader.body_end()
        self.resume()

    def detach(self) -> None:
        self._reader = None

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._writer.writable(False)

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._writer.writable(True)


class StageExchange:
    """What a stage's relay takes for its client (`wire.exchange.Exchanging`)."""

    __slots__ = ("_encode", "_listener", "_stage", "answering", "done", "inlet", "outlet", "request")

    def __init__(self, stage: Stage, request: RequestHead) -> None:
        self.request = request
        self.inlet: Conduit | None = None
        """Where the request body comes from; None: from the client."""
        self.outlet: Conduit | None = None
        """Where the answer goes, once it has begun and is the next stage's request."""
        self.answering = False
        """Whether the answer is the pipeline's, and goes to the client."""
        self.done = False
        self._stage = stage
        self._listener: Listener | None = None
        self._encode = False

    @property
    def _client(self) -> Exchanging:
        return self._stage.pipeline.client

    @property
    def fault(self) -> int:
        return self._client.fault

    # The request body.

    @property
    def body_done(self) -> bool:
        return self._client.body_done if self.inlet is None else self.inlet.drained

    def take_arrived(self, raw: bool) -> bytes:
        return self._client.take_arrived(raw) if self.inlet is None else self.inlet.take()

    def attach(self, listener: Listener, raw: bool = False) -> None:
        self._listener = listener
        if self.inlet is None:
            self._stage.pipeline.feed_first(listener, raw)
        else:
            self.inlet.attach(listener)

    def watch(self, listener: Listener) -> None:
        self._listener = listener

    def detach(self) -> None:
        self._listener = None
        if self.inlet is not None:
            self.inlet.detach()

    def pause(self) -> None:
        if self.inlet is None:
            self._client.pause()
        else:
            self.inlet.pause()

    def resume(self) -> None:
        if self.inlet is None:
            self._client.resume()
        else:
            self.inlet.resume()

    # The answer.

    @property
    def head_sent(self) -> bool:
        return self._client.head_sent if self.answering else self.outlet is not None

    def connection_field(self) -> bytes:
        return self._client.connection_field() if self.answering else b""

    def send_head(self, data: bytes, close: bool) -> None:
        if self.answering:
            self._client.send_head(data, close)
            return
        fields, _, body = data.partition(b"\r\n\r\n")
        length = self._length(fields)
        self.outlet = outlet = Conduit(self)
        if body:
            self.send(body)
        if length == len(body):
            outlet.finish()  # so that the next request goes out whole, in one write
        self._stage.hand_on(length)

    def send_interim(self, data: bytes) -> None:
        pass  # it is about an answer that may never reach the client, or begins only after others

    def send(self, data: bytes) -> None:
        if self.outlet is None:
            self._client.send(data)
        elif self._encode:
            self.outlet.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self.outlet.write(data)

    def send_chunk(self, data: bytes) -> None:
        if self.outlet is None:
            self._client.send_chunk(data)
        else:
            self.outlet.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.done = True
        self._listener = None
        if self.outlet is None:
            self._client.end()
        else:
            if self._encode:
                self.outlet.write(b"0\r\n\r\n")
            self.outlet.finish()
        self._stage.pipeline.complete(self._stage)

    def respond(self, status: int, fields: Iterable[Field] = (), body: bytes = b"") -> None:
        self.done = True
        self._stage.pipeline.refused(self._stage, status, fields, body)

    def abort(self) -> None:
        self.done = True
        self._stage.pipeline.cut(self._stage)

    def tunnel(self) -> None:
        raise AssertionError("no stage is asked to switch protocols")

    # For the pipeline, and for the stage after.

    def writable(self, ready: bool) -> None:
        """Whoever takes the answer reads slower than it comes, or goes on reading."""
        if self._listener is not None:
            self._listener.writable(ready)

    def leave(self) -> None:
        """Nobody wants the answer any more."""
        listener, self._listener = self._listener, None
        self.done = True
        if listener is not None:
            listener.client_gone()

    def _length(self, fields: bytes) -> int | None:
        """Bytes of the answer; None when it is chunked, or ends with its connection and is chunked here."""
        announced = _LENGTH.search(fields)
        if announced is not None:
            return int(announced[1])
        if fields[9:12] in (b"204", b"304"):
            return 0
        self._encode = _CHUNKED.search(fields) is None  # as the relay leaves it for old clients
        return None
