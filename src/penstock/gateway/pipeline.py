"""Several functions strung together as a shell does: the answer of one is the request of the next, while both run.

The invoker hands over a request that names a pipeline. All slots are taken together before anything runs, so that no two
pipelines wait for each other, and functions at rest wake together. A stage's request goes out as soon as the head of the
answer before it says that it succeeded and what type it is; from then on bytes pass as they come. The first stage that does
not succeed ends the whole, and its answer is the pipeline's; a stage whose answer is complete ends those before it, whatever
they still had to say, as `head` ends `yes`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from penstock.core.headers import Field
from penstock.gateway.headers import plan_answer
from penstock.gateway.invocation import SERVED_BY_LINE
from penstock.gateway.pipelineplan import Lineup, PipelinePlan
from penstock.gateway.refusals import refusal_fields
from penstock.gateway.routes import FunctionRoute
from penstock.gateway.stage import Stage
from penstock.wire.exchange import Exchanging, Listener
from penstock.wire.message import CHUNKED, ResponseHead
from penstock.wire.relay import CLIENT_GONE
from penstock.wire.timeouts import NEVER

if TYPE_CHECKING:
    from penstock.gateway.invoke import Invoker

KEY = 32
"""Hexadecimal digits of the key of a joint between two stages: nobody guesses it."""


class Pipeline:
    """One request through several functions, from its head to its last byte (`gateway.stage.Progress`)."""

    __slots__ = (
        "_answering",
        "_first",
        "_invoker",
        "_keys",
        "_lineup",
        "_running",
        "_waited",
        "alive",
        "begun",
        "call_fields",
        "client",
        "deadline",
        "own_fields",
        "request",
        "stages",
    )

    def __init__(self, invoker: Invoker, client: Exchanging, plan: PipelinePlan, lineup: Lineup) -> None:
        self.client = client
        self.request = plan.request
        self.alive = True
        """Whether the client still has to hear of it."""
        self.deadline = NEVER
        self.begun = invoker.now()
        self._invoker = invoker
        self._lineup = lineup
        self._running = False
        self._answering: Stage | None = None
        self._first: Listener | None = None
        self._waited = 0.0
        if lineup.call_id:
            own = b"X-Start-Time: %d\r\n" % time.time_ns()
        else:
            own = b"X-Call-Id: %b\r\nX-Start-Time: %d\r\n" % (invoker.call_ids.next(), time.time_ns())
        self.call_fields = plan.forwarded + own
        self.own_fields = own + SERVED_BY_LINE
        self.stages = [Stage(invoker, self, part) for part in lineup.parts]

    def begin(self) -> None:
        begun = self.begun
        for route in self._lineup.counted:
            route.counters.begin(begun)
        lacking = [f for f, count in self._lineup.needs.items() if f.waiting or not f.has_room(count)]
        if lacking:
            self._wait(lacking)
        else:
            self._run()

    # Waiting for the slots of all stages (`gateway.routes.Waiter`).

    def needs(self, function: FunctionRoute) -> int:
        return self._lineup.needs[function]

    def go(self) -> None:
        lacking = [function for function, count in self._lineup.needs.items() if not function.has_room(count)]
        if any(function.closed for function in lacking):  # while it was another one that was waited for
            self.removed()
        elif any(function.failed for function in lacking):
            self.failed()
        elif lacking:
            self._join([function for function in lacking if self not in function.waiting])
        else:
            self._leave_queues()
            self._run()

    def awaits(self, replica: bool) -> None:
        pass  # the timings tell of the stages themselves

    def removed(self) -> None:
        gone = next((function for function in self._lineup.needs if function.closed), self._lineup.functions[0])
        self._end_waiting(404, f"function {gone.key} was removed", gone)

    def failed(self) -> None:
        broken = next((function for function in self._lineup.needs if function.failed), self._lineup.functions[0])
        self._end_waiting(503, f"function {broken.key} cannot start; its status and its log say why", broken)

    def _wait(self, lacking: list[FunctionRoute]) -> None:
        for function in lacking:
            if function.failed:
                self.failed()
                return
            if len(function.waiting) >= function.policy.queue_length > 0:
                self._end_waiting(429, f"too many requests wait for function {function.key}", function)
                return
        self.client.watch(self)
        self._waited = min((limit for f in lacking if (limit := f.policy.queue_timeout)), default=0.0)
        if self._waited:
            self._watch_for(self._waited)
        self._join(lacking)

    def _join(self, lacking: list[FunctionRoute]) -> None:
        for function in lacking:
            function.waiting.append(self)
            if not function.replicas:
                self._invoker.wakeup.ask(function)

    def _leave_queues(self) -> None:
        self._invoker.timers.relays.unwatch(self)
        self.deadline = NEVER
        for function in self._lineup.needs:
            if self in function.waiting:
                function.waiting.remove(self)

    def _expire_waiting(self) -> None:
        waited = f"within {self._waited:g} s"
        missing = next((function for function in self._lineup.needs if not function.replicas), None)
        if missing is not None:
            self._end_waiting(
                503,
                f"no replica of function {missing.key} became ready {waited}; its status and its log say why",
                missing,
            )
            return
        full = next((f for f, count in self._lineup.needs.items() if not f.has_room(count)), self._lineup.functions[0])
        count = self._lineup.needs[full]
        slots = f"{count} free slots at once" if count > 1 else "free slot"
        self._end_waiting(429, f"no {slots} of function {full.key} {waited}", full)

    def _end_waiting(self, status: int, text: str, function: FunctionRoute) -> None:
        self.alive = False
        self._leave_queues()
        number = self._lineup.functions.index(function)
        for stage in self.stages:
            stage.forgo(status if stage.function is function else CLIENT_GONE)
        self._refuse(self.stages[number], status, text, retry=status != 404)
        self._count(status)

    # Running.

    def _run(self) -> None:
        self._running = True
        if self._lineup.timeout:
            self._watch_for(self._lineup.timeout)
        for stage in self.stages:
            stage.reserve()
        self._keys = os.urandom(KEY // 2 * (len(self.stages) - 1)).hex().encode()
        self.client.watch(self)
        self.stages[0].start(b"")

    def joint_fields(self, stage: Stage) -> bytes:
        at = KEY * (stage.number - 1)
        before = b"X-Pipeline-In: %b\r\n" % self._keys[at - KEY : at] if at else b""
        behind = self._keys[at : at + KEY]
        return b"%bX-Pipeline-Out: %b\r\n" % (before, behind) if behind else before

    def answers(self, stage: Stage, head: ResponseHead) -> bool:
        if head.status < 400 and stage.number < len(self.stages):
            return False
        self._answering = stage
        if plan_answer(head).stream:
            self.deadline = NEVER
        return True

    def answer_fields(self, stage: Stage, head: ResponseHead) -> bytes:
        lines = b"X-Pipeline-Timings: %b\r\n" % self._timings()
        if head.status >= 400:
            lines += b"X-Pipeline-Stage: %b\r\n" % stage.part.position
        return lines

    def hand_on(self, stage: Stage, head: ResponseHead, length: int | None) -> None:
        if not self.alive:
            return
        following = self.stages[stage.number]
        travelling = stage.travelling_fields(head)
        exchange = following.exchange
        exchange.inlet = stage.exchange.outlet
        exchange.request = following.part.request(travelling)
        framing = CHUNKED if length is None else b"Content-Length: %d\r\n" % length
        following.start(travelling + framing + self._patience() if self._lineup.hurried else travelling + framing)

    def complete(self, stage: Stage) -> None:
        for earlier in self.stages:
            if earlier is stage:
                break
            if not earlier.ended:
                earlier.cancel()
        if stage is self._answering:
            self._end(stage.status, stage)

    def refused(self, stage: Stage, status: int, fields: Iterable[Field], body: bytes) -> None:
        if self.alive:
            self._respond(stage, status, fields, body)
            self._end(status, stage)

    def cut(self, stage: Stage) -> None:
        if not self.alive:
            return
        if self.client.head_sent:
            self.client.abort()
            self._end(stage.status if stage is self._answering else 502, stage)
        else:
            self._fail(stage, 502, f"the answer of function {stage.function.key} was cut")

    def _fail(self, stage: Stage, status: int, text: str) -> None:
        if self.client.head_sent:
            self.client.abort()
        else:
            self._refuse(stage, status, text)
        stage.verdict = status
        self._end(status)

    def _refuse(self, stage: Stage, status: int, text: str, retry: bool = False) -> None:
        self._respond(stage, status, refusal_fields(self.own_fields, retry), text.encode() + b"\n")

    def _respond(self, stage: Stage, status: int, fields: Iterable[Field], body: bytes) -> None:
        """An answer of the gateway's own, that says which stage it is about."""
        told = (b"X-Pipeline-Stage", stage.part.position), (b"X-Pipeline-Timings", self._timings())
        self.client.respond(status, [*fields, *told], body)

    def _end(self, status: int, done: Stage | None = None) -> None:
        """The client has its answer, or nothing more: end whatever still runs, but for a stage that counts itself."""
        self.alive = False
        self._invoker.timers.relays.unwatch(self)
        self._count(status)
        for stage in self.stages:
            if stage is not done and not stage.ended:
                stage.cancel()

    def _count(self, status: int) -> None:
        now = self._invoker.now()
        for pipeline in self._lineup.pipelines:
            pipeline.counters.end(status, now - self.begun, now)

    def _timings(self) -> bytes:
        """Milliseconds of each stage that has begun."""
        now = self._invoker.now()
        return self._lineup.timings(tuple([stage.milliseconds(now) for stage in self.stages if stage.started]))

    def _patience(self) -> bytes:
        """What is left of the caller's own `X-Timeout`, for the stages after the first."""
        if self.deadline == NEVER:
            return b""
        return b"X-Timeout: %dms\r\n" % max(1, round((self.deadline - self._invoker.now()) * 1000))

    def _watch_for(self, seconds: float) -> None:
        sweeper = self._invoker.timers.relays
        sweeper.watch(self)
        self.deadline = sweeper.now + seconds

    def expire(self) -> None:
        """A deadline has passed: that of waiting, or that of the whole."""
        if not self._running:
            self._expire_waiting()
            return
        late = next((stage for stage in self.stages if stage.started and not stage.ended), self.stages[-1])
        text = f"no complete answer of the pipeline within {self._lineup.timeout:g} s, cut by the gateway"
        self._fail(late, 504, f"{text}; function {late.function.key} was at work")

    # The client's side (`wire.exchange.Listener`).

    def feed_first(self, listener: Listener, raw: bool) -> None:
        self._first = listener
        self.client.attach(self, raw)

    def body(self, data: bytes) -> None:
        if self._first is not None and not self.stages[0].ended:
            self._first.body(data)

    def body_end(self) -> None:
        if self._first is not None and not self.stages[0].ended:
            self._first.body_end()

    def client_gone(self) -> None:
        if self._running:
            self._end(self.client.fault or CLIENT_GONE)
        else:
            self.alive = False
            self._leave_queues()
            for stage in self.stages:
                stage.forgo(CLIENT_GONE)
            self._count(CLIENT_GONE)

    def writable(self, ready: bool) -> None:
        if self._answering is not None:
            self._answering.exchange.writable(ready)
