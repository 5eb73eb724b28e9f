"""mode=wsgi: a WSGI application served in the watchdog itself, each request in one of `python_threads` threads.

The watchdog imports the application. How a request meets it is `watchdog.wsgi`; a thread that does not come back in time costs
the process, which is replaced.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from penstock.watchdog.call import Call
from penstock.watchdog.modes import Context
from penstock.watchdog.threads import Threads
from penstock.watchdog.wsgi import App, Environ, WsgiRun
from penstock.wire.timeouts import Sweeper

BACKGROUND = 5.0
"""Seconds that threads which have answered get to end their work when the watchdog stops."""
LOST_AFTER = 0.5
"""Seconds that an application gets to return after its deadline, before its thread counts as lost."""
TICK = 0.05
"""Seconds between looks at the deadlines."""


class Wsgi:
    """Serve the application."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self.app: App = context.application.target
        self.loop = context.loop
        self.log = context.log
        self.sweeper = Sweeper(context.loop, TICK)
        self.running: set[Any] = set()
        self.facts: Environ = {
            "wsgi.multithread": settings.python_threads > 1,
            "wsgi.multiprocess": settings.python_workers > 1,
        }
        self._leave = context.leave
        self._threads: Threads[WsgiRun] = Threads(context.loop, settings.python_threads, WsgiRun.work)
        self.post = self._threads.post
        self._unfit = why_unfit(self.app)

    async def start(self) -> None:
        if self._unfit:
            self.log.line(self._unfit)

    def handle(self, call: Call) -> None:
        if self._unfit:
            call.refuse(503, f"the function is not ready: {self._unfit}")
            return
        run = WsgiRun(self, call)
        if run.begin():
            self._threads.submit(run)

    def unready(self) -> str:
        return self._unfit

    async def stop(self) -> None:
        """Threads that have answered get a moment to end their work; others cannot be stopped, and end with the process."""
        deadline = self.loop.time() + BACKGROUND
        while any(run.complete for run in list(self.running)) and self.loop.time() < deadline:  # noqa: ASYNC110 - no thread tells
            await asyncio.sleep(0.01)
        self._threads.close()

    def lost(self, run: WsgiRun) -> None:
        """The time of a run is over while its thread is at work."""
        self.loop.call_later(LOST_AFTER, self._look_after, run)

    def _look_after(self, run: WsgiRun) -> None:
        if run in self.running:
            self._leave(f"a call did not return within {run.call.timeout:g} s and its thread is lost")


def why_unfit(app: Any) -> str:
    """Why something callable is no WSGI application, as one sentence; empty when it may be one."""
    name = getattr(app, "__qualname__", type(app).__qualname__)
    if any(inspect.iscoroutinefunction(one) for one in (app, getattr(app, "__call__", None))):  # noqa: B004 - the method itself
        return f"{name} is asynchronous, as an ASGI application is: set mode=asgi"
    try:
        inspect.signature(app).bind(0, 1)
    except ValueError:
        return ""  # compiled code need not tell
    except TypeError:
        return f"{name} is not a WSGI application: it must take environ and start_response"
    return ""
