"""One call of a Python handler: its body, its time, its answer, and the pieces of an answer that streams.

Mode `python` makes a `Job` for each call. A job belongs to the loop; a thread that works on it reads `body`, `call` and `over`,
and says what is to be done through `post`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.watchdog.results import Answer, piece_of
from penstock.wire.timeouts import NEVER, Sweeper

BODY_MOST = 64 << 20
"""Bytes of a body that are gathered for a handler, as many as `buffer_http` gathers; more are answered 413. A handler has its whole
body in memory, once for each call at a time; for larger ones there are modes in which it streams."""
AHEAD = 256 << 10
"""Bytes that an iterator may be ahead of its client."""
TOO_LARGE = f"the body is larger than {BODY_MOST} bytes, which is the most that a handler is given"
_ENDLESS = (b"text/event-stream", b"application/x-ndjson")

Post = Callable[[Callable[[], None]], None]


class Owner(Protocol):
    """What a job needs of the mode."""

    sweeper: Sweeper

    def begin(self, job: Job) -> None:
        """The body is complete."""

    def late(self, job: Job) -> None:
        """The deadline has passed, and a thread is still at work."""


class Job:
    """A call under way. `over` once it was answered, given up, or the client went away; the handler may still run then."""

    __slots__ = (
        "_owner",
        "_pieces",
        "_size",
        "answer",
        "awaitable",
        "call",
        "cancelled",
        "content",
        "deadline",
        "in_thread",
        "outlet",
        "over",
        "task",
    )

    def __init__(self, owner: Owner, call: Call) -> None:
        self._owner = owner
        self._pieces: list[bytes] | None = None
        self._size = 0
        self.call = call
        self.content = b""
        """The body of the request."""
        self.deadline = call.began + call.timeout if call.timeout else NEVER
        self.over = False
        self.cancelled = False
        self.in_thread = False
        """Whether a thread is at work on it."""
        self.task: asyncio.Task[None] | None = None
        self.awaitable: Awaitable[Any] | None = None
        self.answer: Answer | None = None
        self.outlet: Outlet | None = None

    def gather(self, arrived: bytes) -> None:
        """Take what has come of the body, and wait for the rest."""
        self._pieces = []
        self.body(arrived)
        if self.call.exchange.body_done:
            self.body_end()
        elif not self.over:
            self.call.exchange.attach(self)

    def end(self) -> None:
        """Its time is not kept any more."""
        self._owner.sweeper.unwatch(self)

    def send(self) -> None:
        """Answer with what the thread has left in `answer`."""
        if self.answer is not None:
            self.finish(self.answer)

    def finish(self, answer: Answer) -> None:
        """The whole answer, unless it comes too late."""
        self._owner.sweeper.unwatch(self)
        if not self.over:
            self.over = True
            call = self.call
            call.respond(answer.status, (*answer.fields, call.duration()), answer.body)

    def refuse(self, status: int, text: str) -> None:
        """An answer of the watchdog's own."""
        self._owner.sweeper.unwatch(self)
        self.over = True
        self.call.refuse(status, text, (self.call.duration(),))

    # Expiring

    def expire(self) -> None:
        """exec_timeout has passed: answer for the handler, or cut what it has begun to send, and stop it if that can be done."""
        self._owner.sweeper.unwatch(self)
        if not self.over:
            self.over = True
            if self.outlet is not None and self.outlet.begun:
                self.call.cut()
            else:
                text = f"the function gave no complete answer within {self.call.timeout:g} s"
                self.call.refuse(504, text, (self.call.duration(),))
        self._stop()
        if self.in_thread:
            self._owner.late(self)

    # Listener

    def body(self, data: bytes) -> None:
        self._size += len(data)
        if self._pieces is None:
            return
        if self._size > BODY_MOST:
            self._pieces = None
            self.refuse(413, TOO_LARGE)
        else:
            self._pieces.append(data)

    def body_end(self) -> None:
        if self._pieces is not None:
            self.content = b"".join(self._pieces)
            self._pieces = None
            self._owner.begin(self)

    def client_gone(self) -> None:
        """What streams is stopped. A handler that has yet to answer goes on, since it may be about more than the answer."""
        self._pieces = None
        self.over = True
        self.call.end(CLIENT_GONE)
        if self.outlet is not None:
            self._stop()
        elif self.task is None and not self.in_thread:
            self._owner.sweeper.unwatch(self)

    def writable(self, ready: bool) -> None:
        if self.outlet is not None:
            self.outlet.writable(ready)

    def _stop(self) -> None:
        self.cancelled = True
        if self.outlet is not None:
            self.outlet.wake()
        if self.task is not None:
            self.task.cancel()


class Outlet:
    """The pieces of a streamed answer on their way to the client, each one sent at once and never many ahead of it.

    A thread calls `put`, a task awaits `send`; `finish` and `fail` are for both.
    """

    def __init__(self, job: Job, answer: Answer, post: Post) -> None:
        self.begun = False
        self._job = job
        self._answer = answer
        self._post = post
        self._put = 0
        self._taken = 0
        self._held = 0
        """Bytes: given by the thread, passed on by the loop to a client that reads, and to one that lags behind."""
        self._ready = True
        self._waiting = False
        self._moved = threading.Event()
        self._future: asyncio.Future[None] | None = None
        job.outlet = self

    def put(self, value: Any) -> bool:
        """In a thread: send a piece, and wait while the client is far behind. False when nobody wants more. Raises WrongResult."""
        data = piece_of(value)
        self._put += len(data)
        self._post(lambda: self._write(data))
        while self._put - self._taken > AHEAD and not self._job.over:
            self._moved.clear()
            self._waiting = True
            if self._put - self._taken > AHEAD and not self._job.over:
                self._moved.wait()
            self._waiting = False
        return not self._job.over

    async def send(self, value: Any) -> bool:
        """On the loop: as `put`."""
        self._write(piece_of(value))
        if self._ready:
            await asyncio.sleep(0)  # the piece goes out, and others have their turn, whatever the iterator does next
        elif not self._job.over:
            self._future = asyncio.get_running_loop().create_future()
            await self._future
        return not self._job.over

    def finish(self) -> None:
        """There are no more pieces."""
        self._post(self._finish)

    def fail(self, instead: Answer) -> None:
        """The iterator failed: `instead` is the answer if nothing has been sent yet; otherwise it is cut."""
        self._post(lambda: self._fail(instead))

    # On the loop

    def writable(self, ready: bool) -> None:
        self._ready = ready
        if ready:
            self._taken += self._held
            self._held = 0
            self.wake()

    def wake(self) -> None:
        """Have whoever waits look again."""
        if self._waiting:
            self._moved.set()
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def _write(self, data: bytes) -> None:
        job = self._job
        if job.over or not data:
            return
        if not self.begun:
            self._begin()
            if job.call.request.method == b"HEAD":  # that is all
                self._finish()
                return
        job.call.exchange.write(data)
        if self._ready:
            self._taken += len(data)
            if self._waiting:
                self._moved.set()
        else:
            self._held += len(data)

    def _begin(self) -> None:
        self.begun = True
        call, answer = self._job.call, self._answer
        if any(value.startswith(_ENDLESS) for name, value in answer.fields if name.lower() == b"content-type"):
            self._job.deadline = NEVER
        call.start(answer.status, (*answer.fields, call.duration()))

    def _finish(self) -> None:
        job = self._job
        job.outlet = None
        if not self.begun:
            job.finish(self._answer)
            return
        job.end()
        if not job.over:
            job.over = True
            job.call.finish()

    def _fail(self, instead: Answer) -> None:
        job = self._job
        job.outlet = None
        if not self.begun:
            job.finish(instead)
            return
        job.end()
        if not job.over:
            job.over = True
            job.call.cut()
