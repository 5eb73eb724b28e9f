"""One HTTP request answered by an ASGI application: its `receive`, its `send`, and the task that runs it.

Made by `modes/asgi.py`. The application answers at the client's pace and takes the body at its own; however it fails, the
client gets one answer or a cut one, and the call ends once. Work that it does after its answer is not timed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from penstock.core.headers import Field, field_lines
from penstock.watchdog.answers import check_size, check_status, is_bodyless, own_fields, send_whole
from penstock.watchdog.asgi.scope import App, Disconnected, Message, Scope
from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.watchdog.failures import caused_by, log_failure
from penstock.watchdog.logs import Log
from penstock.wire.timeouts import NEVER, Sweeper

BODY_BUFFER = 64 << 10
"""Bytes of a request body that wait for the application; beyond, the client waits."""
BURST = 64
"""Pieces of an answer after which an application that never waits lets others have the loop."""
GONE_GRACE = 30.0
"""Seconds that an application whose answer may be endless gets to notice that its client has gone, until it is cancelled."""
CANCEL_GRACE = 5.0
"""Seconds after which it is logged that an application goes on though it was cancelled."""

_IDLE, _HELD, _SENDING = range(3)


class Host(Protocol):
    """What a run needs of its mode. `running` holds on to runs until their tasks end."""

    app: App
    loop: asyncio.AbstractEventLoop
    log: Log
    sweeper: Sweeper
    running: set[Any]


class HttpRun:
    """A request under way. Listens to the exchange and expires by the sweeper."""

    # Most requests leave most of these as they are, and then they cost nothing.
    task: asyncio.Task[None]
    deadline = NEVER
    complete = False
    """The whole answer was sent; what the application still does is its own affair."""
    _endless = False
    _over = False
    """Nothing more goes to the client."""
    _gone = False
    _cancelled = False
    _told = False
    _waiters: tuple[asyncio.Future[None], ...] = ()
    _size = 0
    _attached = False
    _ended = False
    _more = True
    _clear = True
    _burst = 0
    _state = _IDLE
    _status = 0
    _fields: Sequence[Field] = ()
    _length: int | None = None
    _left: int | None = None

    def __init__(self, host: Host, call: Call) -> None:
        self._host = host
        self._call = call
        self._exchange = call.exchange
        self._pieces: list[bytes] = []

    def begin(self, scope: Scope, endless: bool) -> None:
        """Run the application in a task of its own. An answer that may be endless is not timed."""
        host = self._host
        self._endless = endless
        self._exchange.watch(self)
        timeout = self._call.timeout
        if timeout and not endless:
            sweeper = host.sweeper
            sweeper.watch(self)
            self.deadline = sweeper.now + timeout
        host.running.add(self)
        self.task = host.loop.create_task(self._run(scope))

    async def _run(self, scope: Scope) -> None:
        try:
            await self._host.app(scope, self.receive, self.send)
        except BaseException as error:  # SystemExit too: an application does not end the watchdog
            self._raised(error)
        else:
            if not self._over:
                self._fail("the application returned without completing its answer")
        finally:
            self._host.running.discard(self)
            if not self.complete:
                self._host.sweeper.unwatch(self)
                self._call.end(CLIENT_GONE)

    # For the application

    async def receive(self) -> Message:
        """The next piece of the body, or the end of the connection."""
        while not self._over:
            if self._more and not self._attached:
                self._attached = True
                self._exchange.attach(self)
            elif self._more and (self._pieces or self._ended):
                return self._take()
            else:
                await self._wait()
        if self._told:
            await asyncio.sleep(0)  # whoever asks again and again does not hold up the loop
        self._told = True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Part of the answer. Raises RuntimeError, ValueError or TypeError for what cannot be sent, Disconnected when nobody
        receives it."""
        kind = message["type"]
        if self._over:
            await self._refuse_message(kind)
        if kind == "http.response.body":
            more = self._send_body(message)
            if more and not self._over:
                self._burst += 1
                if not self._clear:
                    await self._drained()
                elif self._burst >= BURST:
                    self._burst = 0
                    await asyncio.sleep(0)
        elif kind == "http.response.start":
            self._hold_head(message)
        else:
            raise RuntimeError(f"an HTTP request cannot be answered by a message of type {kind!r}")

    # Listener

    def body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > BODY_BUFFER:
            self._exchange.pause()
        self._wake()

    def body_end(self) -> None:
        self._ended = True
        self._wake()

    def client_gone(self) -> None:
        """The application is told and ends by itself, or with its time; one that has all the time gets a moment."""
        self._over = self._gone = True
        self._pieces.clear()
        self._wake()
        if self._endless:
            self._host.sweeper.watch(self)
            self.deadline = self._host.sweeper.now + GONE_GRACE

    def writable(self, ready: bool) -> None:
        self._clear = ready
        if ready:
            self._wake()

    # The time

    def expire(self) -> None:
        host, call = self._host, self._call
        if self._cancelled:
            host.log.line("the application goes on though it was cancelled", call.call_id)
            host.sweeper.unwatch(self)
            return
        self.deadline = host.sweeper.now + CANCEL_GRACE
        if not self._over:
            self._give_up(504, f"the function gave no complete answer within {call.timeout:g} s")
        host.log.line(f"the application is cancelled after {call.elapsed():.3g} s", call.call_id)
        self.cancel()

    def cancel(self) -> None:
        """End the application, as far as it lets itself be ended."""
        self._cancelled = True
        if self._gone:
            self._call.end(CLIENT_GONE)
        self.task.cancel()

    # The body

    def _take(self) -> Message:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._size > BODY_BUFFER:
            self._exchange.resume()
        self._size = 0
        # Resuming reads nothing yet, so that what has ended had ended before.
        self._more = not self._ended
        return {"type": "http.request", "body": body, "more_body": self._more}

    async def _wait(self) -> None:
        waiter = self._host.loop.create_future()
        self._waiters += (waiter,)
        try:
            await waiter
        finally:
            self._waiters = tuple(one for one in self._waiters if one is not waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # The answer

    def _hold_head(self, message: Message) -> None:
        """Keep the head for the first piece of the body, with which it is one write."""
        if self._state != _IDLE:
            raise RuntimeError("http.response.start was sent twice")
        status, length, fields = answer_head(message)
        if message.get("trailers"):
            raise RuntimeError("trailers are not supported, and not offered in the scope")
        self._status, self._length, self._fields = status, length, fields
        self._state = _HELD
        if length is None:
            # Nobody knows when a first piece will follow, and the client may be waiting for the head alone.
            field_lines(fields)
            self._host.loop.call_soon(self._release_head)

    def _release_head(self) -> None:
        if self._state == _HELD and not self._over:
            self._start()

    def _start(self) -> None:
        self._call.start(self._status, self._fields, self._length)
        self._state = _SENDING
        self._left = None if is_bodyless(self._call, self._status) else self._length

    def _send_body(self, message: Message) -> bool:
        """Write a piece; whether more will come."""
        body = message.get("body", b"")
        if type(body) is not bytes:
            body = as_bytes(body)
        more = bool(message.get("more_body", False))
        if self._state == _IDLE:
            raise RuntimeError("http.response.body was sent before http.response.start")
        if self._state == _HELD:
            if not more:
                send_whole(self._call, self._status, self._fields, self._length, body)
                self._completed()
                return False
            self._start()
        check_size(len(body), self._left, last=not more)
        if not is_bodyless(self._call, self._status):
            self._exchange.write(body)
        if self._left is not None:
            self._left -= len(body)
        if not more:
            self._finish()
        return more

    def _finish(self) -> None:
        self._call.finish()
        self._completed()

    def _completed(self) -> None:
        self._over = self.complete = True
        self.deadline = NEVER
        self._host.sweeper.unwatch(self)
        if self._waiters:
            self._wake()

    async def _drained(self) -> None:
        while not self._clear and not self._over:
            await self._wait()
        if self._over and not self.complete:
            raise Disconnected("the client has gone")

    async def _refuse_message(self, kind: str) -> None:
        if self.complete:
            raise RuntimeError(f"{kind} was sent after the answer was complete")
        if self._told:
            await asyncio.sleep(0)
        self._told = True
        raise Disconnected("the client has gone" if self._gone else "the time for the answer is over")

    # Failures

    def _raised(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError) and self._cancelled:
            return
        if self._over and not self.complete and caused_by(error, Disconnected):
            return
        what = "was cancelled by itself" if isinstance(error, asyncio.CancelledError) else "raised an exception"
        log_failure(self._host.log, f"the application {what}", error, self._call.call_id)
        if not self._over:
            self._give_up(500, "the application failed; the log has its traceback")

    def _fail(self, sentence: str) -> None:
        self._host.log.line(sentence, self._call.call_id)
        self._give_up(500, sentence)

    def _give_up(self, status: int, text: str) -> None:
        """An answer of ours where none has begun, else the end of the connection."""
        self._over = True
        self._wake()
        if self._exchange.head_sent:
            if self._left == 0 or is_bodyless(self._call, self._status):
                self._call.finish()  # the client has all that was announced
            else:
                self._call.cut()
        else:
            self._call.refuse(status, text, (self._call.duration(),))


def answer_head(message: Message) -> tuple[int, int | None, list[Field]]:
    """Status, Content-Length and the other fields of a `…response.start`. Raises TypeError or ValueError for what cannot be sent."""
    status = message["status"]
    if not isinstance(status, int):
        raise TypeError(f"the status {status!r} is not a number")
    fields, length = own_fields(message.get("headers", ()))
    return check_status(int(status)), length, fields


def as_bytes(body: object) -> bytes:
    """A body given as another kind of buffer. Raises TypeError for all else."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise TypeError(f"the body of an answer must be bytes, not {type(body).__name__}")
