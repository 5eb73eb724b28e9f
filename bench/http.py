"""Small HTTP clients on raw sockets, thin enough not to be what is measured.

`exchange` is for setting up, `KeptAlive` for latencies, `send_body` and `Reader` for bodies of any size. They understand
the answers that the servers under measurement give, and raise BenchError at anything else.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

from bench.processes import BenchError

TIMEOUT = 300.0
"""Seconds for any one socket operation."""

PIECE = 1 << 20
"""Bytes read or sent at once."""


def connect(address: str, source: str = "") -> socket.socket:
    """A connection to `unix:/path` or `host:port`, from the local address `source`. Raises OSError."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(address.removeprefix("unix:"))
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), TIMEOUT, (source, 0) if source else None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request_head(method: str, target: str, size: int = 0, *fields: str) -> bytes:
    """A request head with a Content-Length where there is a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
    if size:
        lines.append(f"Content-Length: {size}")
    return "\r\n".join([*lines, "", ""]).encode()


def exchange(address: str, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request on a connection of its own: status and body. Raises OSError or BenchError."""
    with connect(address) as connection:
        connection.sendall(request_head(method, target, len(body), "Connection: close") + body)
        answer = Reader(connection)
        return answer.status, b"".join(bytes(piece) for piece in answer.pieces())


def timed_post(address: str, target: str, body: bytes) -> tuple[float, bytes]:
    """One POST on a fresh connection: milliseconds from its send to the last byte of the answer, and the answer's body.
    Raises OSError, and BenchError unless it is 200."""
    with connect(address) as connection:
        begun = time.perf_counter_ns()
        connection.sendall(request_head("POST", target, len(body)) + body)
        answer = Reader(connection)
        content = b"".join(bytes(piece) for piece in answer.pieces())
        taken = (time.perf_counter_ns() - begun) / 1e6
    if answer.status != 200:
        raise BenchError(f"the function answered {answer.status}: {content[:500]!r}")
    return taken, content


class KeptAlive:
    """One kept connection that sends the same small request again and again and times each answer."""

    def __init__(self, address: str, target: str) -> None:
        self._connection = connect(address)
        self._request = request_head("GET", target)
        self.answer = self._learn()

    def close(self) -> None:
        self._connection.close()

    def times(self, count: int) -> list[float]:
        """Microseconds from before the send to after the last byte of each of `count` answers. Raises BenchError when one
        is not as long as the first was."""
        send, recv, clock = self._connection.send, self._connection.recv, time.perf_counter_ns
        request, size = self._request, len(self.answer)
        taken = []
        for _ in range(count):
            begun = clock()
            send(request)
            got = recv(65536)
            taken.append((clock() - begun) / 1000)
            if len(got) != size or not got.startswith(b"HTTP/1.1 200"):
                raise BenchError(f"an answer differs from the first: {got[:200]!r}")
        return taken

    def _learn(self) -> bytes:
        """The answer to the first requests; the second tells the length that a kept connection gives."""
        answer = b""
        for _ in range(2):
            self._connection.sendall(self._request)
            time.sleep(0.05)  # so that it has come as a whole
            answer = self._connection.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"the server answered {answer[:200]!r}")
        return answer


class Reader:
    """Reads one answer: its head at once, its body by pieces, chunked framing or length removed."""

    def __init__(self, connection: socket.socket, buffer: memoryview | None = None) -> None:
        """`buffer` is what bodies are read into; the whole answer must fit when it is to be looked at afterwards."""
        self._connection = connection
        self._buffer = buffer if buffer is not None else memoryview(bytearray(PIECE))
        self._whole = buffer is not None
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = connection.recv(65536)
            if not more:
                raise BenchError(f"the connection closed in the head of an answer: {data[:200]!r}")
            data += more
        head = data[:end].decode("latin-1").split("\r\n")
        self.rest = data[end + 4 :]
        """Bytes of the body that came with the head."""
        self.received = 0
        """Bytes of the answer in `buffer`."""
        self.status = int(head[0].split()[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        self.chunked = self.fields.get("transfer-encoding", "").lower() == "chunked"
        self.length = int(self.fields.get("content-length", 0))
        self._body: ChunkedWalk | LengthWalk = ChunkedWalk() if self.chunked else LengthWalk(self.length)

    def pieces(self) -> Iterator[memoryview]:
        """The body as it comes. Raises BenchError when it ends early."""
        data = memoryview(self.rest)
        while True:
            yield from self._body.feed(data)
            if self._body.done:
                return
            window = self._buffer[self.received : self.received + PIECE]
            count = self._connection.recv_into(window)
            if not count:
                raise BenchError(f"the body ended early, after {self._body.seen} bytes")
            data = window[:count]
            self.received += count if self._whole else 0

    def size(self) -> int:
        """Read it all and count."""
        return sum(len(piece) for piece in self.pieces())


class LengthWalk:
    """Counts down a body of known length."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.seen = 0
        self.done = not size

    def feed(self, data: memoryview) -> Iterator[memoryview]:
        self._left -= len(data)
        self.seen += len(data)
        if self._left < 0:
            raise BenchError("more came than the Content-Length said")
        self.done = not self._left
        if data:
            yield data


class ChunkedWalk:
    """Walks over chunked framing wherever reads happen to cut it, without copying payload."""

    def __init__(self) -> None:
        self._left = 0
        self._line = b""
        self._last = False
        self.seen = 0
        self.done = False

    def feed(self, data: memoryview) -> Iterator[memoryview]:
        """The payload in `data`. Raises BenchError at what is no chunked body; trailers are skipped."""
        position, end = 0, len(data)
        while position < end and not self.done:
            if self._left:
                piece = data[position : position + self._left]
                self._left -= len(piece)
                self.seen += len(piece)
                position += len(piece)
                yield piece
            else:
                position += self._frame(data[position : position + 128])

    def _frame(self, window: memoryview) -> int:
        """Take one line of framing, or what there is of it; how many bytes that was."""
        raw = bytes(window)
        cut = raw.find(b"\n") + 1
        if not cut:
            self._line += raw
            return len(raw)
        line, self._line = (self._line + raw[:cut]).rstrip(b"\r\n"), b""
        if self._last:
            self.done = not line
        elif line:
            try:
                self._left = int(line.partition(b";")[0], 16)
            except ValueError:
                raise BenchError(f"{line[:40]!r} is no chunk size") from None
            self._last = not self._left
        return cut


def send_file(connection: socket.socket, descriptor: int, size: int) -> None:
    """Send `size` bytes out of a file, from its beginning and again from there when it is shorter."""
    length = os.fstat(descriptor).st_size
    sent = 0
    connection.setblocking(True)
    while sent < size:
        offset = sent % length
        sent += os.sendfile(connection.fileno(), descriptor, offset, min(length - offset, size - sent))
