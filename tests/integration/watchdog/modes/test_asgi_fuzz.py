"""The asgi mode against applications and clients that do anything in any order: every call ends once, and the connection is sane."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.watchdog.app import Watchdog
from penstock.watchdog.importing import Application
from penstock.watchdog.limiter import Limiter
from penstock.watchdog.settings import load_settings

SLOW = 30.0

HEADERS = st.lists(
    st.sampled_from(
        [
            (b"x-a", b"1"),
            (b"content-length", b"0"),
            (b"content-length", b"5"),
            (b"content-length", b"70000"),
            (b"content-length", b"-1"),
            (b"Transfer-Encoding", b"chunked"),
            (b"connection", b"close"),
            (b"bad name", b"x"),
            (b"x", b"a\nb"),
            ("text", "text"),
        ]
    ),
    max_size=2,
)
HTTP_MESSAGES = st.one_of(
    st.builds(
        lambda status, headers: {"type": "http.response.start", "status": status, "headers": headers},
        st.sampled_from([200, 200, 200, 204, 304, 404, 500, 99, 101, "200", None]),
        HEADERS,
    ),
    st.builds(
        lambda body, more: {"type": "http.response.body", "body": body, "more_body": more},
        st.sampled_from([b"", b"12345", b"x" * 70000, "text", None, bytearray(b"12345")]),
        st.booleans(),
    ),
    st.sampled_from([{}, None, {"type": "nonsense"}, {"type": "http.response.trailers"}]),
)
SOCKET_MESSAGES = st.one_of(
    st.sampled_from(
        [
            {"type": "websocket.accept"},
            {"type": "websocket.accept"},
            {"type": "websocket.accept", "subprotocol": "x"},
            {"type": "websocket.close"},
            {"type": "websocket.close", "code": 1005},
            {"type": "websocket.send", "text": "hello"},
            {"type": "websocket.send", "bytes": b"x" * 70000},
            {"type": "websocket.send"},
            {"type": "websocket.http.response.start", "status": 418},
            {"type": "websocket.http.response.body", "body": b"tea", "more_body": True},
            {"type": "websocket.http.response.body", "body": b"tea"},
        ]
    ),
    HTTP_MESSAGES,
)


def actions(messages: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[str, Any]]]:
    """What an application does, one after another; `swallow` has it go on after a refused message."""
    return st.lists(
        st.one_of(
            st.tuples(st.just("send"), messages),
            st.tuples(st.just("swallow"), messages),
            st.tuples(st.sampled_from(["receive", "receive once more", "pause", "raise", "cancel", "exit"]), st.none()),
        ),
        max_size=8,
    )


REQUESTS = st.builds(
    lambda method, framing, body: (method, framing, body),
    st.sampled_from([b"GET", b"POST", b"HEAD"]),
    st.sampled_from(["none", "length", "chunked", "expect", "cut", "malformed"]),
    st.sampled_from([b"", b"hello", b"y" * 200000]),
)

FRAMES = st.lists(
    st.sampled_from(
        [
            b"\x81\x85\0\0\0\0hello",
            b"\x01\x81\0\0\0\0a",
            b"\x80\x81\0\0\0\0b",
            b"\x89\x80\0\0\0\0",
            b"\x88\x80\0\0\0\0",
            b"\x88\x82\0\0\0\0\x03\xe8",
            b"\x81\x05hello",
            b"\x83\x80\0\0\0\0",
            b"\x82\xfe\xff\xff\0\0\0\0" + bytes(65535),
            b"\x82\xfe\xff\xff\0\0\0\0half",
        ]
    ),
    max_size=6,
)


async def act(scope: Any, receive: Any, send: Any, script: list[tuple[str, Any]]) -> None:
    for what, message in script:
        if what == "send":
            await send(message)
        elif what == "swallow":
            try:
                await send(message)
            except Exception:
                continue
        elif what.startswith("receive"):
            async with asyncio.timeout(0.02):
                await receive()
        elif what == "pause":
            await asyncio.sleep(0.001)
        elif what == "raise":
            raise ValueError("on purpose")
        elif what == "exit":
            raise SystemExit(1)
        else:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()


class Books(Limiter):
    """Counts how often a call began and ended."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.taken = self.given_back = 0

    def acquire(self) -> bool:
        self.taken += 1
        return super().acquire()

    def release(self) -> None:
        self.given_back += 1
        super().release()


class Bench:
    """A watchdog whose application follows a script on /script and is well-behaved elsewhere."""

    def __init__(self, script: list[tuple[str, Any]], folder: str) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] != "lifespan"
            if scope["path"] == "/script":
                await act(scope, receive, send, script)
            else:
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"sane"})

        environ = {"mode": "asgi", "handler": "main:app", "TMPDIR": folder, "exec_timeout": "20s"}
        self.path = f"{folder}/socket"
        self.watchdog = Watchdog(load_settings(environ), environ, Application(app))
        self.limiter = self.watchdog.limiter = Books(0)

    async def settled(self) -> None:
        """Every call that began has ended, once, and no task is left."""
        mode: Any = self.watchdog.mode
        async with asyncio.timeout(SLOW):
            while mode.running or self.limiter.given_back < self.limiter.taken:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert self.limiter.given_back == self.limiter.taken
        assert self.limiter.inflight == 0
        assert self.watchdog.server.active == 0


def framed(method: bytes, framing: str, body: bytes) -> bytes:
    head = method + b" /script HTTP/1.1\r\nHost: x\r\n"
    if framing == "none":
        return head + b"\r\n"
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == "expect":
        return head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    if framing == "cut":
        return head + b"Content-Length: %d\r\n\r\n" % (len(body) + 10) + body
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return (
        head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + (b"zz\r\n" if framing == "malformed" else b"0\r\n\r\n")
    )


async def read_answer(parser: h11.Connection, reader: asyncio.StreamReader) -> bytes | None:
    """The body of a complete answer; None when it was cut. Raises when what came is no HTTP."""
    body = b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            try:
                data = await asyncio.wait_for(reader.read(1 << 16), SLOW)
            except ConnectionError:
                return None
            if not data:
                return None
            parser.receive_data(data)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return body
        elif isinstance(event, h11.ConnectionClosed):
            return None


async def exchange(script: list[tuple[str, Any]], request: tuple[bytes, str, bytes], leave: bool) -> None:
    method, framing, body = request
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(script, folder)
        await bench.watchdog.start("unix:" + bench.path)
        try:
            reader, writer = await asyncio.open_unix_connection(bench.path)
            writer.write(framed(method, framing, body))
            if not leave:
                parser = h11.Connection(h11.CLIENT)
                parser.send(h11.Request(method=method, target="/script", headers=[("Host", "x")]))
                parser.send(h11.EndOfMessage())
                if framing == "cut":
                    await asyncio.sleep(0.03)
                    writer.write_eof()
                complete = await read_answer(parser, reader)
                if complete is not None and parser.their_state is h11.DONE and framing not in ("cut", "malformed"):
                    parser.start_next_cycle()
                    await sane(parser, reader, writer)
            writer.close()
            await bench.settled()
        finally:
            await bench.watchdog.close()


async def sane(parser: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A connection that was kept serves the next request."""
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await read_answer(parser, reader) == b"sane"


async def talk(script: list[tuple[str, Any]], frames: list[bytes], leave: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(script, folder)
        await bench.watchdog.start("unix:" + bench.path)
        try:
            reader, writer = await asyncio.open_unix_connection(bench.path)
            writer.write(
                b"GET /script HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            if not leave:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)
                assert head.startswith(b"HTTP/1.1 ")
                writer.writelines(frames)
                await asyncio.sleep(0.002)
            writer.close()
            await bench.settled()
        finally:
            await bench.watchdog.close()


FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(actions(HTTP_MESSAGES), REQUESTS, st.booleans())
def test_any_http_application_with_any_client(
    script: list[tuple[str, Any]], request: tuple[bytes, str, bytes], leave: bool
) -> None:
    asyncio.run(exchange(script, request, leave))


@FEW
@given(actions(SOCKET_MESSAGES), FRAMES, st.booleans())
def test_any_websocket_application_with_any_client(
    script: list[tuple[str, Any]], frames: list[bytes], leave: bool
) -> None:
    asyncio.run(talk(script, frames, leave))
