"""mode=asgi: an ASGI 3.0 application served in the watchdog itself, without a second server behind it.

The watchdog imports the application, runs its life span, and answers each request in a task of its own. HTTP, streaming and
WebSockets are in `watchdog.asgi`; this module decides which of them a request meets.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from penstock.watchdog.asgi.http import HttpRun
from penstock.watchdog.asgi.lifespan import Lifespan
from penstock.watchdog.asgi.scope import App, http_scope
from penstock.watchdog.call import Call
from penstock.watchdog.modes import Context
from penstock.wire.timeouts import Sweeper

BACKGROUND = 5.0
"""Seconds that tasks which have answered get to end their work when the watchdog stops."""
TICK = 0.05
"""Seconds between looks at the deadlines."""


class Asgi:
    """Serve the application."""

    def __init__(self, context: Context) -> None:
        self.app: App = context.application.target
        self.loop = context.loop
        self.log = context.log
        self.sweeper = Sweeper(context.loop, TICK)
        self.running: set[Any] = set()
        self._lifespan = Lifespan(self.app, context.log)
        self._unfit = why_unfit(self.app)

    async def start(self) -> None:
        if self._unfit:
            self.log.line(self._unfit)
        else:
            await self._lifespan.start()

    def handle(self, call: Call) -> None:
        lifespan, request = self._lifespan, call.request
        if self._unfit or lifespan.reason:
            reason = self.unready().partition("\n")[0]
            call.refuse(503, f"the function is not ready: {reason}", ((b"Retry-After", b"1"),))
        elif request.upgrade and request.upgrade.lower() == b"websocket":
            from penstock.watchdog.asgi.websocket import open_websocket

            open_websocket(self, call, lifespan.state)
        else:
            scope, endless = http_scope(request, call.exchange.peer, lifespan.state)
            HttpRun(self, call).begin(scope, endless)

    def unready(self) -> str:
        return self._unfit or self._lifespan.reason

    async def stop(self) -> None:
        """Whoever still owes an answer is cancelled, since nobody can receive it; other work gets a moment to end."""
        for run in list(self.running):
            if not run.complete:
                run.cancel()
        await self._wait(BACKGROUND)
        for run in list(self.running):
            run.cancel()
        await self._wait(1.0)
        await self._lifespan.stop()

    async def _wait(self, seconds: float) -> None:
        tasks = [run.task for run in self.running]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)


def why_unfit(app: Any) -> str:
    """Why something callable is no ASGI 3.0 application, as one sentence; empty when it may be one."""
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return ""  # compiled code need not tell
    if _takes(signature, 3):
        return ""
    name = getattr(app, "__qualname__", type(app).__qualname__)
    if _takes(signature, 2):
        return f"{name} takes two arguments, as a WSGI application does: set mode=wsgi"
    if _takes(signature, 1):
        return (
            f"{name} takes one argument, as an ASGI 2 application does: only ASGI 3 (scope, receive, send) is supported"
        )
    if _takes(signature, 0):
        return f"{name} takes no argument: handler must name the application itself, not a function that makes it"
    return f"{name} is not an ASGI application: it must take scope, receive and send"


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
