"""A process that answers HTTP on its stdin and stdout, and a client that is as exact or as rude as a test wants it to be."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DEADLINE = 60.0
"""Seconds for anything to happen; generous, because test machines are shared."""

HANDSHAKE = b"OPTIONS * HTTP/1.1\r\nHost: peer\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """A response that was complete; names of fields in lower case. `chunks` are the sizes of its chunks, if it came in any."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    chunks: tuple[int, ...] = ()

    def field(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)


def request(method: str = "POST", target: str = "/echo", body: bytes | None = None, *fields: str) -> bytes:
    """A request with a Content-Length when there is a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: peer", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(target: str, *chunks: bytes) -> bytes:
    """A request whose body is these bytes of chunked coding."""
    return request("POST", target, None, "Transfer-Encoding: chunked") + b"".join(chunks)


class Peer:
    """One running process. Bytes go in while answers come out, so that neither side can wait for the other for ever."""

    def __init__(self, command: list[str], environ: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **environ},
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self._stdout = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.stdin, False)
        self._unsent = b""
        self._received = b""

    def send(self, data: bytes) -> None:
        """Queue bytes; they are written whenever something is waited for."""
        self._unsent += data

    def ask(self, data: bytes, method: str = "") -> Answer:
        self.send(data)
        return self.answer(method or data.split(b" ", 1)[0].decode())

    def answer(self, method: str = "POST") -> Answer:
        """The next response. Raises EOFError when stdout ends inside it, AssertionError when it is none."""
        status_line, *lines = self._through(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, *_ = status_line.split(" ")
        assert version == "HTTP/1.1", status_line
        fields = [line.split(": ", 1) for line in lines]
        pairs = tuple((name.lower(), value) for name, value in fields)
        length = dict(pairs).get("content-length")
        if method == "HEAD" or status in ("204", "304"):
            return Answer(int(status), pairs, b"")
        if length is None:
            assert dict(pairs)["transfer-encoding"] == "chunked", pairs
            chunks = self._chunks()
            return Answer(int(status), pairs, b"".join(chunks), tuple(map(len, chunks)))
        return Answer(int(status), pairs, self._take(int(length)))

    def head_and_first_chunk(self) -> bytes:
        """The content of a chunked response's first chunk, while the rest is still to come."""
        assert b"Transfer-Encoding: chunked" in self._through(b"\r\n\r\n")
        return self._chunk()

    def rest_of_chunks(self) -> bytes:
        return b"".join(self._chunks())

    def silent_for(self, seconds: float) -> bool:
        """Write what is queued; whether nothing comes out meanwhile and for so many seconds more."""
        self._transfer(lambda: not self._unsent)
        return not self._received and not select.select([self._stdout], [], [], seconds)[0]

    def accepted_until_it_stalls(self, data: bytes, pause: float) -> int:
        """How many bytes the process takes while nobody reads its answer: until none is taken for `pause` seconds."""
        sent = 0
        while sent < len(data) and select.select([], [self.stdin], [], pause)[1]:
            sent += os.write(self.stdin, data[sent : sent + 65536])
        self._unsent = data[sent:]
        return sent

    def close_stdin(self) -> None:
        """Write what is queued, then end it."""
        self._transfer(lambda: not self._unsent)
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> tuple[int, bytes]:
        """Its exit code, once it has ended, and what it wrote besides the answers that were taken."""
        self._transfer(lambda: False)
        return self.process.wait(DEADLINE), self._received

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self._log.close()

    def _chunks(self) -> list[bytes]:
        chunks = []
        while chunk := self._chunk():
            chunks.append(chunk)
        return chunks

    def _chunk(self) -> bytes:
        size = int(self._through(b"\r\n"), 16)
        chunk = self._take(size)
        assert self._take(2) == b"\r\n"
        return chunk

    def _through(self, mark: bytes) -> bytes:
        self._need(lambda: mark in self._received)
        return self._take(self._received.index(mark) + len(mark))

    def _take(self, count: int) -> bytes:
        self._need(lambda: len(self._received) >= count)
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _need(self, enough: Callable[[], bool]) -> None:
        if not self._transfer(enough):
            raise EOFError(f"stdout ended after {self._received[:200]!r}; its log: {self.log()[-2000:]}")

    def _transfer(self, enough: Callable[[], bool]) -> bool:
        """Move bytes both ways until it is enough; false when stdout has ended before."""
        end = time.monotonic() + DEADLINE
        while not enough():
            if time.monotonic() > end:
                raise TimeoutError(f"nothing more after {self._received[:200]!r}; its log: {self.log()[-2000:]}")
            writable = [self.stdin] if self._unsent else []
            readable, writable, _ = select.select([self._stdout], writable, [], 1)
            if writable:
                self._write()
            if readable:
                data = os.read(self._stdout, 1 << 20)
                if not data:
                    return False
                self._received += data
        return True

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self.stdin, self._unsent[:65536]) :]
        except BrokenPipeError:
            self._unsent = b""
