"""One run of a program for one request: fed, its output kept until its exit code is known, then answered whole.

The modes `classic`, `serializing` and `prefork` make a `Run` for every call and say, as its `Manner`, where the program comes
from and what its end means to the client. Small bodies are gathered before anything is started, larger ones flow as they come.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from penstock.core.headers import Field
from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.watchdog.cgi import Marshaller
from penstock.watchdog.filesend import FileSender
from penstock.watchdog.modes import Context
from penstock.watchdog.pipes import READ_FIRST, PipeReader, Pipes, PipeWriter, unread
from penstock.watchdog.spawn import Child, SpawnFailed, describe_exit
from penstock.watchdog.spool import Spool

GATHER_MOST = 1 << 20
"""Bytes of a body that are waited for before the program is started."""


class Started(NamedTuple):
    """A program and our ends of its pipes, -1 where there is none."""

    child: Child
    feed: int
    out: int
    errors: int
    rest: bytes
    """Of the body that was at hand, what is still to be written."""
    witness: int = -1
    """The program's end of its stdin, for a program that may have died before the request came: what it never read shows there."""


class Input(NamedTuple):
    """What there is of a request's body when its program starts; `whole` when that is all."""

    data: bytes
    whole: bool


class Manner(Protocol):
    """What a mode decides about its runs. The answers are given through the call."""

    context: Context

    def launch(self, variables: Mapping[bytes, bytes], body: Input, on_exit: Callable[[int], None]) -> Started:
        """A program for this run. Raises SpawnFailed or OSError."""

    def success(self, call: Call, output: Spool) -> tuple[Field, ...]:
        """The fields of the 200 whose body is the output."""

    def failure(self, call: Call, reason: str, output: Spool) -> tuple[tuple[Field, ...], bytes, bool]:
        """For a program that failed: the fields of the 500, what its body begins with, and whether the output follows."""

    def late(self, call: Call) -> None:
        """Answer a call whose time was up; the program is killed."""

    def impossible(self, call: Call, reason: str) -> None:
        """Answer a call whose program could not be run to its end."""


def fork(
    context: Context,
    variables: Mapping[bytes, bytes],
    body: Input,
    on_exit: Callable[[int], None],
    *,
    combine: bool = False,
) -> Started:
    """Start the program with pipes of its own. With `combine` its stderr is its stdout. A body that fits into the pipe is
    written, and the pipe closed, beforehand. Raises SpawnFailed or OSError."""
    rest, feed, errors = body.data, -1, -1
    stdin = context.spawner.null
    with Pipes() as pipes:
        stdout, out = pipes.outward()
        stderr = stdout
        if not combine:
            stderr, errors = pipes.outward()
        if rest or not body.whole:
            stdin, feed = pipes.inward()
        if body.whole and 0 < len(rest) <= READ_FIRST:
            rest = _prefill(feed, rest)
            if not rest:
                pipes.close_early(feed)
                feed = -1
        child = context.spawner.spawn(variables, (stdin, stdout, stderr), on_exit)
    return Started(child, feed, out, errors, rest)


class Run:
    """One run of the program. Listens to the request body and to the client."""

    __slots__ = (
        "_body",
        "_call",
        "_child",
        "_context",
        "_ended",
        "_gathered",
        "_manner",
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
        "_witness",
    )

    def __init__(
        self, manner: Manner, call: Call, variables: Mapping[bytes, bytes], marshaller: Marshaller | None = None
    ) -> None:
        self._manner = manner
        self._context = manner.context
        self._call = call
        self._variables = variables
        self._body: list[bytes] = []
        self._gathered = 0
        self._marshaller = marshaller
        self._output = Spool(manner.context.settings.tmpdir)
        self._child: Child | None = None
        self._stdin: PipeWriter | None = None
        self._reader: PipeReader | None = None
        self._stderr: PipeReader | None = None
        self._sender: FileSender | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._witness = -1
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
            self._connect()
        except SpawnFailed as error:
            self._fail(error)
        except OSError as error:
            self._fail(_no_pipe(error))

    def _connect(self) -> None:
        """Get a program and listen to it."""
        data = b"".join(self._body)
        body = Input(data, self._ended)
        started = self._manner.launch(self._variables, body, self._exited)
        if started.witness >= 0 and body.whole and 0 < len(data) <= READ_FIRST:
            self._witness = started.witness
            self._body = [data]
        else:
            if started.witness >= 0:
                os.close(started.witness)
            self._body = []
        self._attend(started)

    def _attend(self, started: Started) -> None:
        """Listen to the program and write what is at hand for it."""
        loop, call = self._context.loop, self._call
        self._child = started.child
        self._reader = PipeReader(loop, started.out, self._collect, _ignore)
        if started.errors >= 0:
            lines = self._context.log.lines("stderr", call.call_id)
            self._stderr = PipeReader(loop, started.errors, lines.feed, lines.end)
        if started.feed >= 0:
            self._stdin = PipeWriter(loop, started.feed, call.exchange.pause, call.exchange.resume)
            self._stdin.write(started.rest)
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
        self._manner.late(self._call)

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
            if status and not self._output.size and self._was_dead():
                self._repeat()
            else:
                self._answer(status)

    def _was_dead(self) -> bool:
        """Whether the program has read not one byte of the request, as one that had died before it was handed out."""
        if self._witness < 0:
            return False
        return unread(self._witness) == len(self._body[0])

    def _repeat(self) -> None:
        """Run a program of the request's own instead: nobody has seen the request yet."""
        try:
            self._attend(fork(self._context, self._variables, Input(self._body[0], True), self._exited))
        except SpawnFailed as error:
            self._fail(error)
        except OSError as error:
            self._fail(_no_pipe(error))
        self._forget_witness()

    def _forget_witness(self) -> None:
        if self._witness >= 0:
            os.close(self._witness)
            self._witness = -1

    # The answer

    def _answer(self, status: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        call, output = self._call, self._output
        if status == 0:
            self._send(200, self._manner.success(call, output), b"", True)
            return
        reason = describe_exit(status)
        self._context.log.line(f"{self._context.settings.fprocess}: {reason}", call.call_id)
        self._send(500, *self._manner.failure(call, reason, output))

    def _send(self, status: int, fields: tuple[Field, ...], opening: bytes, with_output: bool) -> None:
        call, output = self._call, self._output
        self._forget_witness()
        if with_output and output.on_disk:
            call.start(status, fields, len(opening) + output.size)
            call.exchange.write(opening)
            self._sender = FileSender(self._context.loop, call.exchange, output.take_file(), 0, output.size, self._sent)
            self._sender.start()
            return
        self._over = True
        body = output.whole() if with_output else b""
        call.respond(status, fields, opening + body if opening else body)
        output.close()

    def _sent(self, complete: bool) -> None:
        self._over = True
        if complete:
            self._call.finish()
        else:
            self._call.cut()

    def _fail(self, error: SpawnFailed) -> None:
        self._context.log.line(str(error), self._call.call_id)
        self._close()
        if error.number == errno.E2BIG:
            self._call.refuse(431, "the request's header does not fit into the program's environment")
        else:
            self._manner.impossible(self._call, str(error))

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
        self._forget_witness()
        self._body.clear()
        self._output.close()


def _prefill(feed: int, body: bytes) -> bytes:
    """Write what fits into the empty pipe; returns the rest."""
    os.set_blocking(feed, False)
    try:
        return body[os.write(feed, body) :]
    except BlockingIOError:
        return body


def _no_pipe(error: OSError) -> SpawnFailed:
    return SpawnFailed(f"no pipe for the program: {error.strerror}", error.errno or 0)


def _ignore() -> None:
    """The end of the output says nothing; the end of the program does."""
