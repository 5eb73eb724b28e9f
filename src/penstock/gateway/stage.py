"""One stage of a pipeline: an invocation whose client is the stage before it, and whose answer is the next one's request.

`pipeline` makes the stages and decides what their ends mean; `conduit` carries the bytes between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from penstock.core.headers import Field
from penstock.gateway.conduit import StageExchange
from penstock.gateway.headers import answer_fields, plan_answer
from penstock.gateway.invocation import Invocation
from penstock.gateway.pipelineplan import Part
from penstock.gateway.routes import FunctionRoute
from penstock.wire.exchange import Exchanging, Listener
from penstock.wire.message import RequestHead, ResponseHead
from penstock.wire.relay import CLIENT_GONE, Relay
from penstock.wire.timeouts import NEVER

if TYPE_CHECKING:
    from penstock.gateway.invoke import Invoker

_TRAVELLING = (b"content-type", b"content-encoding", b"content-language")
"""What describes the bytes that go from one stage to the next."""


class Progress(Protocol):
    """What a stage tells its pipeline, and asks of it. `client` is who asked for the whole."""

    client: Exchanging
    request: RequestHead
    """The client's, as the first stage gets it."""
    begun: float
    """Loop time."""
    call_fields: bytes
    """What the heads of all requests have last but for the joints: the client, call id and start time."""
    own_fields: bytes
    """What the gateway adds to the answer."""

    def feed_first(self, listener: Listener, raw: bool) -> None:
        """Let the first stage have the client's body."""

    def joint_fields(self, stage: Stage) -> bytes:
        """Field lines with the keys of the joints on both sides of a stage (`watchdog.handover`)."""

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


class Stage(Invocation):
    """One stage under way. Its slot is reserved with those of all others, and used when its request can be sent."""

    __slots__ = (
        "_head",
        "began",
        "ended",
        "exchange",
        "finished",
        "number",
        "part",
        "pipeline",
        "started",
        "verdict",
    )

    _head: ResponseHead

    def __init__(self, invoker: Invoker, pipeline: Progress, part: Part) -> None:
        self.pipeline = pipeline
        self.part = part
        self.number = part.number
        """1 for the first."""
        self.exchange = self._exchange = StageExchange(self, pipeline.request)
        self.started = False
        self.ended = False
        self.began = self.finished = 0.0
        """Loop time of its request, and of its end."""
        self.verdict = 0
        """The status to count it with, where the pipeline knows better than its relay; else 0."""
        self._invoker = invoker
        self._function = part.function
        self._attempts = 0
        self._body = b""
        self._begun = pipeline.begun
        self._holding = None
        self._tried = ()
        self.alive = True
        self.deadline = NEVER
        self._own_fields = pipeline.own_fields

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
        """Send the request. `lines`: field lines about its body."""
        self.started = True
        self._begun = self.began = self._invoker.now()
        # What is new in each call comes last, so that the watchdog knows the rest again (`wire.memory`).
        pipeline = self.pipeline
        self._upstream_head = b"".join(
            (self.part.prefix, lines, pipeline.call_fields, pipeline.joint_fields(self), b"\r\n")
        )
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
        """Nobody wants this stage any more, which has not ended: its program is ended as that of a client which left."""
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
        self.finished = now = self._invoker.now()
        self._function.counters.end(self.verdict or status, now - self._begun, now)
