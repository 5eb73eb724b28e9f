"""Large bodies out and in, at a speed that leaves the servers the bottleneck: sendfile and recv_into on raw sockets."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import time
from dataclasses import dataclass

from bench.http import ChunkedWalk, LengthWalk, Reader, connect, request_head, send_file
from bench.processes import BenchError

MIB = 1 << 20


class Source:
    """A body of `size` random bytes in memory, sent by sendfile, and its SHA-256."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.descriptor = os.memfd_create("body", os.MFD_CLOEXEC)
        digest = hashlib.sha256()
        for start in range(0, size, 16 * MIB):
            piece = os.urandom(min(16 * MIB, size - start))
            digest.update(piece)
            os.write(self.descriptor, piece)
        self.sha256 = digest.hexdigest()

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True)
class Passage:
    """One passage of a body. `rate` in MiB/s."""

    rate: float
    seconds: float
    sha256: str = ""


def upload(address: str, target: str, source: Source) -> Passage:
    """POST `source` to a function that answers with the number of bytes it got. Raises BenchError when it differs."""
    with connect(address) as connection:
        begun = time.perf_counter()
        connection.sendall(request_head("POST", target, source.size))
        send_file(connection, source.descriptor, source.size)
        answer = Reader(connection)
        body = b"".join(bytes(piece) for piece in answer.pieces())
        seconds = time.perf_counter() - begun
    if answer.status != 200 or body.strip() != str(source.size).encode():
        raise BenchError(f"upload answered {answer.status}: {body[:200]!r}")
    return Passage(source.size / MIB / seconds, seconds)


def download(address: str, target: str, size: int) -> Passage:
    """GET a body of `size` bytes and throw it away. Raises BenchError when it has another size."""
    with connect(address) as connection:
        begun = time.perf_counter()
        connection.sendall(request_head("GET", target))
        answer = Reader(connection)
        got = answer.size()
        seconds = time.perf_counter() - begun
    if answer.status != 200 or got != size:
        raise BenchError(f"download answered {answer.status} with {got} of {size} bytes")
    return Passage(size / MIB / seconds, seconds)


class Room:
    """Memory for a whole answer with its framing, touched beforehand, so that page faults count for nobody."""

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, size + size // 16 + MIB)
        for start in range(0, len(self._map), mmap.PAGESIZE):
            self._map[start] = 0
        self.view = memoryview(self._map)

    def close(self) -> None:
        self.view.release()
        self._map.close()


def through(address: str, target: str, source: Source, room: Room) -> Passage:
    """POST `source` to a function that gives it back while it comes, sending and receiving at the same time.

    What came back is kept as received and hashed after the clock has stopped. Raises BenchError when its size is wrong.
    """
    faults: list[Exception] = []
    with connect(address) as connection:

        def send() -> None:
            try:
                connection.sendall(request_head("POST", target, source.size))
                send_file(connection, source.descriptor, source.size)
            except OSError as error:
                faults.append(error)

        sender = threading.Thread(target=send, daemon=True)
        begun = time.perf_counter()
        sender.start()
        answer = Reader(connection, room.view)
        got = answer.size()
        sender.join()
        seconds = time.perf_counter() - begun
    if faults or answer.status != 200 or got != source.size:
        raise BenchError(f"answered {answer.status} with {got} of {source.size} bytes {faults or ''}")
    return Passage(source.size / MIB / seconds, seconds, _digest(answer, room))


def _digest(answer: Reader, room: Room) -> str:
    """SHA-256 of the payload of what was received."""
    walk: ChunkedWalk | LengthWalk = ChunkedWalk() if answer.chunked else LengthWalk(answer.length)
    digest = hashlib.sha256()
    for part in (memoryview(answer.rest), room.view[: answer.received]):
        for piece in walk.feed(part):
            digest.update(piece)
    return digest.hexdigest()
