"""One request to one function, from its head to its last byte: a slot, a replica, the relay, and what goes wrong on the way.

`invoke` begins them; `stage` makes one a part of a pipeline.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock.core.duration import parse_duration
from penstock.errors import InvalidInput
from penstock.gateway.headers import SERVED_BY, RequestPlan, answer_fields, plan_answer
from penstock.gateway.refusals import refuse
from penstock.gateway.routes import FunctionRoute, Replica
from penstock.gateway.timing import Stopwatch
from penstock.wire.exchange import Exchanging
from penstock.wire.message import ResponseHead
from penstock.wire.relay import Failure, Relay
from penstock.wire.timeouts import NEVER

if TYPE_CHECKING:
    from penstock.gateway.invoke import Invoker

MAX_ATTEMPTS = 3
"""Replicas tried for one request in a row, where trying again is safe."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds before a request that no replica took is tried again; it doubles."""

SERVED_BY_LINE = b"X-Served-By: %b\r\n" % SERVED_BY
_STATUS = {"connect": 502, "closed": 502, "malformed": 502, "timeout": 504}


class Holding:
    """How long a request is held for which no replica could be reached, and the pause before the next attempt."""

    __slots__ = ("end", "pause")

    def __init__(self, end: float) -> None:
        self.end = end
        self.pause = FIRST_PAUSE


class Invocation:
    """One request to one function, from its head to its last byte."""

    __slots__ = (
        "_attempts",
        "_begun",
        "_body",
        "_ends",
        "_exchange",
        "_function",
        "_holding",
        "_invoker",
        "_own_fields",
        "_plan",
        "_replica",
        "_tried",
        "_upstream_head",
        "alive",
        "deadline",
    )

    _function: FunctionRoute
    _replica: Replica
    _ends: float
    """Loop time by which the answer must be complete, once an attempt has failed."""

    def __init__(self, invoker: Invoker, exchange: Exchanging, plan: RequestPlan) -> None:
        self._invoker = invoker
        self._exchange = exchange
        self._plan = plan
        self._attempts = 0
        self._body = b""
        self._begun = 0.0
        self._holding: Holding | None = None
        self._tried: tuple[Replica, ...] = ()
        self.alive = True
        self.deadline = NEVER
        if plan.call_id:
            own = b"X-Start-Time: %d\r\n" % time.time_ns()
        else:
            own = b"X-Call-Id: %b\r\nX-Start-Time: %d\r\n" % (invoker.call_ids.next(), time.time_ns())
        self._upstream_head = plan.prefix + own + b"\r\n"
        self._own_fields = own + SERVED_BY_LINE

    def unknown(self) -> None:
        if self._invoker.routes.synced:
            self._refuse(404, f"function {self._plan.name.decode()} is not deployed")
        else:
            self._refuse(503, "the gateway has not heard of its functions yet, try again", retry=True)

    def begin(self, function: FunctionRoute) -> None:
        self._function = function
        self._begun = now = self._invoker.now()
        function.counters.begin(now)
        if function.has_room() and not function.waiting:
            self._relay()
        else:
            self._wait()

    # Waiting for a replica, or for a slot.

    def _wait(self) -> None:
        function = self._function
        policy = function.policy
        if function.failed:
            self.failed()
            return
        if self._crowded():
            return
        function.waiting.append(self)
        self._exchange.watch(self)
        if policy.queue_timeout:
            sweeper = self._invoker.timers.relays
            sweeper.watch(self)
            self.deadline = sweeper.now + policy.queue_timeout
        if not function.replicas:
            self._invoker.wakeup.ask(function)

    def _crowded(self) -> bool:
        """Whether no more may wait; the request is then answered."""
        function = self._function
        most = function.policy.queue_length
        if not most or len(function.waiting) + len(function.held) < most:
            return False
        self._end_refused(429, f"too many requests wait for function {function.key}", retry=True)
        return True

    def go(self) -> None:
        self._invoker.timers.relays.unwatch(self)
        self._exchange.detach()
        self._relay()

    def _hold(self, failure: Failure) -> None:
        """No replica could be reached, so that nothing has run: it waits for one as if there were none. Those that died may
        come back at the same address, which no route tells."""
        function, now = self._function, self._invoker.now()
        limit = function.policy.queue_timeout
        holding = self._holding = self._holding or Holding(now + limit if limit else NEVER)
        if now >= holding.end:
            self._end_refused(_STATUS[failure.reason], self._failure_text(failure))
        elif not self._crowded():
            function.held.add(self)
            self._tried = ()
            self.awaits(replica=True)
            self._exchange.watch(self)
            self.deadline = min(now + holding.pause, holding.end)
            holding.pause = min(holding.pause * 2, LONGEST_PAUSE)
            self._invoker.timers.relays.watch(self)
        function.release_waiting()

    def retry(self) -> None:
        self._invoker.timers.relays.unwatch(self)
        self._exchange.detach()
        self._go_on()

    def _go_on(self) -> None:
        if self._function.has_room():
            self._relay()
        else:
            self._wait()

    def needs(self, function: FunctionRoute) -> int:
        return 1

    def awaits(self, replica: bool) -> None:
        pass  # only those mind who tell how long they waited for what

    def removed(self) -> None:
        self._leave_queue()
        self._end_refused(404, f"function {self._function.key} was removed")

    def failed(self) -> None:
        self._leave_queue()
        self._end_refused(
            503, f"function {self._function.key} cannot start; its status and its log say why", retry=True
        )

    def expire(self) -> None:
        function = self._function
        if self in function.held:
            function.held.remove(self)
            self.retry()
            return
        self._leave_queue()
        waited = f"within {function.policy.queue_timeout:g} s"
        if function.replicas:
            self._end_refused(429, f"no free slot of function {function.key} {waited}", retry=True)
        else:
            self._end_refused(
                503,
                f"no replica of function {function.key} became ready {waited}; its status and its log say why",
                retry=True,
            )

    def _leave_queue(self) -> None:
        self.alive = False
        self._invoker.timers.relays.unwatch(self)
        self._function.held.discard(self)
        if self in self._function.waiting:
            self._function.waiting.remove(self)

    # While waiting the client may go; nothing else can happen on its side.

    def client_gone(self) -> None:
        self._leave_queue()
        self._count(499)

    def body(self, data: bytes) -> None:
        raise AssertionError("a waiting request takes no body")

    def body_end(self) -> None:
        raise AssertionError("a waiting request takes no body")

    def writable(self, ready: bool) -> None:
        pass  # nothing is written while waiting

    # The passage.

    def _relay(self) -> None:
        function = self._function
        replicas = function.replicas
        replica = self._replica = replicas[0] if len(replicas) == 1 else function.pick(self._invoker.now(), self._tried)
        replica.inflight += 1
        function.inflight += 1
        self._attempts += 1
        Relay(self, self._exchange, replica.pool, self._upstream_head, self._timeout()).start(self._body)

    def _timeout(self) -> float:
        """Seconds left for this attempt, since those that follow one another have one deadline; 0 for no limit."""
        limit = self._function.policy.timeout
        if self._plan.timeout:
            limit = shorter(limit, self._plan.timeout)
        if not limit or not self._tried:
            return limit
        return max(self._ends - self._invoker.now(), 0.001)

    def relay_response(self, relay: Relay, head: ResponseHead) -> bytes:
        self._replica.failures = 0
        plan = plan_answer(head)
        if plan.stream:
            relay.deadline = NEVER
        return answer_fields(plan, self._exchange.request, self._own_fields)

    def relay_done(self, relay: Relay, status: int, complete: bool) -> None:
        self._leave_replica()
        self._count(status)
        if self._function.waiting:
            self._function.release_waiting()

    def relay_failed(self, relay: Relay, failure: Failure) -> None:
        function, now = self._function, self._invoker.now()
        if failure.reason != "timeout":
            self._replica.failed(now)
        self._leave_replica()
        refused = failure.reason == "connect"
        if refused:
            self._attempts -= 1  # nothing can have been processed
        again = failure.retryable and self._attempts < MAX_ATTEMPTS
        if again and not self._exchange.done and not function.closed:
            self._body = relay.sent_body
            self._ends = relay.deadline
            self._tried += (self._replica,)
            if refused and function.replicas and self._has_tried_all():
                self._hold(failure)
            else:
                self._go_on()
            return
        self._end_refused(_STATUS[failure.reason], self._failure_text(failure))
        function.release_waiting()

    def _has_tried_all(self) -> bool:
        tried = self._tried
        return len(tried) >= MAX_ATTEMPTS or all(replica in tried for replica in self._function.replicas)

    def _failure_text(self, failure: Failure) -> str:
        if failure.reason == "timeout":
            return f"function {self._function.key} gave {failure.detail}, cut by the gateway"
        return f"replica of function {self._function.key} failed: {failure.detail}"

    # Ends.

    def _leave_replica(self) -> None:
        self._replica.inflight -= 1
        self._function.inflight -= 1

    def _end_refused(self, status: int, text: str, retry: bool = False) -> None:
        self._refuse(status, text, retry)
        self._count(status)

    def _refuse(self, status: int, text: str, retry: bool = False) -> None:
        refuse(self._exchange, status, text.encode(), self._own_fields, retry)

    def _count(self, status: int) -> None:
        now = self._invoker.now()
        self._function.counters.end(status, now - self._begun, now)


class TimedInvocation(Invocation):
    """One whose client wants to know where the time went. A class of its own, so that all others pay nothing for it."""

    __slots__ = ("_stopwatch",)

    def __init__(self, invoker: Invoker, exchange: Exchanging, plan: RequestPlan) -> None:
        super().__init__(invoker, exchange, plan)
        self._stopwatch = Stopwatch(invoker.now())

    def awaits(self, replica: bool) -> None:
        self._stopwatch.enter("wake" if replica else "queue", self._invoker.now())

    def relay_response(self, relay: Relay, head: ResponseHead) -> bytes:
        return super().relay_response(relay, head) + self._stopwatch.field(self._invoker.now())

    def _wait(self) -> None:
        self.awaits(replica=not self._function.replicas)
        super()._wait()

    def _relay(self) -> None:
        self._stopwatch.enter("function", self._invoker.now())
        super()._relay()

    def _refuse(self, status: int, text: str, retry: bool = False) -> None:
        self._own_fields += self._stopwatch.field(self._invoker.now())
        super()._refuse(status, text, retry)


def shorter(limit: float, asked: bytes) -> float:
    """The caller's limit where it is shorter than the function's (contract watchdog §2.6); what is no duration is ignored."""
    try:
        seconds = parse_duration(asked.decode("latin-1"))
    except InvalidInput:
        return limit
    return seconds if 0 < seconds < (limit or NEVER) else limit
