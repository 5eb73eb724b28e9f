"""Answers HTTP/1.1 requests on stdin and stdout: the function's side of Penstock's watchdog mode `afterburn`.

One file to copy, without dependencies, for Python 3.11 or later. `serve(handler)` answers one request after another until
stdin ends; what is printed goes to stderr, because a byte on stdout that is no response costs the process its life.
The protocol is described in docs/reference/afterburn-protocol.md.

    def handle(request):
        return 200, {"Content-Type": "text/plain"}, b"hello " + request.body.read()

    afterburn.serve(handle)
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import FrameType

MAX_HEAD = 64 * 1024
"""Bytes of a request's head, and of the trailers behind a chunked body; more is answered with 431."""

PIECE = 64 * 1024
"""Most bytes that iterating over a body gives at once."""

MAX_CHUNK_LINE = 8192
"""Bytes of a chunk's size and extensions, more than the watchdog lets through: what it accepts must not cost a process."""

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/1\.1")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")

_REASONS: Mapping[int, str] = {status.value: status.phrase for status in HTTPStatus}
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})

Fields = Mapping[str, str] | Iterable[tuple[str, str]]
Content = str | bytes | Iterable[bytes | str]
Response = Content | tuple[int, Fields, Content]
Handler = Callable[["Request"], Response]


class BadRequest(Exception):
    """A request that is not one. After it nothing on stdin can be trusted, so the process ends."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class RequestEnded(EOFError):
    """stdin ended inside a request: whoever waited for the answer is gone."""


class Headers(Mapping[str, str]):
    """Header fields; names in any case. Fields of one name are joined by a comma, as RFC 9110 section 5.3 allows."""

    def __init__(self, lines: list[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in lines:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def all(self, name: str) -> list[str]:
        """The value of every field of that name, in the order in which they came."""
        return self._values.get(name.lower(), [])


class Body:
    """A request's body, read from stdin when it is asked for. Iterating gives pieces as they arrive."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.fault: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._piece():
            yield piece

    def read(self, size: int = -1) -> bytes:
        """That many bytes, fewer only at the end; all that are left when `size` is negative."""
        if size < 0:
            return b"".join(self)
        taken, have = [], 0
        while have < size and (piece := self._piece()):
            taken.append(piece[: size - have])
            self._rest = piece[size - have :]
            have += len(taken[-1])
        return b"".join(taken)

    def text(self) -> str:
        """All of it as UTF-8. Raises UnicodeDecodeError where it is not."""
        return self.read().decode()

    def _piece(self) -> bytes:
        if self._rest:
            piece, self._rest = self._rest, b""
            return piece
        if self.fault is not None:  # a generator that has raised would look like one that has ended
            raise self.fault
        try:
            return next(self._pieces, b"")
        except (BadRequest, RequestEnded) as fault:
            self.fault = fault
            raise


class Request:
    """One request. `target` is as it was sent; `path` and `query` are its parts before and behind the question mark."""

    def __init__(self, method: str, target: str, headers: Headers, body: Body) -> None:
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body


def serve(handler: Handler) -> None:
    """Answer requests with what `handler` returns, until stdin ends or SIGTERM arrives between two of them.

    A response is text or bytes, an iterable of them that is sent chunk by chunk, or (status, header fields, one of these).
    An exception is answered with 500 and its traceback written to stderr. Exits with 1 when the protocol was broken.
    """
    answers = protect_stdout()
    stop = _Stop()
    requests = _Input(os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # a program that the handler starts must not read requests
    server = _Server(handler, requests, answers, stop)
    while stop.wait(requests) and server.exchange():
        pass


def protect_stdout() -> int:
    """Point descriptor 1 and `sys.stdout` to stderr; the descriptor on which answers are written from now on.

    `serve` calls it. Call it first thing in a program whose start-up prints a lot.
    """
    global _answers
    if _answers is None:
        _answers = os.dup(1)
        os.dup2(2, 1)
        sys.stdout.flush()  # what was printed until now leaves by stderr too
        sys.stdout = sys.stderr
    return _answers


_answers: int | None = None


class _Stop:
    """SIGTERM: noted while a request is answered, and an end of the wait for the next one."""

    def __init__(self) -> None:
        self.asked = False
        self._wake, write = os.pipe()
        os.set_blocking(write, False)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)
            signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def wait(self, requests: _Input) -> bool:
        """Wait for the next request; false when there is to be none. One that is already there is answered first."""
        if requests.held():
            return True
        readable, _, _ = select.select([requests.descriptor, self._wake], [], [])
        while requests.descriptor not in readable and not self.asked:
            os.read(self._wake, 512)  # other signals that have a handler in Python
            readable, _, _ = select.select([requests.descriptor, self._wake], [], [])
        return requests.descriptor in readable

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


class _Input:
    """Bytes of stdin, by lines and by pieces."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._data = b""
        self._at = 0

    def held(self) -> bool:
        """Whether there are bytes that have been read and not been taken."""
        return self._at < len(self._data)

    def fill(self) -> bool:
        """Read more; false at the end."""
        more = os.read(self.descriptor, PIECE)
        self._data = self._data[self._at :] + more
        self._at = 0
        return bool(more)

    def piece(self, most: int) -> bytes:
        """What is there, up to `most` bytes. Raises RequestEnded at the end."""
        if not self.held():
            self._need()
        data = self._data[self._at : self._at + most]
        self._at += len(data)
        return data

    def line(self, most: int, status: int = 400) -> bytes:
        """A line without its CRLF. Raises BadRequest with `status` when it is longer than `most`."""
        while (end := self._data.find(b"\n", self._at)) < 0 and len(self._data) - self._at < most:
            self._need()
        line = self._data[self._at : end + 1]
        if not 0 < len(line) <= most:
            raise BadRequest(f"more than {MAX_HEAD if status == 431 else most} bytes of head or line", status)
        if line[-2:] != b"\r\n" or b"\r" in line[:-2]:
            raise BadRequest("a line that does not end in CRLF")
        self._at = end + 1
        return line[:-2]

    def lines(self) -> Iterator[bytes]:
        """Lines up to an empty one, which is taken but not given; at most MAX_HEAD bytes of them."""
        left = MAX_HEAD
        while line := self.line(left, 431):
            left -= len(line) + 2
            yield line

    def _need(self) -> None:
        if not self.fill():
            raise RequestEnded("stdin ended inside a request")


class _Server:
    """Reads a request to its end and has it answered."""

    def __init__(self, handler: Handler, requests: _Input, answers: int, stop: _Stop) -> None:
        self._handler = handler
        self._input = requests
        self._answers = answers
        self._stop = stop
        self._begun = False

    def exchange(self) -> bool:
        """Answer one request; whether another may follow. Exits where nothing that follows could be understood."""
        self._begun = False
        try:
            request = self._request()
            return request is not None and self._answer(request)
        except BadRequest as fault:
            if not self._begun:
                self._send(_head(fault.status, [("Connection", "close"), ("Content-Length", "0")]))
            sys.exit(f"afterburn: {fault}")
        except (RequestEnded, BrokenPipeError) as fault:
            sys.exit(f"afterburn: {fault}")

    def _request(self) -> Request | None:
        if not self._input.held() and not self._input.fill():
            return None
        lines = self._input.lines()
        found = _REQUEST_LINE.fullmatch(next(lines, b""))
        if found is None:
            raise BadRequest("the request line is not METHOD TARGET HTTP/1.1")
        headers = Headers([_field(line) for line in lines])
        if "host" not in headers:
            raise BadRequest("a request without a Host field")
        return Request(found[1].decode(), found[2].decode(), headers, Body(_pieces(self._input, headers)))

    def _answer(self, request: Request) -> bool:
        if request.method == "OPTIONS" and request.target == "*":
            return self._respond(request, b"")
        try:
            return self._respond(request, self._handler(request))
        except BrokenPipeError:
            raise
        except Exception:
            if request.body.fault is not None:
                raise request.body.fault from None  # whatever a parser has wrapped around it
            traceback.print_exc(file=sys.stderr)
            if self._begun:
                sys.exit(1)  # an answer that breaks off must not look complete
            return self._respond(request, (500, {}, "Internal Server Error\n"))

    def _respond(self, request: Request, response: Response) -> bool:
        status, fields, content = _parts(response)
        close = self._stop.asked or request.body.fault is not None or _asks_to_close(fields)
        head = _head(status, _framed(request.method, status, fields, content, close))
        if not _has_content(request.method, status):
            end = head
        elif isinstance(content, bytes):
            end = head + content
        else:
            end = self._stream(head, content)
        if hasattr(content, "close"):  # a generator or a file
            content.close()
        if not close:  # no response is complete before its request, unless this process ends with it
            for _ in request.body:
                pass
        self._send(end)
        return not close

    def _stream(self, head: bytes, content: Iterable[bytes | str]) -> bytes:
        """Send all chunks but the last, which is returned with what has not been sent.

        The head waits for the first chunk, so that an exception before it can still become a 500.
        """
        for piece in content:
            if data := _bytes(piece):  # an empty chunk would be the last one
                self._send(head + b"%x\r\n%b\r\n" % (len(data), data))
                head = b""
        return head + b"0\r\n\r\n"

    def _send(self, data: bytes) -> None:
        self._begun = True
        left = memoryview(data)
        while left:
            left = left[os.write(self._answers, left) :]


def _field(line: bytes) -> tuple[str, str]:
    """Name and value of one line of a head. No space before the colon and no folded lines: RFC 9112 sections 5.1 and 5.2."""
    name, colon, value = line.decode("latin-1").partition(":")
    value = value.strip(" \t")
    if not colon or not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
        raise BadRequest(f"not a header field: {line[:80]!r}")
    return name, value


def _pieces(requests: _Input, headers: Headers) -> Iterator[bytes]:
    """How the body is framed (RFC 9112 section 6.3), and its pieces."""
    lengths = headers.all("content-length")
    codings = headers.all("transfer-encoding")
    if codings and lengths:
        raise BadRequest("both Content-Length and Transfer-Encoding")
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise BadRequest(f"a transfer coding other than chunked: {codings}", 501)
        return _chunks(requests)
    if len(set(lengths)) > 1 or not all(re.fullmatch("[0-9]{1,19}", length) for length in lengths):
        raise BadRequest(f"not a length: {lengths}")
    return _counted(requests, int(lengths[0]) if lengths else 0)


def _counted(requests: _Input, left: int) -> Iterator[bytes]:
    while left:
        piece = requests.piece(min(left, PIECE))
        left -= len(piece)
        yield piece


def _chunks(requests: _Input) -> Iterator[bytes]:
    while size := _chunk_size(requests):
        yield from _counted(requests, size)
        if requests.line(2):
            raise BadRequest("a chunk that is longer than its size")
    for line in requests.lines():  # trailers, RFC 9112 section 7.1.2
        _field(line)


def _chunk_size(requests: _Input) -> int:
    line = requests.line(MAX_CHUNK_LINE)
    found = _CHUNK_LINE.fullmatch(line)
    if found is None:
        raise BadRequest(f"not the size of a chunk: {line[:80]!r}")
    return int(found[1], 16)


def _parts(response: Response) -> tuple[int, list[tuple[str, str]], bytes | Iterable[bytes | str]]:
    """Status, fields and content of whatever a handler has returned. Raises TypeError and ValueError."""
    status, given, content = response if isinstance(response, tuple) else (200, {}, response)
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"not a final status: {status!r}")
    fields = list(given.items() if isinstance(given, Mapping) else given)
    if isinstance(content, str) and not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", "text/plain; charset=utf-8"))
    if isinstance(content, Mapping) or not isinstance(content, Iterable):
        raise TypeError(f"a handler answers text, bytes or an iterable of them, not {type(content).__name__}")
    return status, fields, _bytes(content) if isinstance(content, str | bytes | bytearray | memoryview) else content


def _bytes(piece: object) -> bytes:
    if isinstance(piece, str):
        return piece.encode()
    if isinstance(piece, bytes | bytearray | memoryview):
        return bytes(piece)
    raise TypeError(f"a response is made of text or bytes, not {type(piece).__name__}")


def _has_content(method: str, status: int) -> bool:
    """Whether a response has a body at all (RFC 9112 section 6.3)."""
    return method != "HEAD" and status not in (204, 304)


def _asks_to_close(fields: list[tuple[str, str]]) -> bool:
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in fields)


def _framed(
    method: str, status: int, fields: list[tuple[str, str]], content: bytes | Iterable[bytes | str], close: bool
) -> list[tuple[str, str]]:
    """The handler's fields, with the framing that the content needs in place of any that they name."""
    framed = [(name, value) for name, value in fields if name.lower() not in _FRAMING]
    told = [value for name, value in fields if name.lower() == "content-length"]
    if close:
        framed.append(("Connection", "close"))
    if status in (204, 304):
        return framed
    if method == "HEAD" and told:  # a handler may know the length without having the content
        return [*framed, ("Content-Length", told[0])]
    if isinstance(content, bytes):
        return [*framed, ("Content-Length", str(len(content)))]
    return [*framed, ("Transfer-Encoding", "chunked")]


def _head(status: int, fields: list[tuple[str, str]]) -> bytes:
    """Status line and fields. Raises ValueError for a field that would break out of its line."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
    for name, value in fields:
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"not a header field: {name!r}: {value!r}")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
