"""The right to run the event loop, which threads hand on: so that a short handler is called by the very thread that runs the loop,
between two turns of it, and one that lasts holds up nobody.

A worker of mode `python` runs its loop by a `Baton`. A way to another thread and back costs several times what a short handler
takes. While a handler is called here the main thread looks on; after `TAKE` it lets another thread run the loop, and the one that
is in the handler is like any other thread of `threads.py`, until it comes back and waits for the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

TAKE = 0.005
"""Seconds that a call may hold the loop up."""
_CALM = 1.0
"""Seconds without a call after which the main thread stops looking."""

Calls = Callable[[], bool]
"""Does what waits; returns False when the loop was taken over meanwhile."""


class Baton:
    """`run` is the worker's whole life. `calls` is set by whoever wants calls to be made between two turns."""

    def __init__(self) -> None:
        self.calls: Calls | None = None
        self.terminated: Callable[[], None] | None = None
        """What SIGTERM does, on the loop."""
        self.on_taken: Callable[[], None] = lambda: None
        """Called by the thread that takes the loop over, before it runs it."""
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[int] | None = None
        self._lock = threading.Lock()
        self._began = 0.0
        """When the call under way began; 0 while there is none."""
        self._lost = False
        """Whether the loop was taken over from the call under way."""
        self._standby: threading.Lock | None = None
        """What the thread that waits for its turn waits for."""
        self._watching = False
        self._alarm = threading.Event()
        self._over = False
        self._outcome: int | BaseException = 0

    @property
    def ready(self) -> bool:
        """Whether a call may be made between two turns: only when another thread could take over."""
        return self._standby is not None

    def run(
        self, loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Coroutine[Any, Any, int]]
    ) -> int:
        """Run `main` on a new loop; what it returns or raises. In the main thread, which gets the signals."""

        def asked(number: int, frame: object) -> None:
            if self.terminated is not None and self._runner is not None:
                with contextlib.suppress(RuntimeError):  # it is over
                    self._runner.get_loop().call_soon_threadsafe(self.terminated)

        signal.signal(signal.SIGTERM, asked)

        def first() -> None:
            self._runner = asyncio.Runner(loop_factory=loop_factory)
            loop = self._runner.get_loop()
            self._task = loop.create_task(main())
            self._task.add_done_callback(lambda task: loop.stop())
            with contextlib.suppress(
                RuntimeError
            ):  # a limit on processes or memory; then no call is made between turns
                self._start("loop-2", lambda: self._live(loop, False))
            self._live(loop, True)

        self._start("loop-1", first)
        self._watch()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    # In the thread that runs the loop

    def enter(self, began: float) -> None:
        """A call begins."""
        self._began = began
        if not self._watching:
            self._watching = True
            self._alarm.set()

    def leave(self) -> bool:
        """It has ended; False when the loop was taken over meanwhile, which is then not to be touched any more."""
        with self._lock:
            if self._lost:
                self._lost = False
                return False
            self._began = 0.0
            return True

    def _start(self, name: str, life: Callable[[], None]) -> None:
        def live() -> None:
            try:
                life()
            except BaseException as error:
                self._end(error)

        threading.Thread(target=live, name=name, daemon=True).start()

    def _live(self, loop: asyncio.AbstractEventLoop, first: bool) -> None:
        """Run the loop whenever it is handed over, until it is over."""
        mine = threading.Lock()
        mine.acquire()
        while not self._over:
            if not first:
                self._standby = mine
                mine.acquire()
                self.on_taken()
            first = False
            if self._drive(loop):
                self._close()

    def _drive(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Run the loop; False when it was taken over from here."""
        while True:
            loop.run_forever()
            if self._task is None or self._task.done():
                return True
            if self.calls is not None and not self.calls():
                return False

    def _close(self) -> None:
        task, runner = self._task, self._runner
        if task is not None and runner is not None:
            outcome = task.exception() if not task.cancelled() else asyncio.CancelledError()
            try:
                runner.close()
            finally:
                self._end(task.result() if outcome is None else outcome)

    def _end(self, outcome: int | BaseException) -> None:
        if not self._over:
            self._outcome = outcome
            self._over = True
            self._alarm.set()

    # In the main thread

    def _watch(self) -> None:
        last = 0.0
        while not self._over:
            began, now = self._began, monotonic()
            if began:
                last = now
                if now - began > TAKE:
                    self._take_over(began)
            if now - last < _CALM:
                if self._alarm.wait(TAKE):  # the end, or a call that began just when this began to look
                    self._alarm.clear()
                continue
            self._alarm.clear()
            self._watching = False
            if not self._began and not self._over:
                self._alarm.wait()
            self._watching = True
            self._alarm.clear()
            last = monotonic()

    def _take_over(self, began: float) -> None:
        with self._lock:
            standby = self._standby
            if self._began != began or standby is None:
                return
            self._lost, self._began, self._standby = True, 0.0, None
        standby.release()
