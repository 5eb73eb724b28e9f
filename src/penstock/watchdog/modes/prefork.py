"""mode=prefork: as serializing, with processes that were started before there was a request and wait on their stdin.

A request takes the process that has waited longest, and another is started in its place. When none waits, one is started for
the request as in serializing. Processes know nothing of the request but its body: their environment is as old as they are.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections import deque
from collections.abc import Callable, Mapping

from penstock.core.backoff import FIRST, Backoff
from penstock.core.demand import Demand, pool_size
from penstock.core.duration import format_duration
from penstock.watchdog.call import Call
from penstock.watchdog.modes import Context
from penstock.watchdog.modes.serializing import Serializing
from penstock.watchdog.oneshot import Input, Run, Started, fork
from penstock.watchdog.pipes import PipeReader, Pipes
from penstock.watchdog.spawn import Child, SpawnFailed, describe_exit

POOL_MOST = max(8, 4 * (os.cpu_count() or 1))
"""Processes that wait in an automatic pool without `pool_max`: enough for bursts, and no more than a small machine can hold."""
SHRINK_EVERY = 10.0
"""Seconds between two looks at whether fewer would do."""


class Prefork(Serializing):
    """Take a waiting process, feed, wait, answer."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.reserve = Reserve(context)

    async def start(self) -> None:
        self.reserve.fill()

    def handle(self, call: Call) -> None:
        Run(self, call, {}).begin()

    def launch(self, variables: Mapping[bytes, bytes], body: Input, on_exit: Callable[[int], None]) -> Started:
        started = self.reserve.take(body, on_exit)
        return fork(self.context, variables, body, on_exit) if started is None else started

    async def stop(self) -> None:
        self.reserve.close()


class Waiting:
    """A process that waits, with our ends of its pipes. What it writes meanwhile stays in them for the request that takes it."""

    __slots__ = ("child", "errors", "feed", "out", "since", "stdin")

    child: Child

    def __init__(self, stdin: int, feed: int, out: int, errors: int, since: float) -> None:
        self.stdin = stdin
        """Its own end of its stdin. A signal may have been on its way when it was handed out; then the request is found there."""
        self.feed = feed
        self.out = out
        self.errors = errors
        self.since = since

    def handed_out(self, body: Input) -> Started:
        return Started(self.child, self.feed, self.out, self.errors, body.data, self.stdin)

    def close(self) -> None:
        for fd in (self.stdin, self.feed, self.out, self.errors):
            os.close(fd)


class Reserve:
    """The processes that wait. Its repr is its state."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop = context.loop
        self._waiting: deque[Waiting] = deque()
        self._starting = 0
        self._demand = Demand()
        self._backoff = Backoff()
        self._resting: asyncio.TimerHandle | None = None
        self._shrinking: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "resting" if self._resting else f"{self._starting} starting"
        return f"<Reserve {len(self._waiting)} of {self.wanted} waiting, {state}>"

    @property
    def wanted(self) -> int:
        """How many should wait: `pool_size`, or what the busiest second of the last minute makes sensible."""
        settings = self._context.settings
        if settings.pool_size:
            return settings.pool_size
        most = settings.pool_max or max(POOL_MOST, settings.pool_min)
        return pool_size(self._demand.peak(self._loop.time()), settings.pool_min, most)

    def take(self, body: Input, on_exit: Callable[[int], None]) -> Started | None:
        """The process that has waited longest, for a run with this body; None when none waits."""
        now = self._loop.time()
        self._demand.note(now)
        taken = None
        while self._waiting and taken is None:
            oldest = self._waiting.popleft()
            if not oldest.child.has_ended():  # otherwise `_ended` is about to be called
                taken = oldest
        if taken is None or 2 * (len(self._waiting) + self._starting) < self.wanted:
            self.fill()  # otherwise there is time until this run is over: a start would only slow it down
        if taken is None:
            return None
        if now - taken.since > FIRST:
            self._backoff.reset()
        taken.child.on_exit = functools.partial(self._used, on_exit)
        return taken.handed_out(body)

    def fill(self) -> None:
        """Have as many started as are missing, each in its turn."""
        if self._closed or self._resting is not None:
            return
        for _ in range(self.wanted - len(self._waiting) - self._starting):
            self._starting += 1
            self._context.spawner.enqueue(self._start)

    def close(self) -> None:
        """End all that wait."""
        self._closed = True
        for timer in (self._resting, self._shrinking):
            if timer is not None:
                timer.cancel()
        while self._waiting:
            self._discard(self._waiting.popleft())

    def _start(self) -> None:
        self._starting -= 1
        if self._closed or self._resting is not None:
            return
        try:
            with Pipes() as pipes:
                (stdin, feed), (stdout, out), (stderr, errors) = pipes.inward(), pipes.outward(), pipes.outward()
                pipes.keep_theirs(stdin)
                waiting = Waiting(stdin, feed, out, errors, self._loop.time())
                ended = functools.partial(self._ended, waiting)
                waiting.child = self._context.spawner.spawn({}, (stdin, stdout, stderr), ended)
        except SpawnFailed as error:
            self._rest(str(error))
        except OSError as error:
            self._rest(f"no pipe for a program that is to wait: {error.strerror}")
        else:
            self._waiting.append(waiting)
            self._watch_surplus()

    def _used(self, on_exit: Callable[[int], None], status: int) -> None:
        """A run is over: answer, and replace its process in the next turn of the loop, when the answer is on its way."""
        on_exit(status)
        self._loop.call_soon(self.fill)

    def _ended(self, waiting: Waiting, status: int) -> None:
        """A process that nobody has taken has ended: its last words go to the log, and the next has to wait."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        lines = self._context.log.lines("stderr")
        PipeReader(self._loop, os.dup(waiting.errors), lines.feed, lines.end).conclude()
        waiting.close()
        reason = f"a program ended before it was given a request: {describe_exit(status)}"
        self._rest(reason, self._loop.time() - waiting.since)

    def _rest(self, reason: str, ran: float = 0.0) -> None:
        """Start none for a while: what cannot wait must not be started again and again."""
        if self._closed or self._resting is not None:
            return
        pause = self._backoff.pause(ran)
        self._context.log.line(f"{reason}; requests start their own, and the pool goes on in {format_duration(pause)}")
        self._resting = self._loop.call_later(pause, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.fill()

    def _watch_surplus(self) -> None:
        """Look now and then whether fewer would do, as long as that is possible."""
        settings = self._context.settings
        if self._shrinking is None and not settings.pool_size and len(self._waiting) > settings.pool_min:
            self._shrinking = self._loop.call_later(SHRINK_EVERY, self._shrink)

    def _shrink(self) -> None:
        """End those that the load does not ask for any more."""
        self._shrinking = None
        for _ in range(len(self._waiting) - self.wanted):
            self._discard(self._waiting.popleft())
        self._watch_surplus()

    def _discard(self, waiting: Waiting) -> None:
        """Killed before its pipes are closed: an end of its input would have it run."""
        waiting.child.on_exit = _forget
        waiting.child.kill()
        waiting.close()


def _forget(status: int) -> None:
    """The end of a process that was given up."""
