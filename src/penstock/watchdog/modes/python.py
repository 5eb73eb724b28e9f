"""mode=python: the handler is called in this process, on the loop or in a thread (contract watchdog §5.4)."""

from __future__ import annotations

from penstock.watchdog.call import Call
from penstock.watchdog.modes import Context


class Python:
    """Calls the handler."""

    def __init__(self, context: Context) -> None:
        self._target = context.application.target

    async def start(self) -> None:
        """Nothing to begin."""

    def handle(self, call: Call) -> None:
        call.respond(200, (), b"hello")

    def unready(self) -> str:
        return ""

    async def stop(self) -> None:
        """Nothing has begun."""
