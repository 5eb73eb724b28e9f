"""In place of a mode whose function could not be imported: never ready, and every call is told so.

The app chooses it when the application has a failure. The whole failure is the answer of `/_/ready`; callers get its sentence.
"""

from __future__ import annotations

from penstock.watchdog.call import Call
from penstock.watchdog.modes import Context


class Broken:
    """Answers 503."""

    def __init__(self, context: Context) -> None:
        self._failure = context.application.failure

    async def start(self) -> None:
        """Nothing can begin."""

    def handle(self, call: Call) -> None:
        call.refuse(503, f"the function cannot be used: {self._failure.partition(chr(10))[0]}")

    def unready(self) -> str:
        return self._failure

    async def stop(self) -> None:
        """Nothing has begun."""
