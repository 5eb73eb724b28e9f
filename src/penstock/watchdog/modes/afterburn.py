"""mode=afterburn: programs that are started once and serve many requests, as HTTP/1.1 over their stdin and stdout.

The idea of FastCGI with plain HTTP: what starts slowly, such as a JVM, starts before there is a request. Requests are relayed
to the programs of a pool, each of which has one at a time; docs/reference/afterburn-protocol.md is the other side of it.
"""

from __future__ import annotations

import functools

from penstock.watchdog.call import Call
from penstock.watchdog.modes import Context
from penstock.watchdog.passage import Gathering, Passage, request_head
from penstock.watchdog.processpool import ProcessPool
from penstock.wire.relay import Failure

HEAD_MOST = 64 << 10
"""Bytes of a request's head; more is answered 431. Libraries on the other side need a limit that they can rely on."""
GATHER_MOST = 1 << 20
"""Bytes of an announced body that is waited for before a program is taken: a slow client must not occupy one, and one that
leaves in the middle would cost it its life. Longer ones, and chunked ones, flow."""


class Afterburn:
    """Keep a pool and relay."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.connections = ProcessPool(context)

    async def start(self) -> None:
        self.connections.start()

    def handle(self, call: Call) -> None:
        request = call.request
        head = request_head(request)
        if len(head) > HEAD_MOST:
            call.refuse(431, f"the head of a request to this function may have at most {HEAD_MOST} bytes")
        elif 0 < (request.content_length or 0) <= GATHER_MOST:
            call.exchange.attach(Gathering(call, GATHER_MOST, functools.partial(Passage(self, call).go, head)))
        else:
            Passage(self, call).go(head)

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
