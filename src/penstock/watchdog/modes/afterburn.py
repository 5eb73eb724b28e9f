"""mode=afterburn: programs that are started once and serve many requests, as HTTP/1.1 over their stdin and stdout.

The idea of FastCGI with plain HTTP: what starts slowly, such as a JVM, starts before there is a request. Requests are relayed
to the programs of a pool, each of which has one at a time; docs/reference/afterburn-protocol.md is the other side of it.
"""

from __future__ import annotations

from penstock.watchdog.call import Call
from penstock.watchdog.modes import Context
from penstock.watchdog.passage import Passage, request_head
from penstock.watchdog.processpool import ProcessPool
from penstock.wire.relay import Failure


class Afterburn:
    """Keep a pool and relay."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.connections = ProcessPool(context)

    async def start(self) -> None:
        self.connections.start()

    def handle(self, call: Call) -> None:
        Passage(self, call).go(request_head(call.request))

    def unready(self) -> str:
        return self.connections.unready

    async def stop(self) -> None:
        await self.connections.stop()

    def failed(self, call: Call, failure: Failure) -> None:
        """Answer for the program."""
        if failure.reason == "connect":
            call.refuse(503, f"the function is not ready: {self.connections.trouble}", ((b"Retry-After", b"1"),))
            return
        self._context.log.line(f"no answer from the program: {failure.reason}: {failure.detail}", call.call_id)
        if failure.reason == "timeout":
            call.refuse(504, f"the function gave no complete answer within {call.timeout:g} s", (call.duration(),))
        else:
            call.refuse(502, f"the function did not answer: {failure.detail}", (call.duration(),))
