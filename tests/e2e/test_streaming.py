"""Bodies that flow: large ones byte for byte, events one by one, WebSockets, both directions at once."""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.programs import Workshop, wait_dead
from tests.e2e.serving import Penstock, serving, wait_until

LARGE = 100 << 20
BLOCK = random.Random(1).randbytes(1 << 20)

APP = """
import base64, hashlib, http.server, os, socket, sys, threading
asked = threading.Semaphore(0)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self.websocket()
        if self.path == "/events":
            return self.events()
        if self.path == "/next":
            asked.release()
        if self.path == "/redirect":
            self.send_response(302); self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0"); self.end_headers(); return
        body = f"{self.path} {os.getpid()}".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def events(self):
        self.send_response(200); self.send_header("Content-Type", "text/event-stream"); self.end_headers()
        for number in range(5):
            self.wfile.write(f"data: {number}\\n\\n".encode()); self.wfile.flush(); asked.acquire(timeout=100)
        self.close_connection = True
    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            data = self.rfile.read(min(left, 1 << 16)); left -= len(data); digest.update(data)
        body = digest.hexdigest().encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101); self.send_header("Upgrade", "websocket"); self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers(); self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2: return
            size = head[1] & 127
            if size == 126: size = int.from_bytes(self.rfile.read(2), "big")
            elif size == 127: size = int.from_bytes(self.rfile.read(8), "big")
            mask = self.rfile.read(4); data = self.rfile.read(size)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
            length = bytes([size]) if size < 126 else b"\\x7e" + size.to_bytes(2, "big")
            self.wfile.write(head[:1] + length + data); self.wfile.flush()
            if head[0] & 15 == 8: return
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def server(workshop: Workshop) -> Iterator[Penstock]:
    with serving() as running:
        running.deploy("cat", "cat", mode="streaming", exec_timeout="10m")
        running.deploy("buffered", "cat", exec_timeout="10m")
        running.deploy("sum", "sha256sum", mode="streaming", exec_timeout="10m")
        running.deploy("app", workshop.python("app", APP), mode="http", exec_timeout="10m")
        yield running


def blocks() -> Iterator[bytes]:
    for number in range(LARGE >> 20):
        yield number.to_bytes(4, "big") + BLOCK[4:]


def digest() -> str:
    value = hashlib.sha256()
    for block in blocks():
        value.update(block)
    return value.hexdigest()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_arrives_byte_for_byte(server: Penstock, chunked: bool) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=120)
    headers = {} if chunked else {"Content-Length": str(LARGE)}
    connection.request("POST", "/function/sum", blocks(), headers, encode_chunked=chunked)
    answer = connection.getresponse()
    assert (answer.status, answer.read().split()[0].decode()) == (200, digest())
    connection.close()


def test_a_large_upload_to_an_http_program_arrives_byte_for_byte(server: Penstock) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=120)
    connection.request("POST", "/function/app", blocks(), {"Content-Length": str(LARGE)})
    answer = connection.getresponse()
    assert (answer.status, answer.read().decode()) == (200, digest())
    connection.close()


def test_a_large_download_arrives_byte_for_byte(server: Penstock, workshop: Workshop) -> None:
    source = workshop.file("large")
    with source.open("wb") as file:
        file.writelines(blocks())
    server.deploy("download", f"cat {source}", mode="streaming", exec_timeout="10m")
    status, value = _download(server, "download")
    assert (status, value) == (200, digest())


def _download(server: Penstock, name: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*server.address, timeout=120)
    connection.request("POST", f"/function/{name}", b"")
    response = connection.getresponse()
    value = hashlib.sha256()
    while piece := response.read(1 << 20):
        value.update(piece)
    connection.close()
    return response.status, value.hexdigest()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", ["cat", "buffered"])
def test_a_large_body_through_cat_and_back_is_the_same(server: Penstock, name: str, chunked: bool) -> None:
    """Reading and writing at the same time: `cat` answers while it is still being fed."""
    value = hashlib.sha256()
    with socket.create_connection(server.address, timeout=60) as connection:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {LARGE}"
        connection.sendall(f"POST /function/{name} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        sender = threading.Thread(target=_send_blocks, args=(connection, chunked))
        sender.start()
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        while piece := response.read(1 << 20):
            value.update(piece)
        sender.join()
    assert (response.status, value.hexdigest()) == (200, digest())


def _send_blocks(connection: socket.socket, chunked: bool) -> None:
    for block in blocks():
        connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
    if chunked:
        connection.sendall(b"0\r\n\r\n")


def test_each_piece_is_answered_before_the_next_is_sent(server: Penstock) -> None:
    with socket.create_connection(server.address, timeout=60) as connection:
        connection.sendall(b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        received = b""
        for number in range(10):
            word = b"piece-%d." % number
            connection.sendall(b"%x\r\n%b\r\n" % (len(word), word))
            while word not in received:
                piece = connection.recv(65536)
                assert piece, received
                received += piece
        connection.sendall(b"0\r\n\r\n")
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65536)


def test_events_arrive_as_they_are_written(server: Penstock) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    connection.request("GET", "/function/app/events", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.getheader("Content-Type") == "text/event-stream"
    for number in range(5):  # each is written only when the one before has been read
        assert (response.readline(), response.readline()) == (b"data: %d\n" % number, b"\n")
        assert server.request("GET", "/function/app/next").status == 200
    assert response.read() == b""
    connection.close()


def test_a_websocket_talks_through_gateway_and_watchdog(server: Penstock) -> None:
    url = server.base.replace("http://", "ws://") + "/function/app/socket"
    with connect(url, open_timeout=60, close_timeout=60) as websocket:
        for message in ("hello", "ü" * 1000, b"\x00\xff" * 20000):
            websocket.send(message)
            assert websocket.recv(60) == message
    assert websocket.close_code == 1000


def test_a_websocket_ends_when_its_program_is_removed(server: Penstock, workshop: Workshop) -> None:
    server.deploy("brief", workshop.python("brief", APP), mode="http", write_timeout="1s")
    url = server.base.replace("http://", "ws://") + "/function/brief"
    with connect(url, open_timeout=60, close_timeout=60) as websocket:
        websocket.send("hello")
        assert websocket.recv(60) == "hello"
        server.request("DELETE", "/system/functions", b'{"functionName":"brief"}', admin=True)
        with pytest.raises(ConnectionClosed):
            websocket.recv(60)


def test_a_program_of_http_mode_sees_its_path_and_its_redirects_are_passed_on(server: Penstock) -> None:
    assert server.request("GET", "/function/app/a%2Fb//c?x=%20").text.startswith("/a%2Fb/c?x=%20 ")
    answer = server.request("GET", "/function/app/redirect")
    assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")


def test_head_has_the_length_and_no_body(server: Penstock, workshop: Workshop) -> None:
    (workshop.directory / "site").mkdir()
    (workshop.directory / "site" / "page.txt").write_text("content")
    server.deploy("site", mode="static", static_path=str(workshop.directory / "site"))
    answer = server.request("HEAD", "/function/site/page.txt")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "7", b"")
    assert server.request("GET", "/function/site/page.txt").text == "content"
    assert server.request("GET", "/function/site/../serve.out").status in (400, 403, 404)
    assert server.request("GET", "/function/site/%2e%2e/%2e%2e/etc/passwd").status in (400, 403, 404)


def test_the_command_line_streams_both_ways_and_is_binary_clean(server: Penstock, workshop: Workshop) -> None:
    """`cat in | penstock invoke cat > out`."""
    source, target = workshop.file("in"), workshop.file("out")
    with source.open("wb") as file:
        file.writelines(blocks())
    with source.open("rb") as stdin, target.open("wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "invoke", "cat", "-g", server.base],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=120,
            env=server.environ,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest()


def test_an_aborted_download_ends_its_program(server: Penstock, workshop: Workshop) -> None:
    note = workshop.file("pid")
    program = workshop.python(
        "writes",
        f"""
        import os
        open({str(note)!r}, "w").write(str(os.getpid()))
        while True: os.write(1, b"z" * 65536)
        """,
    )
    server.deploy("writes", program, mode="streaming", exec_timeout="10m")
    with socket.create_connection(server.address) as connection:
        connection.sendall(b"POST /function/writes HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert connection.recv(65536)
        wait_until(lambda: note.exists() and note.read_text(), "the program's id", 60.0)
    wait_dead(int(note.read_text()))
