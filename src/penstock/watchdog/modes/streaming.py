"""mode=streaming: one process per request, its stdin and stdout live on the connection (contract watchdog §2.4).

Body and output flow at the same time, each at the pace of the slower side, so memory does not grow with them. A failure before
the first byte of output is an error status; after it the answer is cut, so that nobody takes a part for the whole. With
`streaming_errors` off it is a complete answer with status 200 in any case, as the original has it, and a line in the log.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping

from penstock.core.headers import Field
from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.watchdog.cgi import cgi_variables
from penstock.watchdog.handover import Inlet, Outlet, joint_before, joint_behind
from penstock.watchdog.modes import Context
from penstock.watchdog.pipes import PipeReader, Pipes, PipeWriter
from penstock.watchdog.spawn import Child, SpawnFailed, describe_exit


class Streaming:
    """Fork and connect."""

    def __init__(self, context: Context) -> None:
        self.context = context
        kind = context.settings.content_type or "application/octet-stream"
        self.fields: tuple[Field, ...] = ((b"Content-Type", kind.encode("utf-8", "surrogateescape")),)

    async def start(self) -> None:
        pass  # nothing runs between requests

    def handle(self, call: Call) -> None:
        variables = cgi_variables(call.request) if self.context.settings.cgi_headers else {}
        Stream(self.context, call, self.fields, variables).begin()

    def unready(self) -> str:
        return ""

    async def stop(self) -> None:
        pass  # the app ends all programs


class Stream:
    """One run of the program. Listens to the request body and to the client."""

    __slots__ = (
        "_attached",
        "_call",
        "_child",
        "_context",
        "_drained",
        "_early",
        "_ended",
        "_fields",
        "_outlet",
        "_over",
        "_reader",
        "_status",
        "_stderr",
        "_stdin",
        "_timer",
        "_variables",
    )

    def __init__(
        self, context: Context, call: Call, fields: tuple[Field, ...], variables: Mapping[bytes, bytes]
    ) -> None:
        self._context = context
        self._call = call
        self._fields = fields
        self._variables = variables
        self._early: list[bytes] = []
        """What had arrived of the body before the program was started."""
        self._attached = False
        self._ended = False
        self._child: Child | None = None
        self._stdin: PipeWriter | Inlet | None = None
        self._outlet: Outlet | None = None
        self._reader: PipeReader | None = None
        self._stderr: PipeReader | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._status: int | None = None
        self._drained = False
        self._over = False

    def begin(self) -> None:
        """Start the program when its turn comes, then let the body come."""
        self._context.spawner.enqueue(self._launch)
        if self._child is None and not self._over:
            self._attached = True
            self._call.exchange.attach(self)
            if not self._ended:
                self._call.exchange.pause()

    def _launch(self) -> None:
        if self._over:
            return
        try:
            self._spawn()
        except SpawnFailed as error:
            self._refuse(error)
            return
        except OSError as error:
            self._refuse(SpawnFailed(f"no pipe for the program: {error.strerror}", error.errno or 0))
            return
        if self._call.timeout > 0:
            self._timer = self._context.loop.call_later(self._call.timeout, self._expire)
        if not self._attached:
            self._call.exchange.attach(self)
            return
        self._call.exchange.resume()
        early, self._early = self._early, []
        for data in early:
            self.body(data)
        if self._ended:
            self.body_end()

    # Listener

    def body(self, data: bytes) -> None:
        if self._stdin is not None:
            self._stdin.write(data)
        elif self._child is None and not self._over:
            self._early.append(data)

    def body_end(self) -> None:
        self._ended = True
        if self._stdin is not None:
            self._stdin.end()

    def client_gone(self) -> None:
        self._close()
        self._call.end(CLIENT_GONE)

    def writable(self, ready: bool) -> None:
        if self._reader is None:
            return
        if ready:
            self._reader.resume()
        else:
            self._reader.pause()

    # The program

    def _spawn(self) -> None:
        spawner, loop, call = self._context.spawner, self._context.loop, self._call
        stdin, feed = spawner.null, -1
        with Pipes() as pipes:
            (stdout, out), (stderr, errors) = pipes.outward(), pipes.outward()
            if call.request.has_body:
                stdin, feed = pipes.inward()
            self._child = spawner.spawn(self._variables, (stdin, stdout, stderr), self._exited)
        lines = self._context.log.lines("stderr", call.call_id)
        self._reader = PipeReader(loop, out, self._output, self._output_end)
        self._stderr = PipeReader(loop, errors, lines.feed, lines.end)
        if feed >= 0:
            key = joint_before(call.request)
            if key:
                self._stdin = Inlet(loop, feed, call.exchange, key)
            else:
                self._stdin = PipeWriter(loop, feed, call.exchange.pause, call.exchange.resume)
        key = joint_behind(call.request)
        if key and not self._context.settings.access_log:  # which tells the size of each answer
            self._outlet = Outlet(key)

    def _output(self, data: bytes) -> None:
        call = self._call
        if not call.exchange.head_sent:
            call.start(200, self._fields)
            call.size = 0
        call.size += len(data)
        call.exchange.write(data)
        running = self._status is None
        if self._outlet is not None and running and self._reader is not None:
            self._drained = self._outlet.hand_over(self._reader, call.size)

    def _output_end(self) -> None:
        self._drained = True
        if self._status is not None:
            self._conclude(self._status)

    def _exited(self, status: int) -> None:
        """The program ended; what it wrote may still wait in the pipe for a slow client."""
        self._child = None
        if self._over:
            return
        self._status = status
        if self._stdin is not None:
            self._stdin.stop()
        if self._stderr is not None:
            self._stderr.conclude()
        if self._drained:
            self._conclude(status)
        elif self._reader is not None:
            self._reader.conclude()

    def _expire(self) -> None:
        self._timer = None
        fprocess, seconds = self._context.settings.fprocess, self._call.timeout
        self._context.log.line(f"Killing process: {fprocess} (exec_timeout {seconds:g}s)", self._call.call_id)
        self._close()
        self._fail(504, f"the program gave no output within {seconds:g} s and was killed")

    # The answer

    def _conclude(self, status: int) -> None:
        self._close()
        call = self._call
        if status == 0:
            self._debug()
            self._complete()
            return
        reason = describe_exit(status)
        self._context.log.line(f"{self._context.settings.fprocess}: {reason}", call.call_id)
        self._fail(500, reason)

    def _complete(self) -> None:
        if self._call.exchange.head_sent:
            self._call.finish()
        else:
            self._call.respond(200, self._fields)

    def _fail(self, status: int, reason: str) -> None:
        if not self._context.settings.streaming_errors:
            self._call.logged = 500  # as the original: the client is not told, the log is
            self._complete()
        elif self._call.exchange.head_sent:
            self._call.cut()
        else:
            self._call.refuse(status, reason)

    def _debug(self) -> None:
        if self._context.settings.write_debug:
            self._context.log.line(f"200 duration {self._call.elapsed():.6f}s", self._call.call_id)

    def _refuse(self, error: SpawnFailed) -> None:
        self._close()
        self._context.log.line(str(error), self._call.call_id)
        if error.number == errno.E2BIG:
            self._call.refuse(431, "the request's header does not fit into the program's environment")
        else:
            self._fail(500, str(error))

    def _close(self) -> None:
        """Let go of everything; the program, if it runs, is killed."""
        self._over = True
        for part in (self._stdin, self._reader, self._outlet):
            if part is not None:
                part.close()
        if self._stderr is not None:
            self._stderr.conclude()  # its last words belong in the log
        if self._child is not None:
            self._child.kill()
            self._child = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
