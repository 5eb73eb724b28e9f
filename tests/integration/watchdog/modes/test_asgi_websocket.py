"""WebSockets of the asgi mode, seen by a client library and by clients that misbehave."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, unix_connect

from penstock.watchdog.asgi import websocket as asgi_websocket
from penstock.watchdog.importing import Application

Start = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]
SLOW = 30.0
KEY = base64.b64encode(bytes(16))
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, size: int | None = None
) -> bytes:
    """A client's frame; the mask is zero. `size` may announce another length than the payload's."""
    size = len(payload) if size is None else size
    head = bytes([opcode | (0x80 if fin else 0)])
    mask = 0x80 if masked else 0
    if size < 126:
        head += bytes([size | mask])
    elif size < 65536:
        head += bytes([126 | mask]) + struct.pack("!H", size)
    else:
        head += bytes([127 | mask]) + struct.pack("!Q", size)
    return head + (bytes(4) if masked else b"") + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(SLOW):
        first, size = await reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await reader.readexactly(8))
        return first & 15, await reader.readexactly(size)


async def close_code(reader: asyncio.StreamReader) -> int:
    """The code of the close that comes next, after which the connection ends."""
    opcode, payload = await read_frame(reader)
    assert opcode == CLOSE
    assert await asyncio.wait_for(reader.read(), SLOW) == b""
    return int(struct.unpack("!H", payload[:2])[0])


@pytest.fixture
def serve(start: Start) -> Callable[..., Awaitable[Any]]:
    async def begin(app: Any, **variables: str) -> Any:
        return await start(Application(app), mode="asgi", handler="main:app", **variables)

    return begin


@pytest.fixture
def socket_app(serve: Start) -> Callable[..., Awaitable[Any]]:
    """Serves one function as the WebSocket endpoint of a Starlette application."""

    async def begin(endpoint: Callable[[WebSocket], Awaitable[None]], **variables: str) -> Any:
        return await serve(Starlette(routes=[WebSocketRoute("/ws", endpoint)]), **variables)

    return begin


async def client(running: Any, **options: Any) -> ClientConnection:
    return await unix_connect(running.path, uri="ws://test/ws?q=1", **options)


async def raw(running: Any, handshake: bytes = HANDSHAKE) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await running.connect()
    writer.write(handshake)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return reader, writer


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        await socket.send({**message, "type": "websocket.send"})


async def test_messages_of_both_kinds_and_any_size_are_echoed(socket_app: Start) -> None:
    async with await client(await socket_app(echo), max_size=None) as socket:
        for message in ("text ✓", b"bytes", "", b"", "x" * 70000, os.urandom(1 << 20)):
            await socket.send(message)
            assert await asyncio.wait_for(socket.recv(), SLOW) == message


async def test_fragments_are_one_message(socket_app: Start) -> None:
    async with await client(await socket_app(echo)) as socket:
        await socket.send(["a", "b", "ü"])
        assert await asyncio.wait_for(socket.recv(), SLOW) == "abü"


async def test_the_scope_describes_the_handshake(serve: Start) -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-mine", b"1")]})

    running = await serve(app)
    async with await client(running, subprotocols=["a", "b"]) as socket:
        assert socket.subprotocol == "b"
        assert socket.response is not None
        assert socket.response.headers["x-mine"] == "1"
    (scope,) = scopes
    assert (scope["path"], scope["query_string"], scope["scheme"]) == ("/ws", b"q=1", "ws")
    assert scope["subprotocols"] == ["a", "b"]


async def test_pings_are_answered(socket_app: Start) -> None:
    async with await client(await socket_app(echo)) as socket:
        assert await asyncio.wait_for(await socket.ping(), SLOW) >= 0


async def test_the_application_learns_of_the_clients_close(socket_app: Start, until: Until) -> None:
    seen: list[Any] = []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await socket.receive_text()
        except WebSocketDisconnect as end:
            seen.append((end.code, end.reason))

    running = await socket_app(endpoint)
    async with await client(running) as socket:
        await socket.close(4001, "bye")
        assert socket.close_code == 4001
    await until(lambda: seen == [(4001, "bye")])
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_the_client_learns_of_the_applications_close(socket_app: Start, until: Until) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(4002, "enough")

    running = await socket_app(endpoint)
    async with await client(running) as socket:
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), SLOW)
        assert (socket.close_code, socket.close_reason) == (4002, "enough")
    await until(lambda: running.watchdog.limiter.inflight == 0)


@pytest.mark.parametrize(("fails", "code"), [(False, 1000), (True, 1011)])
async def test_an_application_that_ends_without_a_close(
    socket_app: Start, until: Until, fails: bool, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        if fails:
            raise ValueError("inside")

    running = await socket_app(endpoint)
    async with await client(running) as socket:
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), SLOW)
        assert socket.close_code == code
    assert ("ValueError: inside" in capfd.readouterr().err) is fails
    await until(lambda: running.watchdog.limiter.inflight == 0)


# Handshakes that do not become a WebSocket


async def handshake_status(running: Any, data: bytes = HANDSHAKE) -> bytes:
    reader, writer = await running.connect()
    writer.write(data)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)
    return bytes(head[9:12])


async def test_an_application_may_deny_a_websocket(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 1008})

    running = await serve(app)
    assert await handshake_status(running) == b"403"
    assert running.watchdog.limiter.inflight == 0


async def test_an_application_may_deny_with_an_answer_of_its_own(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"x-mine", b"1")]})
        await send({"type": "websocket.http.response.body", "body": b"tea", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"pot"})

    reader, writer = await (await serve(app)).connect()
    writer.write(HANDSHAKE)
    head = await asyncio.wait_for(reader.readuntil(b"teapot"), SLOW)
    assert head.startswith(b"HTTP/1.1 418 ")
    assert b"x-mine: 1\r\n" in head


@pytest.mark.parametrize("what", ["raise", "return", "wrong subprotocol", "send first"])
async def test_an_application_that_fails_before_it_accepts_is_500(serve: Start, what: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if what == "raise":
            raise ValueError
        if what == "wrong subprotocol":
            await send({"type": "websocket.accept", "subprotocol": "unheard of"})
        if what == "send first":
            await send({"type": "websocket.send", "text": "x"})

    running = await serve(app)
    assert await handshake_status(running) == b"500"
    assert running.watchdog.limiter.inflight == 0


async def test_an_application_that_does_not_decide_in_time_is_504(serve: Start, until: Until) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await asyncio.sleep(600)

    running = await serve(app, exec_timeout="200ms")
    assert await handshake_status(running) == b"504"
    await until(lambda: not running.watchdog.mode.running)


async def test_an_open_websocket_is_not_timed(socket_app: Start) -> None:
    running = await socket_app(echo, exec_timeout="500ms")
    async with await client(running) as socket:
        await asyncio.sleep(0.6)
        await socket.send("still here")
        assert await asyncio.wait_for(socket.recv(), SLOW) == "still here"


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"GET", b"POST", b"400"),
        (b"Version: 13", b"Version: 8", b"426"),
        (b"Sec-WebSocket-Version: 13\r\n", b"", b"426"),
        (KEY, b"short", b"400"),
        (KEY, b"", b"400"),
        (b"/ws", b"/%zz", b"400"),
    ],
)
async def test_a_bad_handshake_is_refused(socket_app: Start, old: bytes, new: bytes, status: bytes) -> None:
    assert await handshake_status(await socket_app(echo), HANDSHAKE.replace(old, new)) == status


async def test_another_upgrade_is_an_ordinary_request(socket_app: Start) -> None:
    handshake = HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: h2c")
    assert await handshake_status(await socket_app(echo), handshake) == b"404"


# Frames that no client should send


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(3, b"x"), 1002),
        (frame(TEXT | 0x40, b"x"), 1002),
        (frame(0, b"x"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PING, bytes(126)), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(CLOSE, b"\x00"), 1002),
        (frame(CLOSE, b"\x03\xee"), 1002),
        (b"\x81\xff" + b"\xff" * 8 + bytes(4), 1002),
    ],
)
async def test_a_malformed_frame_ends_the_connection_with_a_code(
    socket_app: Start, until: Until, data: bytes, code: int
) -> None:
    running = await socket_app(echo)
    reader, writer = await raw(running)
    writer.write(data)
    assert await close_code(reader) == code
    await until(lambda: running.watchdog.limiter.inflight == 0)
    await until(lambda: not running.watchdog.mode.running)


@pytest.mark.parametrize("pieces", [1, 100])
async def test_a_message_that_is_too_long_ends_the_connection(
    socket_app: Start, until: Until, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    monkeypatch.setattr(asgi_websocket, "MESSAGE_MOST", 100000)
    running = await socket_app(echo)
    reader, writer = await raw(running)
    writer.write(frame(BINARY, bytes(1001), fin=False))
    if pieces == 1:
        writer.write(frame(0, bytes(99999)))
    else:
        for _ in range(100):
            writer.write(frame(0, bytes(1000), fin=False))
    assert await close_code(reader) == 1009
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_many_tiny_fragments_count_for_more_than_their_bytes(
    socket_app: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_websocket, "MESSAGE_MOST", 10000)
    reader, writer = await raw(await socket_app(echo))
    writer.write(frame(TEXT, b"x", fin=False) + frame(0, b"x", fin=False) * 1000)
    assert await close_code(reader) == 1009


async def test_a_client_that_vanishes_within_a_frame(socket_app: Start, until: Until) -> None:
    running = await socket_app(echo)
    _, writer = await raw(running)
    writer.write(frame(TEXT, b"half", size=1000))
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await until(lambda: running.watchdog.limiter.inflight == 0)
    await until(lambda: not running.watchdog.mode.running)


async def test_a_send_after_the_client_has_gone_raises_oserror(serve: Start, until: Until) -> None:
    errors: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while not errors:
            try:
                await send({"type": "websocket.send", "text": "x"})
                await asyncio.sleep(0.01)
            except OSError as error:
                errors.append(error)

    _, writer = await raw(await serve(app))
    writer.close()
    await until(lambda: errors)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": b"x"},
        {"type": "websocket.send", "bytes": "x"},
        {"type": "websocket.send", "bytes": b"x", "text": "x"},
        {"type": "websocket.accept"},
        {"type": "websocket.close", "code": 1005},
        {"type": "websocket.close", "code": "x"},
        {"type": "websocket.close", "reason": 5},
        {"type": "http.response.start", "status": 200},
    ],
)
async def test_a_wrong_message_of_the_application_ends_the_connection_with_1011(
    serve: Start, message: dict[str, Any]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send(message)

    reader, writer = await raw(await serve(app))
    opcode, payload = await read_frame(reader)
    assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1011))
    writer.write(frame(CLOSE, payload[:2]))
    assert await asyncio.wait_for(reader.read(), SLOW) == b""


# Pace and silence


async def test_a_client_waits_for_a_slow_application_and_nothing_is_lost(socket_app: Start) -> None:
    go = asyncio.Event()
    total = 0

    async def endpoint(socket: WebSocket) -> None:
        nonlocal total
        await socket.accept()
        await go.wait()
        for _ in range(400):
            total += len(await socket.receive_bytes())
        await socket.send_text(str(total))

    running = await socket_app(endpoint)
    reader, writer = await raw(running)
    message = frame(BINARY, bytes(64 << 10))
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            for _ in range(400):
                writer.write(message)
                sent += 1
                await writer.drain()
    assert sent < 200
    go.set()
    for _ in range(400 - sent):
        writer.write(message)
        await writer.drain()
    assert await read_frame(reader) == (TEXT, b"%d" % (400 << 16))


async def test_an_application_waits_for_a_slow_client(socket_app: Start) -> None:
    sent = 0

    async def endpoint(socket: WebSocket) -> None:
        nonlocal sent
        await socket.accept()
        for _ in range(400):
            await socket.send_bytes(bytes(64 << 10))
            sent += 1

    reader, _ = await raw(await socket_app(endpoint))
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 200
    for _ in range(400):
        assert (await read_frame(reader))[0] == BINARY
    assert (await read_frame(reader))[0] == CLOSE


async def test_a_silent_client_is_pinged_and_then_given_up(socket_app: Start, until: Until) -> None:
    running = await socket_app(echo)
    reader, writer = await raw(running)
    (run,) = running.watchdog.mode.running
    for _ in range(3):
        run.expire()
        assert await read_frame(reader) == (PING, b"")
        writer.write(frame(PONG))
        await until(lambda: run._heard)
    run.expire()
    assert await read_frame(reader) == (PING, b"")
    run.expire()
    assert await asyncio.wait_for(reader.read(), SLOW) == b""
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_pings_are_sent_by_the_clock(socket_app: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_websocket, "PING_EVERY", 0.05)
    reader, _ = await raw(await socket_app(echo))
    assert await read_frame(reader) == (PING, b"")


async def test_a_client_that_does_not_answer_a_close_is_cut(
    socket_app: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_websocket, "CLOSE_WAIT", 0.2)

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()

    running = await socket_app(endpoint)
    reader, _ = await raw(running)
    assert await close_code(reader) == 1000
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_an_application_that_ignores_the_end_is_cancelled(
    serve: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_websocket, "GONE_GRACE", 0.1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await asyncio.sleep(600)

    running = await serve(app)
    _, writer = await raw(running)
    writer.close()
    await until(lambda: not running.watchdog.mode.running)
    assert running.watchdog.limiter.inflight == 0


async def test_a_watchdog_that_ends_ends_its_websockets(socket_app: Start, until: Until) -> None:
    running = await socket_app(echo)
    reader, _ = await raw(running)
    async with asyncio.timeout(SLOW):
        await running.watchdog.close()
        assert await reader.read() == b""
    assert not running.watchdog.mode.running
