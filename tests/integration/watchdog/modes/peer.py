"""A program for the afterburn mode that does what the request's path says, much of it wrong. Stdlib only, run as a script."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import BinaryIO

IN: BinaryIO = os.fdopen(0, "rb", closefd=False)


def main() -> None:
    start = os.environ.get("PEER_START", "")
    if start == "fail":
        sys.exit("no licence")
    if start == "banner":
        put(b"Welcome to peer 1.0\n")
    if start == "silent":
        time.sleep(600)
    if start == "gate":
        wait_at_the_gate()
    while line := IN.readline():
        method, target, _ = line.decode("latin-1").split(" ")
        fields = {}
        while (field := IN.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        if method == "OPTIONS" and start == "leave":
            answer(b"", b"Connection: close\r\n")
            return
        if method == "OPTIONS":
            answer(b"")
        else:
            act(method, target.partition("?")[0], fields)
    if target_file := os.environ.get("PEER_FAREWELL"):
        with open(target_file, "a") as file:
            file.write(f"{os.getpid()}\n")


def act(method: str, path: str, fields: dict[str, str]) -> None:
    if path == "/early":  # answers before the request is complete
        put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces(fields):
            put(b"%x\r\n%b\r\n" % (len(piece), piece))
        put(b"0\r\n\r\n")
        return
    body = b"".join(pieces(fields))
    if path == "/pid":
        answer(b"%d" % os.getpid())
    elif path == "/echo":
        answer(b"" if method == "HEAD" else body)
    elif path == "/head-length":
        put(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    elif path == "/head-chunked":
        put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    elif path == "/head-body":
        put(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        select.select([0], [], [])  # until it is asked for something else
        put(b"wrong")
    elif path == "/not-modified":
        put(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
    elif path == "/fields":
        answer("".join(f"{name}={value}\n" for name, value in fields.items()).encode("latin-1"))
    elif path == "/rubbish":
        put(b"\x00\xff rubbish \r\n\r\n")
    elif path == "/half":
        put(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        sys.exit(1)
    elif path == "/half-head":
        put(b"HTTP/1.1 200 OK\r\nContent-Le")
        sys.exit(1)
    elif path == "/two":
        one = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
        put(one + one.replace(b"one", b"two"))
    elif path == "/late":  # writes something after its answer
        answer(b"fine")
        wait_at_the_gate()
        put(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    elif path == "/unframed":
        put(b"HTTP/1.1 200 OK\r\n\r\nfor ever")
    elif path == "/both":
        put(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx")
    elif path == "/bad-chunk":
        put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    elif path == "/exit":
        os._exit(7)
    elif path == "/kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/close-stdout":
        os.close(1)
        time.sleep(600)
    elif path == "/hang":
        time.sleep(600)
    elif path == "/gate":
        wait_at_the_gate()
        answer(b"through")
    elif path == "/leave":
        answer(b"bye", b"Connection: close\r\n")
        sys.exit(0)
    elif path == "/gigabyte":
        put(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        for _ in range(1 << 14):
            put(b"x" * (1 << 16))
    elif path == "/ticks":
        put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            put(b"5\r\ntick\n\r\n")
            time.sleep(0.02)
    elif path == "/stderr":
        os.write(2, b"a word\n")
        answer(b"said")
    else:
        answer(b"not here", status=b"404 Not Found")


def wait_at_the_gate() -> None:
    """Until the test has made the file, at once where it names none."""
    gate = os.environ.get("PEER_GATE", "")
    while gate and not os.path.exists(gate):
        time.sleep(0.01)


def pieces(fields: dict[str, str]):  # type: ignore[no-untyped-def]
    if "chunked" in fields.get("transfer-encoding", ""):
        while size := int(IN.readline().split(b";")[0], 16):
            yield IN.read(size)
            IN.readline()
        while IN.readline() not in (b"\r\n", b""):
            pass
    else:
        left = int(fields.get("content-length", 0))
        while left:
            piece = IN.read(min(left, 65536))
            if not piece:
                sys.exit(3)
            left -= len(piece)
            yield piece


def answer(body: bytes, fields: bytes = b"", status: bytes = b"200 OK") -> None:
    put(b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(body), body))


def put(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


if __name__ == "__main__":
    main()
