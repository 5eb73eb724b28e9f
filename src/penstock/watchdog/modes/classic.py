"""mode=classic: one process per request, its output answered whole once its exit code is known (contract watchdog §1).

Small bodies are gathered before anything is started, larger ones flow into the process as they come. The status is 200 for
exit code 0 and 500 for any other; stderr is part of the answer unless `combine_output` is off.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping

from penstock.core.headers import Field
from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.watchdog.cgi import Marshaller, cgi_variables
from penstock.watchdog.filesend import FileSender
from penstock.watchdog.modes import Context
from penstock.watchdog.pipes import READ_FIRST, PipeReader, Pipes, PipeWriter
from penstock.watchdog.sniff import LOOK_AT, sniff
from penstock.watchdog.spawn import Child, SpawnFailed, describe_exit
from penstock.watchdog.spool import Spool

METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"})
"""Others get 405, as the classic watchdog has it."""
GATHER_MOST = 1 << 20
"""Bytes of a body that are waited for before the program is started."""


class Classic:
    """Fork, feed, wait, answer."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def start(self) -> None:
        pass  # nothing runs between requests

    def handle(self, call: Call) -> None:
        request = call.request
        if request.method not in METHODS:
            call.respond(405, ((b"Allow", b"DELETE, GET, PATCH, POST, PUT"),))
            return
        variables = cgi_variables(request) if self.context.settings.cgi_headers else {}
        Invocation(self.context, call, variables).begin()

    def unready(self) -> str:
        return ""

    async def stop(self) -> None:
        pass  # the app ends all programs


class Invocation:
    """One run of the program. Listens to the request body and to the client."""

    __slots__ = (
        "_body",
        "_call",
        "_child",
        "_context",
        "_ended",
        "_gathered",
        "_marshaller",
        "_output",
        "_over",
        "_queued",
        "_reader",
        "_sender",
        "_stderr",
        "_stdin",
        "_timer",
        "_variables",
    )

    def __init__(self, context: Context, call: Call, variables: Mapping[bytes, bytes]) -> None:
        self._context = context
        self._call = call
        self._variables = variables
        self._body: list[bytes] = []
        self._gathered = 0
        self._marshaller = Marshaller(call.request) if context.settings.marshal_request else None
        self._output = Spool(context.settings.tmpdir)
        self._child: Child | None = None
        self._stdin: PipeWriter | None = None
        self._reader: PipeReader | None = None
        self._stderr: PipeReader | None = None
        self._sender: FileSender | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self._over = False
        self._queued = False

    def begin(self) -> None:
        self._call.exchange.attach(self)
        if not self._call.request.has_body:
            self.body_end()

    # Listener

    def body(self, data: bytes) -> None:
        if self._over:
            return
        if self._marshaller is not None:
            data = self._marshaller.feed(data)
        if self._stdin is not None:
            self._stdin.write(data)
            return
        self._body.append(data)
        self._gathered += len(data)
        if self._gathered > GATHER_MOST:
            self._start()

    def body_end(self) -> None:
        if self._ended or self._over:
            return
        self._ended = True
        if self._marshaller is not None:
            closing = self._marshaller.end()
            if self._stdin is not None:
                self._stdin.write(closing)
            else:
                self._body.append(closing)
                self._gathered += len(closing)
        if self._stdin is not None:
            self._stdin.end()
        else:
            self._start()

    def client_gone(self) -> None:
        self._close()
        self._call.end(CLIENT_GONE)

    def writable(self, ready: bool) -> None:
        if self._sender is not None:
            self._sender.writable(ready)

    # The program

    def _start(self) -> None:
        """Start the program when its turn comes; meanwhile the client waits too."""
        if self._queued:
            return
        self._queued = True
        self._context.spawner.enqueue(self._launch)
        if self._child is None and not self._ended:
            self._call.exchange.pause()

    def _launch(self) -> None:
        if self._over:
            return
        timeout = self._call.timeout
        if timeout > 0:
            self._timer = self._context.loop.call_later(timeout, self._expire)
        self._call.exchange.resume()
        try:
            self._spawn()
        except SpawnFailed as error:
            self._fail(error)
        except OSError as error:
            self._fail(SpawnFailed(f"no pipe for the program: {error.strerror}", error.errno or 0))

    def _spawn(self) -> None:
        """Start the program with its pipes. A body that fits into the pipe is written, and the pipe closed, beforehand."""
        spawner, loop, call = self._context.spawner, self._context.loop, self._call
        body, self._body = b"".join(self._body), []
        stdin, feed, errors = spawner.null, -1, -1
        with Pipes() as pipes:
            stdout, out = pipes.outward()
            stderr = stdout
            if not self._context.settings.combine_output:
                stderr, errors = pipes.outward()
            if body or not self._ended:
                stdin, feed = pipes.inward()
            if self._ended and 0 < len(body) <= READ_FIRST:
                body = _prefill(feed, body)
                if not body:
                    pipes.close_early(feed)
                    feed = -1
            self._child = spawner.spawn(self._variables, (stdin, stdout, stderr), self._exited)
        self._reader = PipeReader(loop, out, self._collect, _ignore)
        if errors >= 0:
            lines = self._context.log.lines("stderr", call.call_id)
            self._stderr = PipeReader(loop, errors, lines.feed, lines.end)
        if feed >= 0:
            self._stdin = PipeWriter(loop, feed, call.exchange.pause, call.exchange.resume)
            self._stdin.write(body)
            if self._ended:
                self._stdin.end()

    def _collect(self, data: bytes) -> None:
        try:
            self._output.feed(data)
        except OSError as error:
            where = self._context.settings.tmpdir
            self._fail(SpawnFailed(f"the output is too large to keep in {where}: {error.strerror}"))

    def _expire(self) -> None:
        """The time is up: kill, and answer at once, whoever still holds the pipes."""
        self._timer = None
        fprocess, seconds = self._context.settings.fprocess, self._call.timeout
        self._context.log.line(f"Killing process: {fprocess} (exec_timeout {seconds:g}s)", self._call.call_id)
        self._close()
        self._call.refuse(408, "Killed process.")

    def _exited(self, status: int) -> None:
        if self._over:
            return
        if self._stdin is not None:
            self._stdin.stop()
        if self._stderr is not None:
            self._stderr.conclude()
        if self._reader is not None:
            self._reader.conclude()
        self._child = None
        if not self._over:
            self._answer(status)

    # The answer

    def _answer(self, status: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        call, output = self._call, self._output
        if status == 0:
            self._send(200, (*self._success_fields(), call.duration()), b"")
            return
        reason = describe_exit(status)
        self._context.log.line(f"{self._context.settings.fprocess}: {reason}", call.call_id)
        if self._context.settings.write_debug:
            self._context.log.line(f"Success=false, Error={reason}", call.call_id)
            self._context.log.line(f"Out={output.head(READ_FIRST).decode('utf-8', 'surrogateescape')}", call.call_id)
        opening = reason.encode() + b"\n"
        self._send(500, ((b"Content-Type", sniff(opening + output.head(LOOK_AT))),), opening)

    def _success_fields(self) -> tuple[Field, ...]:
        """Content-Type by contract §1.3: configured, else the request's, else guessed; none for no output."""
        configured = self._context.settings.content_type
        if configured:
            return ((b"Content-Type", configured.encode("utf-8", "surrogateescape")),)
        asked = self._call.request.get(b"content-type")
        if asked:
            return ((b"Content-Type", asked),)
        return ((b"Content-Type", sniff(self._output.head(LOOK_AT))),) if self._output.size else ()

    def _send(self, status: int, fields: tuple[Field, ...], opening: bytes) -> None:
        call, output = self._call, self._output
        if status == 200:
            self._debug()
        if not output.on_disk:
            self._over = True
            call.respond(status, fields, opening + output.whole() if opening else output.whole())
            return
        call.start(status, fields, len(opening) + output.size)
        call.exchange.write(opening)
        self._sender = FileSender(self._context.loop, call.exchange, output.take_file(), 0, output.size, self._sent)
        self._sender.start()

    def _sent(self, complete: bool) -> None:
        self._over = True
        if complete:
            self._call.finish()
        else:
            self._call.cut()

    def _debug(self) -> None:
        """With `write_debug` the output is copied to stdout as it is (contract §1.9)."""
        if self._context.settings.write_debug:
            self._context.log.out.write(self._output.head(READ_FIRST))

    def _fail(self, error: SpawnFailed) -> None:
        self._context.log.line(str(error), self._call.call_id)
        self._close()
        if error.number == errno.E2BIG:
            self._call.refuse(431, "the request's header does not fit into the program's environment")
        else:
            self._call.refuse(500, str(error))

    def _close(self) -> None:
        """Let go of everything; the program, if it runs, is killed."""
        self._over = True
        for part in (self._stdin, self._reader, self._sender):
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
        self._body.clear()
        self._output.close()


def _prefill(feed: int, body: bytes) -> bytes:
    """Write what fits into the empty pipe; returns the rest."""
    os.set_blocking(feed, False)
    try:
        return body[os.write(feed, body) :]
    except BlockingIOError:
        return body


def _ignore() -> None:
    """The end of the output says nothing; the end of the program does."""
