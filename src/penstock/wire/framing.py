"""Bodies of HTTP/1.1 messages: where one ends and, when it is chunked, what is in it (RFC 9112 §6, §7). No I/O.

A body object is fed every piece of data that arrives and says how much of it belongs to the body. In raw mode the bytes keep
their chunked framing, checked, so that a relay can pass them on as they are; otherwise only the payload comes out.
"""

from __future__ import annotations

import re
from typing import Protocol

from penstock.wire.errors import MalformedMessage
from penstock.wire.message import TOKEN

MAX_CHUNK_LINE = 4096
"""Bytes of a chunk-size line with its extensions; h11 and nginx accept about as much."""

MAX_TRAILERS = 64 << 10
"""Bytes of a trailer section."""

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_FORBIDDEN_TRAILERS = frozenset(
    {
        b"transfer-encoding",
        b"content-length",
        b"host",
        b"connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"upgrade",
        b"authorization",
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"set-cookie",
    }
)
"""Fields that a recipient may act on and that must not come late (RFC 9110 §6.5.1): dropped."""


class Body(Protocol):
    """The progress of one body."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` to deliver, and what follows the body (empty until `done`). Raises MalformedMessage."""

    def end_of_stream(self) -> bool:
        """The peer closed: whether that ends the body properly."""


class NoBody:
    """A message without a body."""

    done = True

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return b"", data

    def end_of_stream(self) -> bool:
        return True


NO_BODY = NoBody()


class LengthBody:
    """A body of known length."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        size = len(data)
        if size < self.left:
            self.left -= size
            return data, b""
        left, self.left, self.done = self.left, 0, True
        return (data, b"") if size == left else (data[:left], data[left:])

    def end_of_stream(self) -> bool:
        return self.done


class UntilClose:
    """A response body that ends with its connection (RFC 9112 §6.3 rule 8)."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""

    def end_of_stream(self) -> bool:
        self.done = True
        return True


class ChunkedBody:
    """A chunked body; `raw` keeps the framing in what is delivered. Lines are delivered when they are complete."""

    __slots__ = ("_left", "_line", "_state", "_trailer_size", "_trailers", "done", "raw")

    _SIZE, _DATA, _DATA_END, _TRAILER = range(4)

    def __init__(self, raw: bool) -> None:
        self.raw = raw
        self.done = False
        self._state = self._SIZE
        self._left = 0
        self._line = b""
        self._trailers: list[bytes] = []
        self._trailer_size = 0

    def end_of_stream(self) -> bool:
        return self.done

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if self._state == self._DATA and len(data) < self._left:
            self._left -= len(data)
            return data, b""
        data = self._line + data if self._line else data
        self._line = b""
        out: list[bytes] = []
        position, size = 0, len(data)
        while position < size and not self.done:
            if self._state == self._DATA:
                end = min(size, position + self._left)
                out.append(data[position:end])
                self._left -= end - position
                position = end
                if not self._left:
                    self._state = self._DATA_END
                continue
            lf = data.find(b"\n", position)
            if lf < 0 or lf - position > self._limit:
                self._keep_partial(data[position:])
                position = size
                break
            self._take_line(data[position : lf + 1], out)
            position = lf + 1
        return b"".join(out), data[position:]

    @property
    def _limit(self) -> int:
        return MAX_TRAILERS if self._state == self._TRAILER else MAX_CHUNK_LINE

    def _keep_partial(self, line: bytes) -> None:
        if len(line) > self._limit:
            raise MalformedMessage(400, "malformed chunked body: a line is too long")
        if self._state == self._DATA_END and line != b"\r":
            raise MalformedMessage(400, "malformed chunked body: no CRLF after a chunk")
        self._line = line

    def _take_line(self, line: bytes, out: list[bytes]) -> None:
        if not line.endswith(b"\r\n"):
            raise MalformedMessage(400, "malformed chunked body: a line ends in LF without CR")
        if self._state == self._TRAILER:
            self._trailer(line, out)
            return
        if self._state == self._SIZE:
            line = self._chunk_size(line)
        elif line != b"\r\n":
            raise MalformedMessage(400, "malformed chunked body: no CRLF after a chunk")
        else:
            self._state = self._SIZE
        if self.raw:
            out.append(line)

    def _chunk_size(self, line: bytes) -> bytes:
        """Take the size of the next chunk; returns the line without extensions, which parsers read differently."""
        match = _CHUNK_LINE.fullmatch(line, 0, len(line) - 2)
        if not match:
            raise MalformedMessage(400, "malformed chunked body: bad chunk size")
        digits = match[1]
        self._left = int(digits, 16)
        self._state = self._DATA if self._left else self._TRAILER
        return line if len(digits) == len(line) - 2 else digits + b"\r\n"

    def _trailer(self, line: bytes, out: list[bytes]) -> None:
        self._trailer_size += len(line)
        if self._trailer_size > MAX_TRAILERS:
            raise MalformedMessage(431, "trailer section too large")
        if line == b"\r\n":
            self.done = True
            if self.raw:
                out.append(b"".join(self._trailers) + line)
            return
        name, colon, value = line[:-2].partition(b":")
        if not colon or not TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise MalformedMessage(400, "malformed trailer field")
        if name.lower() not in _FORBIDDEN_TRAILERS:
            self._trailers.append(line)
