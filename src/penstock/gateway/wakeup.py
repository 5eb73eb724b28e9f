"""Asking control for a replica: one message per function however many requests wait, repeated until somebody answers.

The answer is not a reply but the next route update, which lets the waiting requests go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.gateway.routes import FunctionRoute

REPEAT = 1.0
"""Seconds after which a wake is asked for again while requests still wait: control may have been restarting."""


class Wakeup:
    """Keeps one wake under way for each function that needs it."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def ask(self, function: FunctionRoute) -> None:
        """A request has begun to wait for `function`, which has no replica. The first of those that wait asks for all."""
        if len(function.waiting) == 1:
            timer = self._timers.pop(function.key, None)
            if timer is not None:  # of an earlier wake, long answered
                timer.cancel()
            self._ask(function)

    def _ask(self, function: FunctionRoute) -> None:
        if function.waiting and not function.replicas:
            self._send(function.key)
            self._timers[function.key] = self._loop.call_later(REPEAT, self._ask, function)
        else:
            self._timers.pop(function.key, None)
