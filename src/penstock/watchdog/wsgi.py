"""One request answered by a WSGI application (PEP 3333) in a thread: its environ, its input, its start_response.

Mode `wsgi` makes a `WsgiRun` for each call. The thread reads and writes at the client's pace by waiting; the loop owns the exchange,
and is told what to do with it by `post`. Whatever becomes of the thread, the call ends once.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol

from penstock.core.headers import Field, field_lines
from penstock.watchdog.answers import check_size, check_status, is_bodyless, own_fields, send_whole
from penstock.watchdog.asgi.scope import Disconnected, host_and_port, is_endless, last_forwarded, scheme_of
from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.watchdog.cgi import decode_path
from penstock.watchdog.failures import caused_by, log_failure
from penstock.watchdog.logs import Log
from penstock.wire.message import RequestHead
from penstock.wire.timeouts import NEVER, Sweeper

BODY_BUFFER = 64 << 10
"""Bytes of a request body that wait for the application; beyond, the client waits."""
AHEAD = 256 << 10
"""Bytes that an application may be ahead of its client."""

Environ = dict[str, Any]
ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Host(Protocol):
    """What a run needs of its mode. `running` holds runs whose thread is at work."""

    app: App
    loop: asyncio.AbstractEventLoop
    log: Log
    sweeper: Sweeper
    running: set[Any]
    facts: Environ

    def post(self, callback: Callable[[], None]) -> None:
        """From a thread: have the loop call this."""

    def lost(self, run: WsgiRun) -> None:
        """The time of a run is over while its thread is at work."""


class WsgiRun:
    """A request under way. Listens to the exchange and expires by the sweeper; `work` is its thread's part."""

    __slots__ = (
        "_begun",
        "_call",
        "_fields",
        "_gone",
        "_held",
        "_host",
        "_input",
        "_left",
        "_length",
        "_moved",
        "_ready",
        "_status",
        "_taken",
        "_template",
        "_written",
        "complete",
        "deadline",
        "over",
    )

    def __init__(self, host: Host, call: Call) -> None:
        self._host = host
        self._call = call
        self._template: Environ = _template(call.request, call.exchange.peer)
        self._input: Input | None = None
        self.deadline = NEVER
        self.over = False
        """Nothing more goes to the client."""
        self.complete = False
        """The whole answer was given; what the thread still does is the application's affair."""
        self._gone = False
        self._moved = threading.Event()
        # The thread's:
        self._status = 0
        self._fields: list[Field] = []
        self._length: int | None = None
        self._left: int | None = None
        self._begun = False
        self._written = 0
        # The loop's; what a slow client has not taken is held.
        self._ready = True
        self._taken = 0
        self._held = 0

    def begin(self) -> bool:
        """Listen to the client; whether there is anything to work on. In the loop."""
        call, host = self._call, self._host
        call.exchange.watch(self)
        if not call.exchange.body_done:
            self._open_input()
            if self.over:  # what had arrived of the body was malformed
                return False
        if call.timeout and not is_endless(call.request):
            host.sweeper.watch(self)
            self.deadline = host.sweeper.now + call.timeout
        return True

    def _open_input(self) -> None:
        """Take what has come of the body; the rest is asked for at once unless the client waits to be asked."""
        exchange = self._call.exchange
        if self._call.request.expect_continue:
            self._input = Input(self, b"", ended=False)
            return
        arrived = exchange.take_arrived(raw=False)
        if exchange.done:
            return
        self._input = Input(self, arrived, exchange.body_done)
        self._input.attach()

    # Listener

    def body(self, data: bytes) -> None:
        if self._input is not None:
            self._input.arrived(data)

    def body_end(self) -> None:
        if self._input is not None:
            self._input.ended = True
        self._moved.set()

    def client_gone(self) -> None:
        """The thread notices when it reads or writes."""
        self.over = self._gone = True
        self._moved.set()
        if self not in self._host.running:
            self._end()

    def writable(self, ready: bool) -> None:
        self._ready = ready
        if ready:
            self._taken += self._held
            self._held = 0
            self._moved.set()

    # The time

    def expire(self) -> None:
        call, host = self._call, self._host
        host.sweeper.unwatch(self)
        if not self.over:
            self._give_up(504, f"the function gave no complete answer within {call.timeout:g} s")
        if self in host.running:
            host.lost(self)
        self._end()

    # In the thread

    def work(self) -> None:
        """Run the application, unless its time was over while it waited, or the client has gone."""
        if not self.over:
            self._work()

    def _work(self) -> None:
        host = self._host
        host.running.add(self)
        try:
            contextvars.copy_context().run(self._answer)
        except BaseException as failure:  # SystemExit too: an application does not end the watchdog
            error = failure
            host.post(lambda: self._raised(error))
        finally:
            host.running.discard(self)
            if self.over:
                host.post(self._end)

    def _answer(self) -> None:
        iterable = self._host.app(self._environ(), self.start_response)
        try:
            if type(iterable) is list or type(iterable) is tuple:
                self._write(b"".join(iterable), last=True)
                return
            for piece in iterable:
                self._write(piece)
            self._write(b"", last=True)
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExceptionInfo | None = None
    ) -> Callable[[bytes], None]:
        """The application's head, kept until the first piece of the body. Raises what `exc_info` holds when it comes too late."""
        try:
            if exc_info is not None and self._begun:
                raise exc_info[1].with_traceback(exc_info[2])
            if exc_info is None and self._status:
                raise RuntimeError("start_response was called twice without exc_info")
        finally:
            exc_info = None  # its traceback refers to this frame
        code = status.partition(" ")[0]
        if not (code.isascii() and code.isdigit()):
            raise ValueError(f"the status {status!r} does not begin with a number")
        pairs = [(name.encode("latin-1"), value.encode("latin-1").strip(b" \t")) for name, value in headers]
        self._fields, self._length = own_fields(pairs)
        field_lines(self._fields)  # raises here, where the application can see it
        self._status = check_status(int(code))
        return self._write

    def _write(self, data: bytes, last: bool = False) -> None:
        """A piece of the body; waits while the client is far behind. Raises Disconnected when nobody receives it."""
        if type(data) is not bytes:
            raise TypeError(f"the body of an answer must be bytes, not {type(data).__name__}")
        if not data and not last:
            return
        if not self._status:
            raise RuntimeError("the body began before start_response was called")
        if self.over and not self.complete:
            raise Disconnected("the client has gone" if self._gone else "the time for the answer is over")
        if self._begun:
            check_size(len(data), self._left, last)
            if not self.complete:
                self._continue(data, last)
            return
        self._begun = True
        self._left = None if is_bodyless(self._call, self._status) else self._length
        if last or (self._left is not None and len(data) == self._left):
            check_size(len(data), self._left, last=True)
            self._left = None if self._left is None else 0
            self.complete = True
            self._host.post(lambda: self._send_whole(data))
        else:
            self._host.post(self._start)
            check_size(len(data), self._left, last=False)
            self._continue(data, last=False)

    def _continue(self, data: bytes, last: bool) -> None:
        if self._left is not None:
            self._left -= len(data)
            last = last or not self._left
        self._written += len(data)
        self.complete = last
        self._host.post(lambda: self._send(data, last))
        if not last:
            self.wait(lambda: self._written - self._taken <= AHEAD)

    def wait(self, condition: Callable[[], object]) -> None:
        """Until the condition holds or nobody receives the answer."""
        moved = self._moved
        while not condition() and not self.over:
            moved.clear()
            if not condition() and not self.over:
                moved.wait()

    def _environ(self) -> Environ:
        environ = self._template.copy()
        environ.update(self._host.facts)
        environ["wsgi.errors"] = sys.stderr
        environ["wsgi.input"] = io.BytesIO() if self._input is None else self._input.stream()
        return environ

    # In the loop, for the thread

    def attach_input(self) -> None:
        if self._input is not None and not self.over:
            self._input.attach()

    def resume_input(self) -> None:
        self._call.exchange.resume()

    def post(self, callback: Callable[[], None]) -> None:
        self._host.post(callback)

    @property
    def call(self) -> Call:
        return self._call

    def _send_whole(self, body: bytes) -> None:
        if not self.over:
            self.over = True
            send_whole(self._call, self._status, self._fields, self._length, body)
            self._host.sweeper.unwatch(self)

    def _start(self) -> None:
        if not self.over:
            self._call.start(self._status, self._fields, self._length)

    def _send(self, data: bytes, last: bool) -> None:
        if self.over:
            return
        if not is_bodyless(self._call, self._status):
            self._call.exchange.write(data)
        if self._ready:
            self._taken += len(data)
            self._moved.set()
        else:
            self._held += len(data)
        if last:
            self.over = True
            self._call.finish()
            self._host.sweeper.unwatch(self)

    def _raised(self, error: BaseException) -> None:
        if self.over and not self.complete and caused_by(error, Disconnected):
            return
        log_failure(self._host.log, "the application raised an exception", error, self._call.call_id)
        if not self.over:
            self._give_up(500, "the application failed; the log has its traceback")

    def _give_up(self, status: int, text: str) -> None:
        """An answer of ours where none has begun, else the end of the connection."""
        self.over = True
        self._moved.set()
        if self._call.exchange.head_sent and is_bodyless(self._call, self._status):
            self._call.finish()  # the client has all that there will be
        elif self._call.exchange.head_sent:
            self._call.cut()
        else:
            self._call.refuse(status, text, (self._call.duration(),))
        self._host.sweeper.unwatch(self)

    def _end(self) -> None:
        self._host.sweeper.unwatch(self)
        self._call.end(CLIENT_GONE)


class Input(io.RawIOBase):
    """The body of a request for a thread that waits for it; `stream` buffers it."""

    def __init__(self, run: WsgiRun, arrived: bytes, ended: bool) -> None:
        super().__init__()
        self.ended = ended
        self._run = run
        self._pieces = deque([arrived] if arrived else [])
        self._size = len(arrived)
        self._first = 0
        self._attached = False
        self._paused = False

    def attach(self) -> None:
        """Have the rest delivered. In the loop."""
        if not (self._attached or self.ended):
            self._attached = True
            self._run.call.exchange.attach(self._run)

    def arrived(self, data: bytes) -> None:
        """In the loop."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > BODY_BUFFER:
            self._paused = True
            self._run.call.exchange.pause()
        self._run._moved.set()

    def stream(self) -> io.BytesIO | io.BufferedReader:
        """What the application reads from. A body that is complete needs no waiting."""
        if self.ended:
            return io.BytesIO(b"".join(self._pieces))
        return io.BufferedReader(self, BODY_BUFFER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """In the thread. Raises Disconnected when the rest of the body will not come, so that a part is not taken for the whole."""
        run, pieces = self._run, self._pieces
        if not pieces:
            if not self._attached and not self.ended:
                run.post(run.attach_input)
            run.wait(lambda: pieces or self.ended)
        if not pieces:
            if not self.ended:
                raise Disconnected("the body was not received as a whole")
            return 0
        piece = pieces[0]
        data = memoryview(piece)[self._first : self._first + len(buffer)]
        buffer[: len(data)] = data
        self._first += len(data)
        if self._first == len(piece):
            pieces.popleft()
            self._first = 0
            run.post(lambda: self._consumed(len(piece)))
        return len(data)

    def _consumed(self, size: int) -> None:
        """In the loop."""
        self._size -= size
        if self._paused and self._size <= BODY_BUFFER:
            self._paused = False
            self._run.resume_input()


def _template(request: RequestHead, peer: str) -> Environ:
    """The part of the environ that the head decides; kept with it, so that a client that repeats itself costs a copy. Raises
    InvalidInput for a path that cannot be decoded."""
    template: Environ | None = request.note
    if template is None:
        scheme = scheme_of(request)
        host, port = host_and_port((request.get(b"host") or b"localhost").decode("latin-1")) or ("localhost", 0)
        template = request.note = {
            "REQUEST_METHOD": request.method.decode("ascii"),
            "SCRIPT_NAME": "",
            "PATH_INFO": decode_path(request.path).decode("latin-1"),
            "QUERY_STRING": request.query.decode("latin-1"),
            "REQUEST_URI": request.target.decode("latin-1"),
            "SERVER_PROTOCOL": "HTTP/1.0" if request.http10 else "HTTP/1.1",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port or (443 if scheme == "https" else 80)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scheme,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
        client = host_and_port(last_forwarded(request) or peer)
        if client is not None:
            template["REMOTE_ADDR"], template["REMOTE_PORT"] = client[0], str(client[1])
        _add_fields(template, request.fields)
    return template


def _add_fields(template: Environ, fields: list[Field]) -> None:
    """Header fields as variables. One with an underscore in its name could pass for another, and is left out."""
    for name, value in fields:
        if b"_" in name:
            continue
        key = name.decode("ascii").replace("-", "_").upper()
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in template:
            text = template[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        template[key] = text
