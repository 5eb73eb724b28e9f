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
        return self._walk_raw(data) if self.raw else self._walk(data)

    def _walk(self, data: bytes) -> tuple[bytes, bytes]:
        """Take chunks apart; delivers their payload."""
        out: list[bytes] = []
        position, size = 0, len(data)
        while position < size and not self.done:
            start = position
            if self._state == self._DATA:
                position = self._pass_payload(position, size)
                out.append(data[start:position])
            elif (position := self._end_of_line(data, start)) > 0:
                self._take_line(data[start:position])
            else:
                position = size
        return out[0] if len(out) == 1 else b"".join(out), data[position:]

    def _walk_raw(self, data: bytes) -> tuple[bytes, bytes]:
        """Walk over chunks. Usually everything is passed on as it is, and then not copied either."""
        out: list[bytes] = []
        position, size, copied = 0, len(data), 0
        while position < size and not self.done:
            start = position
            if self._state == self._DATA:
                position = self._pass_payload(position, size)
            elif (position := self._end_of_line(data, start)) > 0:
                line = data[start:position]
                instead = self._take_line(line)
                if instead is not line:
                    out += (data[copied:start], instead)
                    copied = position
            else:
                out.append(data[copied:start])
                position = copied = size
        if not copied and position == size:
            return data, b""
        out.append(data[copied:position])
        return b"".join(out), data[position:]

    def _pass_payload(self, position: int, size: int) -> int:
        end = min(size, position + self._left)
        self._left -= end - position
        if not self._left:
            self._state = self._DATA_END
        return end

    def _end_of_line(self, data: bytes, start: int) -> int:
        """Position behind the line that begins at `start`; 0 when it is not complete, and then it is kept."""
        lf = data.find(b"\n", start, start + self._limit + 1)
        if lf < 0:
            self._keep_partial(data[start:])
        return lf + 1

    @property
    def _limit(self) -> int:
        return MAX_TRAILERS if self._state == self._TRAILER else MAX_CHUNK_LINE

    def _keep_partial(self, line: bytes) -> None:
        if len(line) > self._limit:
            raise MalformedMessage(400, "malformed chunked body: a line is too long")
        if self._state == self._DATA_END and line != b"\r":
            raise MalformedMessage(400, "malformed chunked body: no CRLF after a chunk")
        self._line = line

    def _take_line(self, line: bytes) -> bytes:
        """Take a line that is no payload; returns what a relay passes on in its place, usually the line itself."""
        if not line.endswith(b"\r\n"):
            raise MalformedMessage(400, "malformed chunked body: a line ends in LF without CR")
        if self._state == self._TRAILER:
            return self._trailer(line)
        if self._state == self._SIZE:
            return self._chunk_size(line)
        if line != b"\r\n":
            raise MalformedMessage(400, "malformed chunked body: no CRLF after a chunk")
        self._state = self._SIZE
        return line

    def _chunk_size(self, line: bytes) -> bytes:
        """Take the size of the next chunk; returns the line without extensions, which parsers read differently."""
        match = _CHUNK_LINE.fullmatch(line, 0, len(line) - 2)
        if not match:
            raise MalformedMessage(400, "malformed chunked body: bad chunk size")
        digits = match[1]
        self._left = int(digits, 16)
        self._state = self._DATA if self._left else self._TRAILER
        return line if len(digits) == len(line) - 2 else digits + b"\r\n"

    def _trailer(self, line: bytes) -> bytes:
        """Trailer fields are passed on together, at their end."""
        self._trailer_size += len(line)
        if self._trailer_size > MAX_TRAILERS:
            raise MalformedMessage(431, "trailer section too large")
        if line == b"\r\n":
            self.done = True
            return b"".join([*self._trailers, line]) if self._trailers else line
        name, colon, value = line[:-2].partition(b":")
        if not colon or not TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise MalformedMessage(400, "malformed trailer field")
        if name.lower() not in _FORBIDDEN_TRAILERS:
            self._trailers.append(line)
        return b""
