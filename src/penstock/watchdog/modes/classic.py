"""mode=classic: one process per request, as the classic watchdog has it (contract watchdog §1).

The status is 200 for exit code 0 and 500 for any other; stderr is part of the answer unless `combine_output` is off, and so is
the output of a program that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.core.headers import Field
from penstock.watchdog.call import CLASSIC_METHODS, Call
from penstock.watchdog.cgi import Marshaller, cgi_variables
from penstock.watchdog.modes import Context
from penstock.watchdog.oneshot import Input, Run, Started, fork
from penstock.watchdog.pipes import READ_FIRST
from penstock.watchdog.sniff import LOOK_AT, sniff
from penstock.watchdog.spool import Spool


class Classic:
    """Fork, feed, wait, answer."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def start(self) -> None:
        pass  # nothing runs between requests

    def handle(self, call: Call) -> None:
        request, settings = call.request, self.context.settings
        if request.method not in CLASSIC_METHODS:
            call.respond(405, ((b"Allow", b"DELETE, GET, PATCH, POST, PUT"),))
            return
        variables = cgi_variables(request) if settings.cgi_headers else {}
        Run(self, call, variables, Marshaller(request) if settings.marshal_request else None).begin()

    def unready(self) -> str:
        return ""

    async def stop(self) -> None:
        pass  # the app ends all programs

    # Manner

    def launch(self, variables: Mapping[bytes, bytes], body: Input, on_exit: Callable[[int], None]) -> Started:
        return fork(self.context, variables, body, on_exit, combine=self.context.settings.combine_output)

    def success(self, call: Call, output: Spool) -> tuple[Field, ...]:
        """Content-Type by contract §1.3: configured, else the request's, else guessed; none for no output."""
        if self.context.settings.write_debug:
            self.context.log.out.write(output.head(READ_FIRST))  # as it is, contract §1.9
        configured = self.context.settings.content_type
        if configured:
            kind: tuple[Field, ...] = ((b"Content-Type", configured.encode("utf-8", "surrogateescape")),)
        elif asked := call.request.get(b"content-type"):
            kind = ((b"Content-Type", asked),)
        else:
            kind = ((b"Content-Type", sniff(output.head(LOOK_AT))),) if output.size else ()
        return (*kind, call.duration())

    def failure(self, call: Call, reason: str, output: Spool) -> tuple[tuple[Field, ...], bytes, bool]:
        if self.context.settings.write_debug:
            self.context.log.line(f"Success=false, Error={reason}", call.call_id)
            self.context.log.line(f"Out={output.head(READ_FIRST).decode('utf-8', 'surrogateescape')}", call.call_id)
        opening = reason.encode() + b"\n"
        return ((b"Content-Type", sniff(opening + output.head(LOOK_AT))),), opening, True

    def late(self, call: Call) -> None:
        call.refuse(408, "Killed process.")

    def impossible(self, call: Call, reason: str) -> None:
        call.refuse(500, reason)
