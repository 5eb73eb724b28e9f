"""`penstock invoke` as a filter: a real process with real pipes, since what it does to its descriptors is the point."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.unit.cli.support import Answer, ScriptedGateway

DEADLINE = 60.0


BLOB = random.Random(1).randbytes(3 << 20) + bytes(range(256))


class Echo:
    """A server that sends every byte of a chunked or sized body back as it arrives: full duplex, one connection at a time."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream, contextlib.suppress(ConnectionError):
                self._answer(connection, stream)

    @staticmethod
    def _answer(connection: socket.socket, stream: BinaryIO) -> None:
        length = None
        while (line := stream.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        if length is not None:
            connection.sendall(stream.read(length))
            return
        while size := int(stream.readline() or b"0", 16):
            connection.sendall(stream.read(size))
            stream.readline()


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Echo]:
    server = Echo()
    monkeypatch.setenv("PENSTOCK_URL", server.url)
    yield server
    server.close()


def test_a_blob_through_a_pipe_comes_back_byte_for_byte(echo: Echo, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(BLOB)
    line = f"cat {blob} | {sys.executable} -m penstock invoke f | cmp - {blob}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_two_invocations_chain(echo: Echo, gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.on("POST /function/second", Answer(200, b"the end"))
    second = f"{sys.executable} -m penstock invoke second -g {gateway.url}"
    line = f"printf 'a\\0b' | {sys.executable} -m penstock invoke first -g {echo.url} | {second}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout) == (0, b"the end")
    assert gateway.requests[0].body == b"a\0b"


def test_an_answer_arrives_while_the_body_is_still_being_written(echo: Echo) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "invoke", "f"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None and process.stdout is not None
    for text in (b"one\n", b"two\n", b"three\n"):
        process.stdin.write(text)
        assert process.stdout.read(len(text)) == text
    process.stdin.close()
    assert process.wait(DEADLINE) == 0
    process.stdout.close()


def test_a_file_on_stdin_is_sent_with_its_length_from_where_it_was_read(
    gateway: ScriptedGateway, tmp_path: Path
) -> None:
    gateway.on("POST /function/f", Answer(200))
    (tmp_path / "in").write_bytes(b"headerBODY")
    with (tmp_path / "in").open("rb") as file:
        os.lseek(file.fileno(), 6, os.SEEK_SET)
        subprocess.run([sys.executable, "-m", "penstock", "invoke", "f"], stdin=file, check=True, timeout=DEADLINE)
    assert gateway.requests[0].body == b"BODY"
    assert gateway.requests[0].headers["Content-Length"] == "4"


def test_no_stdin_is_an_empty_body(gateway: ScriptedGateway) -> None:
    gateway.on("POST /function/f", Answer(200, b"ok"))
    for redirection in ("< /dev/null", "<&-"):
        line = f"{sys.executable} -m penstock invoke f {redirection}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=DEADLINE)
        assert (done.returncode, done.stdout) == (0, b"ok")
    assert [request.headers["Content-Length"] for request in gateway.requests] == ["0", "0"]


def test_the_timeout_is_kept(echo: Echo) -> None:
    read, write = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "invoke", "f", "--timeout", "300ms"],
            stdin=read, capture_output=True, timeout=DEADLINE,
        )  # fmt: skip
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == 1
    assert b"took longer than 0.3 s" in done.stderr


def test_ctrl_c_exits_130_without_a_traceback(echo: Echo) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "invoke", "f"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(b"here")
    assert process.stdout.read(4) == b"here"
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 130
    assert b"Traceback" not in process.stderr.read()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def test_a_closed_stdout_ends_the_filter_quietly(echo: Echo, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(BLOB)
    line = f"cat {blob} | {sys.executable} -m penstock invoke f | head -c 10 > {tmp_path}/out"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=DEADLINE)
    assert done.stderr in (b"", b"cat: write error: Broken pipe\n")
    assert (tmp_path / "out").read_bytes() == BLOB[:10]


def test_a_terminal_on_stdin_is_announced_on_stderr(gateway: ScriptedGateway) -> None:
    gateway.on("POST /function/f", Answer(200, b"done"))
    controller, terminal = os.openpty()
    os.write(controller, b"typed\n\x04")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "invoke", "f"], stdin=terminal, capture_output=True, timeout=DEADLINE
        )
    finally:
        os.close(controller)
        os.close(terminal)
    assert (done.stdout, gateway.requests[0].body) == (b"done", b"typed\n")
    assert b"Ctrl-D" in done.stderr
