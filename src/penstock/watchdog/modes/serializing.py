"""mode=serializing: one process per request, its stdout answered whole once its exit code is known (contract watchdog §2.5).

The status is 200 for exit code 0 and 500 for any other, with the reason alone as the body; stderr goes to the log. Every
method reaches the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.core.headers import Field
from penstock.watchdog.call import INTERNAL, Call
from penstock.watchdog.cgi import cgi_variables
from penstock.watchdog.modes import Context
from penstock.watchdog.oneshot import Input, Run, Started, fork
from penstock.watchdog.spool import Spool


class Serializing:
    """Fork, feed, wait, answer."""

    def __init__(self, context: Context) -> None:
        self.context = context
        kind = context.settings.content_type or "application/octet-stream"
        self._kind: Field = (b"Content-Type", kind.encode("utf-8", "surrogateescape"))

    async def start(self) -> None:
        pass  # nothing runs between requests

    def handle(self, call: Call) -> None:
        variables = cgi_variables(call.request) if self.context.settings.cgi_headers else {}
        Run(self, call, variables).begin()

    def unready(self) -> str:
        return ""

    async def stop(self) -> None:
        pass  # the app ends all programs

    # Manner

    def launch(self, variables: Mapping[bytes, bytes], body: Input, on_exit: Callable[[int], None]) -> Started:
        return fork(self.context, variables, body, on_exit)

    def success(self, call: Call, output: Spool) -> tuple[Field, ...]:
        return (self._kind, call.duration())

    def failure(self, call: Call, reason: str, output: Spool) -> tuple[tuple[Field, ...], bytes, bool]:
        return (self._kind, call.duration()), reason.encode(), False

    def late(self, call: Call) -> None:
        call.respond(500, (self._kind, call.duration(), INTERNAL), b"signal: killed")

    def impossible(self, call: Call, reason: str) -> None:
        body = reason.encode("utf-8", "backslashreplace")
        call.respond(500, (self._kind, call.duration(), INTERNAL), body)
