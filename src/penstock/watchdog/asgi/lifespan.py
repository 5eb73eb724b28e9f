"""The life span of an ASGI application: its startup before requests, its shutdown after them (ASGI lifespan 2.0).

One task per application. A startup that fails is tried again with growing pauses, since what it lacks (a database, say) may
come; an application that does not know of life spans is ready at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.watchdog.asgi.scope import App, Message
from penstock.watchdog.failures import log_failure
from penstock.watchdog.logs import Log

PATIENCE = 5.0
"""Seconds that the watchdog waits for the startup until it listens; then it says itself that it is not ready."""
SHUTDOWN = 5.0
"""Seconds that the shutdown may take."""
RETRY_LEAST, RETRY_MOST = 1.0, 30.0
"""Seconds until a failed startup is tried again: doubled each time."""

_STARTING, _READY, _FAILED, _STOPPING, _STOPPED = range(5)


class Lifespan:
    """Startup, state and shutdown. `reason` says why the application is not ready; empty when it is."""

    def __init__(self, app: App, log: Log) -> None:
        self.state: dict[str, Any] = {}
        """What the startup has left for requests, each of which gets a copy."""
        self.reason = "the application is starting"
        self._app = app
        self._log = log
        self._phase = _STARTING
        self._asked = False
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; returns when the application is ready, has failed, or takes longer than PATIENCE."""
        self._task = asyncio.get_running_loop().create_task(self._live())
        try:
            async with asyncio.timeout(PATIENCE):
                await self._changed.wait()
        except TimeoutError:
            self._log.line("the application is still starting")

    async def stop(self) -> None:
        """Ask the application to shut down and wait for it, but not for long."""
        task = self._task
        if task is None:
            return
        if self._phase == _READY:
            self._phase = _STOPPING
            self._stop.set()
            await asyncio.wait((task,), timeout=SHUTDOWN)
            if not task.done():
                self._log.line(f"the application's shutdown took longer than {SHUTDOWN:g} s")
        self._phase = _STOPPED
        task.cancel()
        await asyncio.wait((task,), timeout=1.0)

    async def _live(self) -> None:
        pause = RETRY_LEAST
        while True:
            await self._once()
            if self._phase != _FAILED:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_MOST)
            self._phase = _STARTING
            self.state.clear()

    async def _once(self) -> None:
        """One life, to its end."""
        self._asked = False
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except BaseException as error:
            self._raised(error)
        if self._phase == _STARTING:  # it does not take part, and serves all the same
            self._enter(_READY)

    def _raised(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError) and self._phase == _STOPPED:
            raise error
        if self._phase == _STARTING and self._asked:
            log_failure(self._log, "the application has no life span: it raised when it was told to start", error)
        elif self._phase in (_READY, _STOPPING):
            log_failure(self._log, "the application's life span ended with an exception", error)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and self._phase == _STARTING:
            self._enter(_READY)
        elif kind == "lifespan.startup.failed" and self._phase == _STARTING:
            self._failed(str(message.get("message", "")))
        elif kind == "lifespan.shutdown.failed" and self._phase == _STOPPING:
            self._log.line("the application's shutdown failed")
            for line in str(message.get("message", "")).splitlines():
                self._log.line(f"  {line}")
        elif kind != "lifespan.shutdown.complete" or self._phase != _STOPPING:
            raise RuntimeError(f"a message of type {kind!r} was not expected now")

    def _failed(self, text: str) -> None:
        """Keep the reason: one sentence, then what the application says, which is often a traceback."""
        lines = text.strip().splitlines()
        self.reason = "\n  ".join(
            (f"the application's startup failed: {lines[-1].strip() if lines else ''}", *lines[:-1])
        )
        for line in self.reason.splitlines():
            self._log.line(line)
        self._phase = _FAILED
        self._changed.set()

    def _enter(self, phase: int) -> None:
        self._phase = phase
        self.reason = ""
        self._changed.set()
