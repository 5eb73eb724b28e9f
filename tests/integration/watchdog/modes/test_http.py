"""The http mode: a supervised HTTP program and the relay to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import SettingsError
from penstock.watchdog.modes.http import parse_upstream

Start = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]

PROGRAM = r"""
import base64, hashlib, http.server, os, socketserver, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile_body = self.read_body()
        if self.path.startswith("/die"):
            os._exit(3)
        if self.path.startswith("/slow"):
            time.sleep(600)
        if self.path.startswith("/events"):
            return self.events()
        if self.headers.get("Upgrade"):
            return self.tunnel()
        lines = [f"{self.command} {self.path}", *(f"{k}: {v}" for k, v in self.headers.items()), ""]
        data = "\n".join(lines).encode() + self.rfile_body
        self.send_response(201, "Weird")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_HEAD = do_OPTIONS = do_FOO = answer

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            data = b"data: %d\n\n" % number
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            while not os.path.exists(os.environ["GATE"]):
                time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")

    def tunnel(self):
        self.send_response(101)
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        while line := self.rfile.readline():
            self.wfile.write(b"echo " + line)
        self.close_connection = True

    def log_message(self, *args):
        print("log line", file=sys.stderr, flush=True)

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
async def program(start: Start, tmp_path: Path, until: Until) -> Callable[..., Awaitable[Any]]:
    """Starts the program above behind a watchdog and waits until it is ready."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)

    async def begin(**variables: str) -> Any:
        running = await start(fprocess=f"{os.path.realpath('/proc/self/exe')} -S {path}", mode="http", **variables)
        await until(lambda: not running.watchdog.mode.unready())
        return running

    return begin


async def test_a_request_reaches_the_program_and_its_answer_the_client(program: Any) -> None:
    running = await program()
    answer = await running.call("POST", "/a%2Fb/c?q=%20", b"body", [("X-Mine", "1")])
    first, *lines = answer.body.decode().split("\n")
    assert (answer.status, first, lines[-1]) == (201, "POST /a%2Fb/c?q=%20", "body")
    assert "X-Mine: 1" in lines
    assert "Content-Length: 4" in lines
    assert float(answer.headers["x-duration-seconds"]) > 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "FOO"])
async def test_every_method_is_relayed(program: Any, method: str) -> None:
    answer = await (await program()).call(method)
    assert (answer.status, answer.complete) == (201, True)


async def test_hop_by_hop_fields_stop_here(program: Any) -> None:
    fields = [("Connection", "X-Hop"), ("X-Hop", "1"), ("TE", "trailers")]
    body = (await (await program()).call("GET", headers=fields)).body.lower()
    assert b"x-hop" not in body
    assert b"te: trailers" not in body


async def test_a_prefix_in_upstream_url_is_kept(program: Any, reserved_port: int) -> None:
    running = await program(upstream_url=f"http://127.0.0.1:{reserved_port}/base", PORT=str(reserved_port))
    assert (await running.call("GET", "/p")).body.startswith(b"GET /base/p\n")


async def test_a_large_body_streams_through(program: Any) -> None:
    body = os.urandom(8 << 20)
    running = await program()
    for chunked in (False, True):
        assert (await running.call("POST", "/", body, chunked=chunked)).body.endswith(body)


async def test_a_chunked_body_is_given_a_length_with_buffer_http(program: Any) -> None:
    running = await program(buffer_http="true")
    answer = await running.call("POST", "/", b"abc", chunked=True)
    assert b"Content-Length: 3\n" in answer.body
    assert answer.body.endswith(b"\nabc")
    assert b"chunked" not in answer.body


async def test_exec_timeout_is_504_by_the_watchdog(program: Any) -> None:
    answer = await (await program(exec_timeout="300ms")).call("GET", "/slow")
    assert (answer.status, answer.headers["x-openfaas-internal"]) == (504, "penstock-watchdog")


async def test_events_flow_at_once_and_are_not_timed(program: Any, tmp_path: Path) -> None:
    running = await program(exec_timeout="300ms", GATE=f"{tmp_path}/gate")
    reader, writer = await running.connect()
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\nAccept: Text/Event-Stream\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"data: 0"), 30)
    await asyncio.sleep(0.4)  # for longer than an answer may take
    assert b"data: 1" not in reader._buffer
    (tmp_path / "gate").touch()
    assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 30)


async def test_an_upgraded_connection_is_a_tunnel(program: Any) -> None:
    reader, writer = await (await program()).connect()
    writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert head.startswith(b"HTTP/1.1 101 ")
    writer.write(b"hello\n")
    assert await asyncio.wait_for(reader.readline(), 30) == b"echo hello\n"


async def test_a_program_that_dies_is_restarted_and_requests_meanwhile_are_told(program: Any, until: Until) -> None:
    running = await program()
    running.watchdog.mode.program._backoff.next = 1.0  # seconds in which to ask
    answer = await running.call("POST", "/die")
    assert (answer.status, answer.headers["x-openfaas-internal"]) == (502, "penstock-watchdog")
    await until(lambda: running.watchdog.mode.unready())
    answer = await running.call("GET")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert b"exit status 3" in answer.body
    ready = await running.call("GET", "/_/ready")
    assert ready.status == 503
    assert (await running.call("GET", "/_/health")).status == 200
    await until(lambda: not running.watchdog.mode.unready())
    assert (await running.call("GET")).status == 201


async def test_a_program_that_cannot_be_started_is_tried_again_with_growing_pauses(start: Start, until: Until) -> None:
    running = await start(fprocess="no-such-program", mode="http")
    await until(lambda: "was not found" in running.watchdog.mode.unready())
    await until(lambda: running.watchdog.mode.program._backoff.next > 0.3)
    assert b"was not found in PATH" in (await running.call()).body


async def test_a_port_that_another_process_serves_is_not_taken_for_the_program(start: Start, until: Until) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        running = await start(fprocess="sleep 600", mode="http", upstream_url=url)
        await until(lambda: "in use by another process" in running.watchdog.mode.unready())
        assert (await running.call()).status == 503


async def test_a_program_that_listens_late_becomes_ready_late(start: Start) -> None:
    running = await start(fprocess="sleep 600", mode="http")
    assert (await running.call("GET", "/_/ready")).status == 503


async def test_lines_of_the_program_are_logged(program: Any, capfd: pytest.CaptureFixture[str]) -> None:
    running = await program()
    await running.call("GET")
    await running.watchdog.close()
    assert "stderr: log line" in capfd.readouterr().err


async def test_the_program_ends_with_the_watchdog_even_if_it_ignores_sigterm(
    start: Start, script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr("penstock.watchdog.supervise.TERM_GRACE", 0.2)
    running = await start(fprocess=script("trap '' TERM; while :; do sleep 0.05; done"), mode="http")
    await until(lambda: running.watchdog.spawner.running)
    (pid,) = running.watchdog.spawner.running
    await running.watchdog.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def test_a_client_that_leaves_frees_its_slot(program: Any, until: Until) -> None:
    running = await program(max_inflight="1")
    _, writer = await running.connect()
    writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    assert (await running.call("GET")).status == 429
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)


@pytest.mark.parametrize(
    ("url", "address", "prefix"),
    [
        ("http://127.0.0.1:5000", "127.0.0.1:5000", b""),
        ("http://localhost", "localhost:80", b""),
        ("http://[::1]:81/base/", "[::1]:81", b"/base/"),
        ("http://unix:/run/app.sock:/base", "unix:/run/app.sock", b"/base"),
        ("http://unix:/run/app.sock:", "unix:/run/app.sock", b""),
    ],
)
def test_upstream_urls_that_are_understood(url: str, address: str, prefix: bytes) -> None:
    assert parse_upstream(url) == (address, prefix)


@pytest.mark.parametrize(
    "url", ["https://x", "127.0.0.1:5000", "http://", "http://x:0", "http://x:99999", "http://a b"]
)
def test_upstream_urls_that_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="upstream_url"):
        parse_upstream(url)
