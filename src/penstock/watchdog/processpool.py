"""A pool of identical long-lived programs that speak HTTP/1.1 over stdin and stdout, one request at a time each.

To the relay it is what a pool of connections is: a program is a connection. Mode `afterburn` owns one. Which program gets a
request, how many there are, when one must go and what a failed start means is decided here; bytes are `wire`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator

from penstock.core.backoff import Backoff
from penstock.core.duration import format_duration
from penstock.watchdog.modes import Context
from penstock.watchdog.pipes import PipeReader, Pipes
from penstock.watchdog.pipetransport import PipeTransport
from penstock.watchdog.seat import life_span
from penstock.watchdog.spawn import Child, SpawnFailed, describe_exit
from penstock.wire.client import ClientConnection, Connecting
from penstock.wire.errors import MalformedMessage
from penstock.wire.framing import Body, UntilClose
from penstock.wire.message import ResponseHead
from penstock.wire.timeouts import NEVER, Timers

HANDSHAKE = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""What every program is asked first: HTTP's own ping (RFC 9110 §9.3.7). Whoever answers it is ready. Asked again when an
answer leaves a doubt whether something follows it."""
HANDSHAKE_MOST = 120.0
"""Seconds for that answer. Large applications start slowly; one that does not speak HTTP would never answer."""
POOL_MOST = max(4, 2 * (os.cpu_count() or 1))
"""Programs of an automatic pool without `pool_max`. They are heavy, and each uses a processor or waits for somebody."""
STARTS_AT_ONCE = os.cpu_count() or 1
"""Programs that start at the same time: more would only slow down each other."""
IDLE_MOST = 60.0
"""Seconds without a request after which an automatic pool gives up a program beyond `pool_min`."""
LOOK_EVERY = 5.0
"""Seconds between two looks for such ones."""
ABANDON_MOST = 5.0
"""Seconds that a program gets to finish an answer which nobody wants any more: starting another costs about as much."""
EXIT_GRACE = 5.0
"""Seconds between the end of a program's stdin and SIGKILL."""
EOF_GRACE = 0.25
"""Seconds that a program which closed its stdout gets to end by itself, so that its exit code is known."""


class ProgramConnection(ClientConnection):
    """The stdin and stdout of one program as a connection."""

    CUT = "the program closed its stdout before its answer was complete"

    __slots__ = ("grace", "program")

    def __init__(self, pool: ProcessPool, program: Program) -> None:
        super().__init__(pool)
        self.program = program
        self.grace = 0.0
        """Seconds that the program gets to end once the connection is closed."""

    def eof_received(self) -> None:
        self.grace = max(self.grace, EOF_GRACE)
        super().eof_received()

    def data_received(self, data: bytes) -> None:
        if self._listener is None and not self.closed:
            self.program.trouble = f"it wrote without being asked: {data[:40]!r}"
        super().data_received(data)

    def abandon(self) -> None:
        """Let the program finish an answer that it has all of the request for."""
        if self._request_done and not self._tunnel and not self.closed:
            self._listener = _Discarding(self, self.program.pool.timers)
            self.resume()
        else:
            self.close()

    def _framing(self, response: ResponseHead) -> Body:
        body = super()._framing(response)
        if isinstance(body, UntilClose):
            raise MalformedMessage(
                502, "its answer has neither Content-Length nor chunked framing, so nobody can tell its end"
            )
        return body

    def _doubted(self) -> None:
        """Starting another program is dear, so this one is asked once more: its answer shows that nothing came before it."""
        self.requests -= 1
        self.program.shake_hands()

    def _finish(self, rest: bytes) -> None:
        if rest:
            self.program.trouble = f"it wrote more than its answer: {rest[:40]!r}"
        elif self._response is not None and not self._response.keep_alive:
            self.grace = EXIT_GRACE
        super()._finish(rest)


class Program:
    """One of the pool's programs."""

    __slots__ = (
        "child",
        "connection",
        "errors",
        "pool",
        "requests_most",
        "retired",
        "since",
        "transport",
        "trouble",
        "warm",
        "watch",
    )

    child: Child
    transport: PipeTransport

    def __init__(self, pool: ProcessPool, since: float, requests_most: int) -> None:
        self.pool = pool
        self.since = since
        self.requests_most = requests_most
        self.connection = ProgramConnection(pool, self)
        self.errors: PipeReader | None = None
        self.watch: asyncio.TimerHandle | None = None
        """Runs while the handshake is not answered, and again between a farewell and SIGKILL."""
        self.warm = False
        """Whether it has answered the handshake."""
        self.retired = False
        """Whether it is ended for no fault of its own."""
        self.trouble = ""
        """Why it is being ended, where that is its own fault."""

    @property
    def used(self) -> bool:
        """Whether it was given a request."""
        return self.connection.requests > 1

    @property
    def worn_out(self) -> bool:
        return 0 < self.requests_most < self.connection.requests  # which counts the handshake

    def shake_hands(self) -> None:
        """Ask for an answer that concerns nobody. `put` hears of it, or `forget` of its failure."""
        self.set_watch(self.pool.later(HANDSHAKE_MOST, self._too_slow))
        self.connection.send(HANDSHAKE, _Handshake(self), head_only=False, complete=True)

    def _too_slow(self) -> None:
        self.trouble = f"it did not answer its handshake within {HANDSHAKE_MOST:g} s"
        self.connection.close()

    def set_watch(self, handle: asyncio.TimerHandle | None) -> None:
        if self.watch is not None:
            self.watch.cancel()
        self.watch = handle


class ProcessPool:
    """The programs, those that wait for a request, and the requests that wait for a program. Its repr is its state."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop = context.loop
        self.timers = Timers(context.loop)
        self.trouble = ""
        """Why no program can be started; empty while one may be."""
        self._members: set[Program] = set()
        """Those that serve or are about to."""
        self._running: set[Program] = set()
        """Those that have not ended yet: members and leavers."""
        self._idle: list[ProgramConnection] = []
        self._waiters: deque[Connecting] = deque()
        self._queued = 0
        self._backoff = Backoff()
        self._resting: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._matching = False
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    def __repr__(self) -> str:
        warm = sum(program.warm for program in self._members)
        state = "closed" if self._closed else self.trouble or f"{len(self._members) - warm} starting"
        return f"<ProcessPool {len(self._idle)} of {warm} idle, {len(self._waiters)} requests waiting, {state}>"

    @property
    def unready(self) -> str:
        """Why no request can be served; empty when one can."""
        if any(program.warm for program in self._members):
            return ""
        return self.trouble or "starting: the program has not answered its handshake yet"

    def start(self) -> None:
        """Start as many programs as there are to be without any load."""
        self._fill()

    async def stop(self) -> None:
        """End all programs: the end of their input and SIGTERM, then SIGKILL after the grace. No request is in flight."""
        self._closed = True
        for timer in (self._resting, self._looking):
            if timer is not None:
                timer.cancel()
        for program in list(self._members):
            self._retire(program)
        for program in list(self._running):
            program.child.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_GRACE):
                await self._empty.wait()
        for program in list(self._running):
            program.child.kill()
        await self._empty.wait()

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, call)

    # For the relay

    def get(self) -> ClientConnection | None:
        """A program that is free now; none while earlier requests wait."""
        return None if self._waiters else next(self._silent(), None)

    def connect(self, waiter: Connecting) -> None:
        """Let a request wait for the next program that is free, and start one more where there may be more."""
        if self.trouble and self.unready:
            self._loop.call_soon(waiter.connect_failed, OSError(self.trouble))
            return
        self._waiters.append(waiter)
        self._grow()

    def put(self, connection: ClientConnection) -> None:
        """A program has answered: it is free, or its time has come."""
        assert isinstance(connection, ProgramConnection)  # noqa: S101 - we hand out no others
        program = connection.program
        program.set_watch(None)
        if not program.warm:
            program.warm = True
            self.trouble = ""
            self._fill()
            self._grow()
        elif program.used:
            self._backoff.reset()
        if self._closed or program.worn_out:
            self._retire(program)
            return
        connection.raw = True
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        self._look_later()
        if self._waiters and not self._matching:
            # Later, since the connection is still busy with handing on the answer that is complete.
            self._matching = True
            self._loop.call_soon(self._match)

    def forget(self, connection: ClientConnection) -> None:
        """The connection to a program is closed, and with it the program's life is over."""
        assert isinstance(connection, ProgramConnection)  # noqa: S101 - as above
        program = connection.program
        if connection in self._idle:
            self._idle.remove(connection)
        if program not in self._members:
            return
        self._members.remove(program)
        if connection.grace:
            program.set_watch(self._loop.call_later(connection.grace, program.child.kill))
        else:
            program.set_watch(None)
            program.child.kill()
        if program.warm and program.used:
            self._fill()  # one that has never served is judged by how it ends

    def _match(self) -> None:
        """Give free programs to requests that wait."""
        self._matching = False
        for connection in self._silent():
            if not self._waiters:
                self._idle.append(connection)
                return
            self._waiters.popleft().connected(connection)

    def _silent(self) -> Iterator[ProgramConnection]:
        """Free programs, the one used last first. One that has written something unasked is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.silent():
                yield connection
            else:
                connection.close()

    # Starting

    @property
    def _starting(self) -> int:
        return self._queued + sum(not program.warm for program in self._members)

    def _fill(self) -> None:
        """Start those that are to be there without any load."""
        self._start_up_to(self._least, STARTS_AT_ONCE)

    def _grow(self) -> None:
        """Start more for requests that wait, where there may be more."""
        settings = self._context.settings
        most = settings.pool_size or settings.pool_max or max(POOL_MOST, self._least)
        self._start_up_to(most, min(len(self._waiters), STARTS_AT_ONCE))

    def _start_up_to(self, most: int, at_once: int) -> None:
        while self._may_start and self._starting < at_once and len(self._members) + self._queued < most:
            self._queued += 1
            self._context.spawner.enqueue(self._start)

    @property
    def _least(self) -> int:
        """Programs without any load; one at least, as the first request should not have to wait for it."""
        return self._context.settings.pool_size or max(self._context.settings.pool_min, 1)

    @property
    def _may_start(self) -> bool:
        return not self._closed and self._resting is None

    def _start(self) -> None:
        self._queued -= 1
        if not self._may_start:
            return
        settings = self._context.settings
        program = Program(self, self._loop.time(), life_span(settings.max_requests, settings.max_requests_jitter))
        try:
            with Pipes() as pipes:
                (stdin, feed), (stdout, out), (stderr, errors) = pipes.inward(), pipes.outward(), pipes.outward()
                ended = functools.partial(self._ended, program)
                program.child = self._context.spawner.spawn({}, (stdin, stdout, stderr), ended)
        except SpawnFailed as error:
            self._failed(str(error))
            return
        except OSError as error:
            self._failed(f"no pipe for the program: {error.strerror}")
            return
        self._members.add(program)
        self._running.add(program)
        self._empty.clear()
        lines = self._context.log.lines("stderr")
        program.errors = PipeReader(self._loop, errors, lines.feed, lines.end)
        program.transport = PipeTransport(self._loop, program.connection, feed, out)
        program.shake_hands()

    # Ending

    def _retire(self, program: Program) -> None:
        """Let a program that is not at work end by itself."""
        program.retired = True
        program.connection.grace = EXIT_GRACE
        program.connection.close()
        self._fill()

    def _ended(self, program: Program, status: int) -> None:
        """A program's process is gone."""
        if program.errors is not None:
            program.errors.conclude()
        program.transport.conclude()
        program.set_watch(None)
        self._running.discard(program)
        if not self._running:
            self._empty.set()
        if self._closed or program.retired:
            return
        how = describe_exit(status)
        if not (program.warm and program.used):
            reason = f"the program ended before it served a request: {program.trouble or how}"
            self._failed(reason, self._loop.time() - program.since)
        elif program.trouble:
            self._context.log.line(f"a program of the pool was discarded: {program.trouble}")
        elif status and program.connection.grace:
            self._context.log.line(f"a program of the pool ended: {how}")

    def _failed(self, reason: str, ran: float = 0.0) -> None:
        """A program could not be started or did not last: wait with the next, and keep nobody waiting in vain."""
        if self._closed or self._resting is not None:
            return
        pause = self._backoff.pause(ran)
        self._context.log.line(f"{reason}; next start in {format_duration(pause)}")
        self._resting = self._loop.call_later(pause, self._rested)
        self.trouble = reason
        if self.unready:
            waiters, self._waiters = self._waiters, deque()
            for waiter in waiters:
                waiter.connect_failed(OSError(reason))

    def _rested(self) -> None:
        self._resting = None
        self._fill()

    # Giving up programs that are not needed

    def _look_later(self) -> None:
        if self._looking is None and len(self._members) > self._least:
            self._looking = self._loop.call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        """Retire those beyond `pool_min` that have long been idle; the one idle for longest is at the front."""
        self._looking = None
        oldest = self._loop.time() - IDLE_MOST
        while self._idle and self._idle[0].idle_since < oldest and len(self._members) > self._least:
            self._retire(self._idle[0].program)
        self._look_later()


class _Handshake:
    """Listens to a new program's first answer. Its content does not matter; `put` hears that it is complete."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None: ...

    def interim(self, head: ResponseHead) -> None: ...

    def response_body(self, data: bytes) -> None: ...

    def response_end(self) -> None: ...

    def upstream_failed(self, reason: str, detail: str) -> None:
        if reason == "malformed":
            self._program.trouble = f"its answer to the handshake is no HTTP: {detail}"

    def upstream_writable(self, ready: bool) -> None: ...


class _Discarding:
    """Listens to an answer whose client has left, for a while."""

    def __init__(self, connection: ProgramConnection, timers: Timers) -> None:
        self._connection = connection
        self._sweeper = timers.relays
        self.deadline = NEVER
        self._sweeper.watch(self)
        self.deadline = self._sweeper.now + ABANDON_MOST

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        if done:
            self.response_end()

    def interim(self, head: ResponseHead) -> None: ...

    def response_body(self, data: bytes) -> None: ...

    def response_end(self) -> None:
        self._sweeper.unwatch(self)

    def upstream_failed(self, reason: str, detail: str) -> None:
        self._sweeper.unwatch(self)

    def upstream_writable(self, ready: bool) -> None: ...

    def expire(self) -> None:
        self._sweeper.unwatch(self)
        self._connection.close()
