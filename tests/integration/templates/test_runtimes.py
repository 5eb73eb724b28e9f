"""What the programs of the templates for Ruby, PHP and Node make of what handlers do, well and badly."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.templates.catalogue import SHIPPED
from tests.conftest import debian_path
from tests.integration.afterburn.talking import HANDSHAKE, Peer, chunked, request

HANDLERS = Path(__file__).parent / "handlers"
DEADLINE = 60.0

COMMANDS = {"ruby": ["ruby", "index.rb"], "php": ["sh", "start.sh"]}


def built(language: str, handler: str, folder: Path) -> Path:
    """The template with a handler of the tests."""
    shutil.copytree(SHIPPED / language, folder)
    shutil.copy(HANDLERS / handler, folder / "function")
    return folder


@pytest.fixture(
    params=[
        pytest.param("ruby", marks=pytest.mark.service("ruby")),
        pytest.param("php", marks=pytest.mark.service("php")),
    ]
)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    language: str = request.param
    folder = built(language, {"ruby": "handler.rb", "php": "handler.php"}[language], tmp_path / "build")
    program, script = COMMANDS[language]
    started = Peer([program, str(folder / script)], {"PATH": debian_path()})
    try:
        assert started.ask(HANDSHAKE).status == 200
        yield started
    finally:
        started.kill()


def test_one_request_after_another_of_every_framing(peer: Peer) -> None:
    assert peer.ask(request(body=b"\x00\xff\r\n")).body == b"\x00\xff\r\n"
    assert peer.ask(request("GET")).body == b""
    assert peer.ask(chunked("/", b"2;x=y\r\nab\r\n", b"3\r\ncde\r\n", b"0\r\nTrailer: 1\r\n\r\n")).body == b"abcde"
    large = os.urandom(3_000_000)
    assert peer.ask(request(body=large)).body == large
    assert peer.ask(request("HEAD")).body == b""
    assert peer.ask(HANDSHAKE).status == 200


def test_handlers_see_the_request_and_shape_the_answer(peer: Peer) -> None:
    assert peer.ask(request("POST", "/query?a=1&b", b"")).body == b"a=1&b"
    assert peer.ask(request("POST", "/field", b"", "X-One: 1", "x-one: 2")).body == b"1, 2"
    cookies = peer.ask(request("POST", "/cookies", b""))
    assert (cookies.status, cookies.body) == (201, b"x")
    assert [value for name, value in cookies.fields if name == "set-cookie"] == ["a=1", "b=2"]
    assert peer.ask(request("POST", "/nothing", b"")).status == 204
    none = peer.ask(request("POST", "/none", b""))
    assert (none.status, none.body, none.field("content-type")) == (200, b"", "text/plain; charset=utf-8")


def test_what_is_printed_is_the_log_and_stdin_is_nobodys(peer: Peer) -> None:
    assert peer.ask(request("POST", "/print", b"")).body == b"printed"
    assert peer.ask(request("POST", "/stdin", b"")).body == b""
    assert "to the log\n" in peer.log()
    assert "from a child\n" in peer.log()


@pytest.mark.parametrize(
    ("path", "words"), [("/raise", b"broken"), ("/inject", b"not a header field"), ("/status", b"")]
)
def test_a_fault_is_500_and_the_next_request_is_answered(peer: Peer, path: str, words: bytes) -> None:
    answer = peer.ask(request("POST", path, b""))
    assert answer.status == 500
    assert words in answer.body
    assert words.decode() in peer.log()
    assert peer.ask(request(body=b"next")).body == b"next"


def test_a_handler_that_exits_has_its_caller_told(peer: Peer) -> None:
    assert peer.ask(request("POST", "/exit", b"")).status == 500


@pytest.mark.parametrize(
    "bad", [b"nonsense\r\n\r\n", request("POST", "/", None, "Transfer-Encoding: chunked") + b"x\r\n"]
)
def test_what_is_no_http_is_400_and_the_end(peer: Peer, bad: bytes) -> None:
    peer.send(bad)
    answer = peer.answer()
    assert (answer.status, answer.field("connection")) == (400, "close")
    assert peer.end() == (1, b"")


def test_the_end_of_stdin_ends_it(peer: Peer) -> None:
    assert peer.ask(request(body=b"x")).body == b"x"
    peer.close_stdin()
    assert peer.end() == (0, b"")


def test_the_end_of_stdin_inside_a_request_has_no_answer(peer: Peer) -> None:
    peer.send(request(body=b"four")[:-1])
    peer.close_stdin()
    assert peer.end() == (1, b"")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server for the handler in Node."""
    folder = built("node", "handler.js", tmp_path_factory.mktemp("node") / "build")
    process, port = started(folder / "index.js")
    try:
        yield port
        process.terminate()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()


def started(script: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server on a free port, which is told it by number: when another program takes it first, with a new one."""
    words = script.with_name("stderr")
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        environ = {"PATH": debian_path(), "PORT": str(port), "MAX_JSON_SIZE": "1kb"}
        with words.open("wb") as stderr:
            process = subprocess.Popen(["node", str(script)], env=environ, stdin=subprocess.DEVNULL, stderr=stderr)
        if listens(process, port):
            return process, port
        assert "EADDRINUSE" in words.read_text(), words.read_text()


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it listens on the port; False when it has ended instead."""
    deadline = time.monotonic() + DEADLINE
    try:
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                sockets = psutil.Process(process.pid).net_connections()
                if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in sockets):
                    return True
            assert time.monotonic() < deadline
            time.sleep(0.02)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return False


def ask(port: int, path: str, body: bytes = b"", kind: str = "text/plain", **fields: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    connection.request("POST", path, body, {"Content-Type": kind, **fields})
    return connection.getresponse()


@pytest.mark.service("node")
@pytest.mark.parametrize(
    ("path", "status", "kind", "body"),
    [
        ("/late", 200, "text/plain; charset=utf-8", b"late"),
        ("/succeed", 200, "text/plain; charset=utf-8", b"done"),
        ("/none", 200, "text/plain; charset=utf-8", b""),
        ("/number", 200, "text/plain; charset=utf-8", b"7"),
        ("/", 200, "application/json", b'{"returned":true}'),
        ("/stream", 200, "application/octet-stream", b"ab"),
        ("/raise", 500, "text/plain; charset=utf-8", b"broken\n"),
        ("/reject", 500, "text/plain; charset=utf-8", b"rejected\n"),
        ("/error", 500, "text/plain; charset=utf-8", b"called back\n"),
        ("/fail", 418, "text/plain; charset=utf-8", b"teapot\n"),
        ("/inject", 500, "text/plain; charset=utf-8", b'Invalid character in header content ["a"]\n'),
        ("/status", 500, "text/plain; charset=utf-8", b"Invalid status code: abc\n"),
    ],
)
def test_nodes_answers(node: int, path: str, status: int, kind: str, body: bytes) -> None:
    answer = ask(node, path)
    assert (answer.status, answer.getheader("Content-Type"), answer.read()) == (status, kind, body)


@pytest.mark.service("node")
def test_nodes_event(node: int) -> None:
    answer = ask(node, "/event?a=1&a=2&b=x%20y&__proto__=p", b"text", **{"X-One": "1"})
    event: dict[str, Any] = json.loads(answer.read())
    assert event == {
        "body": "text", "headers": "1", "method": "POST", "path": "/event",
        "query": {"a": ["1", "2"], "b": "x y", "__proto__": "p"},
    }  # fmt: skip
    assert ask(node, "/cookies").headers.get_all("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.service("node")
@pytest.mark.parametrize(
    ("kind", "body", "seen"),
    [
        ("application/json", b'{"a": 1}', b'object {"a":1}'),
        ("application/problem+json; charset=utf-8", b"[1]", b"object [1]"),
        ("application/json", b"", b"object {}"),
        ("application/x-www-form-urlencoded", b"a=1&b=x+y", b'object {"a":"1","b":"x y"}'),
        ("application/x-www-form-urlencoded", b"water", b'string "water"'),
        ("text/csv", b"a,b", b'string "a,b"'),
    ],
)
def test_nodes_bodies_by_their_type(node: int, kind: str, body: bytes, seen: bytes) -> None:
    assert ask(node, "/type", body, kind).read() == seen


@pytest.mark.service("node")
def test_nodes_bytes_stay_bytes(node: int) -> None:
    assert ask(node, "/bytes", b"\x00\xff", "application/octet-stream").read() == b"\x00\xff"


@pytest.mark.service("node")
def test_nodes_refusals(node: int) -> None:
    assert ask(node, "/", b"{bad", "application/json").status == 400
    assert ask(node, "/", b'"' + b"x" * 2000 + b'"', "application/json").status == 413


@pytest.mark.service("node")
def test_node_cuts_an_answer_that_fails_half_way(node: int) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(node, "/half").read()
