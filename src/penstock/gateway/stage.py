"""One stage of a pipeline: an invocation whose client is the stage before it, and whose answer is the next one's request.

`pipeline` makes the stages and decides what their ends mean. A stage's relay works between two ends as any other: a
`StageExchange` stands where the client's exchange would, takes the request body from the stage before and hands the answer
on, with the framing it came with and with both sides' back-pressure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from penstock.core.headers import Field
from penstock.gateway.headers import RequestPlan, answer_fields, plan_answer
from penstock.gateway.invocation import SERVED_BY_LINE, Invocation
from penstock.gateway.routes import FunctionRoute
from penstock.wire.exchange import Exchanging, Listener
from penstock.wire.message import RequestHead, ResponseHead
from penstock.wire.relay import CLIENT_GONE, Relay
from penstock.wire.timeouts import NEVER

if TYPE_CHECKING:
    from penstock.gateway.invoke import Invoker

CONDUIT_HIGH = 256 << 10
"""Bytes that wait for a stage to take them at which the stage before is paused; as much as a connection holds."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_TRAVELLING = (b"content-type", b"content-encoding", b"content-language")
"""What describes the bytes that go from one stage to the next."""


class Progress(Protocol):
    """What a stage tells its pipeline, and asks of it. `client` is who asked for the whole."""

    client: Exchanging
    request: RequestHead
    """The client's, as the first stage gets it."""

    def feed_first(self, listener: Listener, raw: bool) -> None:
        """Let the first stage have the client's body."""

    def answers(self, stage: Stage, head: ResponseHead) -> bool:
        """A stage's answer begins: whether it is the pipeline's."""

    def answer_fields(self, stage: Stage, head: ResponseHead) -> bytes:
        """Field lines that the pipeline adds to its answer."""

    def hand_on(self, stage: Stage, head: ResponseHead, length: int | None) -> None:
        """A stage's answer begins, and is the request of the next: `length` bytes, None for chunked ones."""

    def complete(self, stage: Stage) -> None:
        """All of a stage's answer has been passed on."""

    def refused(self, stage: Stage, status: int, fields: Iterable[Field], body: bytes) -> None:
        """The gateway itself answers for a stage."""

    def cut(self, stage: Stage) -> None:
        """A stage's answer ended too early, after its head had been passed on."""


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


class Stage(Invocation):
    """One stage under way. Its slot is reserved with those of all others, and used when its request can be sent."""

    __slots__ = (
        "_call_fields",
        "_head",
        "began",
        "ended",
        "exchange",
        "finished",
        "number",
        "pipeline",
        "started",
        "verdict",
    )

    _head: ResponseHead

    def __init__(
        self, invoker: Invoker, pipeline: Progress, number: int, function: FunctionRoute, plan: RequestPlan, own: bytes
    ) -> None:
        """`own`: field lines with the call id and start time that all stages share."""
        self.pipeline = pipeline
        self.number = number
        """1 for the first."""
        self.exchange = StageExchange(self, pipeline.request)
        self.started = False
        self.ended = False
        self.began = self.finished = 0.0
        """Loop time of its request, and of its end."""
        self.verdict = 0
        """The status to count it with, where the pipeline knows better than its relay; else 0."""
        self._invoker = invoker
        self._exchange = self.exchange
        self._plan = plan
        self._function = function
        self._attempts = 0
        self._body = b""
        self._begun = invoker.now()
        self._tried = ()
        self.alive = True
        self.deadline = NEVER
        self._call_fields = own
        self._own_fields = own + SERVED_BY_LINE

    @property
    def status(self) -> int:
        """Of its answer; 0 before that has begun."""
        return self._head.status if self.exchange.head_sent else 0

    @property
    def function(self) -> FunctionRoute:
        return self._function

    # Its slot.

    def reserve(self) -> None:
        """Take the slot before there is anything to send."""
        self._function.inflight += 1

    def start(self, lines: bytes) -> None:
        """Send the request. `lines`: field lines of this stage's own."""
        self.started = True
        self._begun = self.began = self._invoker.now()
        # What is new in each call comes last, so that the watchdog knows the rest again (`wire.memory`).
        self._upstream_head = b"".join((self._plan.prefix, lines, self._call_fields, b"\r\n"))
        self._function.inflight -= 1  # the reservation, taken up again in the same breath
        if self._function.closed:
            self._end_refused(404, f"function {self._function.key} was removed")
        elif self._function.replicas:
            self._relay()
        else:
            self._wait()

    def forgo(self, status: int) -> None:
        """Its slot could not be had: nothing was reserved, and nothing will run."""
        self._count(status)

    def cancel(self) -> None:
        """Nobody wants this stage any more: its program is ended as that of a client which left."""
        if self.ended:
            return
        if self.started:
            self.exchange.leave()
        else:
            self._function.inflight -= 1
            self._count(CLIENT_GONE)
            self._function.release_waiting()

    # Its answer.

    def hand_on(self, length: int | None) -> None:
        """The answer has begun, and is the next stage's request."""
        self.pipeline.hand_on(self, self._head, length)

    def travelling_fields(self, head: ResponseHead) -> bytes:
        """Field lines that describe the answer's bytes to the next stage. A type that it does not name is its request's."""
        plan = plan_answer(head)
        if plan.travelling is None:
            described = [(name, value) for name in _TRAVELLING if (value := head.get(name)) is not None]
            plan.travelling = b"".join([b"%b: %b\r\n" % (name.title(), value) for name, value in described])
        if plan.wants_content_type and (kind := self.exchange.request.get(b"content-type")) is not None:
            return b"Content-Type: %b\r\n%b" % (kind, plan.travelling)
        return plan.travelling

    def milliseconds(self, now: float) -> float:
        """From its request to the end of its answer, or to `now`."""
        return ((self.finished if self.ended else now) - self.began) * 1000

    def relay_response(self, relay: Relay, head: ResponseHead) -> bytes:
        self._replica.failures = 0
        self._head = head
        if not self.pipeline.answers(self, head):
            return b""
        self.exchange.answering = True
        own = answer_fields(plan_answer(head), self.exchange.request, self._own_fields)
        return own + self.pipeline.answer_fields(self, head)

    def _timeout(self) -> float:
        return 0  # the pipeline has one deadline for all

    def _count(self, status: int) -> None:
        self.ended = True
        self.finished = self._invoker.now()
        super()._count(self.verdict or status)
