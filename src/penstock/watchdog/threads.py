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
from typing import Generic, TypeVar

Job = TypeVar("Job")

PATIENCE = 0.002
"""Seconds that a job waits for the thread that is at work, which will most likely take it in a moment, before another thread is
woken. Waking one for every job has them wait for each other's interpreter lock, at half the rate."""
SLOW = 0.003
"""Seconds of a call from which it counts as one that waits for something, so that other calls should not wait for it."""
_SLOW_WEIGHT, _SLOW_FROM, _SLOW_MOST = 4, 4, 16
"""A slow call adds the first, a fast one takes one away; from the second on every job wakes a thread of its own."""


class Threads(Generic[Job]):
    """`submit` and `post`; at most `most` threads, started when they are needed and kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int, work: Callable[[Job], None]) -> None:
        self._loop = loop
        self._most = most
        self._work = work
        self._jobs: deque[Job] = deque()
        self._parked: list[threading.Lock] = []
        self._started = 0
        self._taken = 0
        self._seen = 0
        self._looking: asyncio.TimerHandle | None = None
        self._slowness = 0
        self._posted: deque[Callable[[], None]] = deque()
        self._called = False
        self._rousing = False
        self._closed = False

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
        if not self._called and not self._jobs:
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
        elif len(self._parked) == self._started:
            self._wake()
            if len(self._jobs) == 1:
                return
        if self._looking is None:
            self._seen = self._taken
            self._looking = self._loop.call_later(PATIENCE, self._look, 1)

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
        jobs, parked, work = self._jobs, self._parked, self._work
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
            try:
                work(job)
            except (
                BaseException
            ):  # no memory for its failure, say: the job's deadline answers it, and the thread goes on
                sys.excepthook(*sys.exc_info())
            if monotonic() - began > SLOW:
                self._slowness = min(self._slowness + _SLOW_WEIGHT, _SLOW_MOST)
            elif self._slowness:
                self._slowness -= 1
            del job
