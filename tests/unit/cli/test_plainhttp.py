"""One small GET over plain HTTP: what is an answer, and what is none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penstock.cli.plainhttp import get
from tests.unit.cli.support import Answer, ScriptedGateway, refusing, run_cli

DEADLINE = 60.0
"""Seconds that a server waits for who should ask it; only a defect makes it wait so long."""


@contextmanager
def saying(data: bytes) -> Iterator[str]:
    """The URL of a server that says these bytes to whoever asks first, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(DEADLINE)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while b"\r\n\r\n" not in connection.recv(1 << 16):
                pass
            connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join()
        listener.close()


def test_status_body_and_what_was_asked(gateway: ScriptedGateway) -> None:
    gateway.on("GET /a/b?c=d", Answer(418, b"\x00body"))
    assert get(f"{gateway.url}/a/b?c=d", {"Authorization": "Bearer x"}, 60) == (418, "I'm a Teapot", b"\x00body")
    [request] = gateway.requests
    assert request.headers["Authorization"] == "Bearer x"
    assert request.headers["Host"] == gateway.url.removeprefix("http://")


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    with saying(b"HTTP/1.0 200 OK\r\n\r\nall of it") as url:
        assert get(url, {}, 60) == (200, "OK", b"all of it")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 two OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
    ],
    ids=lambda data: str(len(data)),
)
def test_what_is_no_whole_answer_is_a_value_error(data: bytes) -> None:
    with saying(data) as url, pytest.raises(ValueError, match=r"its answer|it closed"):
        get(url, {}, 60)


def test_nobody_there_is_an_os_error() -> None:
    with refusing() as url, pytest.raises(ConnectionRefusedError):
        get(url, {}, 60)


def test_a_chunked_answer_is_asked_for_again_by_the_other_client(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(DEADLINE)
    heads = []

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                heads.append(connection.recv(1 << 16))
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        result = run_cli("list", "-j", "-g", f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        thread.join()
        listener.close()
    assert (result.exit_code, result.stdout) == (0, "[]\n")
    assert [head.split(b"\r\n")[0][-8:] for head in heads] == [b"HTTP/1.0", b"HTTP/1.1"]
