"""A small pool of threads for handlers that are not asynchronous, with a cheap way there and back.

Mode `python` submits jobs from the loop; `work` is called for each of them in a thread, and what it posts comes back to the
loop in batches. A Future, a queue's lock and a wake-up of the loop for every call cost more than a short handler itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from penstock.watchdog.baton import Baton

Job = TypeVar("Job")

PATIENCE = 0.002
"""Seconds that a job waits for the thread that is at work, which will most likely take it in a moment, before another thread is
woken. Waking one for every job has them wait for each other's interpreter lock, at half the rate."""
SLOW = 0.003
"""Seconds of a call from which it counts as one that waits for something, so that other calls should not wait for it."""
_SLOW_WEIGHT, _SLOW_FROM, _SLOW_MOST = 4, 4, 16
"""A slow call adds the first, a fast one takes one away; from the second on every job wakes a thread of its own."""
ROUND = 0.001
"""Seconds of calls between two turns of the loop."""


class Threads(Generic[Job]):
    """`submit` and `post`; at most `most` threads, started when they are needed and kept."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, most: int, work: Callable[[Job], None], baton: Baton | None = None
    ) -> None:
        """With a `baton`, short calls are made by the thread that runs the loop, for as long as they are short."""
        self._loop = loop
        self._baton = baton if most > 1 else None
        self._most = most - 1 if self._baton else most
        self._work = work
        self._jobs: deque[Job] = deque()
        self._parked: list[threading.Lock] = []
        self._started = 0
        self._taken = 0
        self._seen = 0
        self._looking: asyncio.TimerHandle | None = None
        self._slowness = 0
        self._inline = False
        """Whether the thread that runs the loop is at a call, and collects what is posted when it is done."""
        self._posted: deque[Callable[[], None]] = deque()
        self._called = False
        self._rousing = False
        self._closed = False
        if self._baton is not None:
            self._slowness = _SLOW_MOST  # until it is known how long calls take
            self._baton.calls = self._work_between_turns
            self._baton.on_taken = self._taken_over

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Have a thread work on it. In the loop."""
        self._jobs.append(job)
        if not self._rousing:
            self._rousing = True
            self._loop.call_soon(self._rouse)

    def post(self, callback: Callable[[], None]) -> None:
        """Have the loop call this soon. In a thread; what one thread posts is called in order.

        While jobs wait, which are done in a moment as a rule, the loop is left alone; it looks by itself after PATIENCE.
        """
        self._posted.append(callback)
        if not self._called and not self._inline and not self._jobs:
            self._signal()

    def _signal(self) -> None:
        self._called = True
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for this any more
            self._loop.call_soon_threadsafe(self._collect)

    def close(self) -> None:
        """No more jobs will come. Threads that are at work end with their process."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        while self._parked:
            self._parked.pop().release()

    def _collect(self) -> None:
        self._called = False  # before the look: what is posted from now on calls again
        posted = self._posted
        while posted:
            posted.popleft()()

    def _look(self, number: int) -> None:
        """Wake more threads when no job was taken since the last look, twice as many each time."""
        self._looking = None
        if self._posted:
            self._collect()
        if not self._jobs:
            return
        if self._taken == self._seen:
            for _ in range(min(number, len(self._jobs))):
                self._wake()
            number *= 2
        self._seen = self._taken
        self._looking = self._loop.call_later(PATIENCE, self._look, number)

    def _rouse(self) -> None:
        """Wake a thread if none is awake. After everything that the loop had to submit in this turn: a thread that is woken
        earlier finds the interpreter lock taken, and has to be woken again."""
        self._rousing = False
        if self._posted:
            self._collect()
        if not self._jobs:
            return
        if self._slowness >= _SLOW_FROM:
            for _ in range(len(self._jobs)):
                self._wake()
        elif self._baton is not None and self._baton.ready:
            self._loop.stop()  # `_work_between_turns` follows
            return
        elif len(self._parked) == self._started:
            self._wake()
            if len(self._jobs) == 1:
                return
        if self._looking is None:
            self._seen = self._taken
            self._looking = self._loop.call_later(PATIENCE, self._look, 1)

    def _work_between_turns(self) -> bool:
        """Make the calls that wait, in the thread that runs the loop; False when another one runs it now."""
        baton, jobs, began = self._baton, self._jobs, monotonic()
        if baton is None or not baton.ready:
            return True
        until = began + ROUND
        self._inline = True
        while jobs and began < until and self._slowness < _SLOW_FROM:
            try:
                job = jobs.popleft()
            except IndexError:
                break  # a thread was faster
            self._taken += 1
            baton.enter(began)
            self._do(job)
            kept = baton.leave()
            del job
            ended = monotonic()
            self._note(ended - began)
            if not kept:
                if self._posted and not self._called:
                    self._signal()
                return False
            began = ended
        self._inline = False
        if self._posted:
            self._loop.call_soon(self._collect)
        if jobs and not self._rousing:
            self._rousing = True
            self._loop.call_soon(self._rouse)
        return True

    def _taken_over(self) -> None:
        """The loop runs in another thread from now on: the call that held it up is like that of any thread."""
        self._inline = False
        self._loop.call_soon(self._collect)
        if self._jobs and not self._rousing:
            self._rousing = True
            self._loop.call_soon(self._rouse)

    def _do(self, job: Job) -> None:
        try:
            self._work(job)
        except BaseException:  # no memory for its failure, say: the job's deadline answers it, and the thread goes on
            sys.excepthook(*sys.exc_info())

    def _note(self, seconds: float) -> None:
        """How long a call took."""
        if seconds > SLOW:
            self._slowness = min(self._slowness + _SLOW_WEIGHT, _SLOW_MOST)
        elif self._slowness:
            self._slowness -= 1

    def _wake(self) -> None:
        try:
            self._parked.pop().release()
        except IndexError:
            if self._started < self._most:
                self._start()

    def _start(self) -> None:
        self._started += 1
        thread = threading.Thread(target=self._live, name=f"handler-{self._started}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a limit on processes or memory; those that there are must do
            self._started -= 1
            if not self._started:
                raise

    def _live(self) -> None:
        jobs, parked = self._jobs, self._parked
        lock = threading.Lock()
        lock.acquire()
        while not self._closed:
            try:
                job = jobs.popleft()
            except IndexError:
                if self._posted and not self._called:
                    self._signal()
                parked.append(lock)
                if jobs or self._closed:  # that came after we looked and before anybody could see that we sleep
                    try:
                        parked.remove(lock)
                    except ValueError:
                        lock.acquire()  # somebody has just woken us
                    continue
                lock.acquire()
                continue
            self._taken += 1
            began = monotonic()
            self._do(job)
            self._note(monotonic() - began)
            del job
