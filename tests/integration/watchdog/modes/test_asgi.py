"""The asgi mode: an application served in the watchdog itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from penstock.watchdog.asgi import http as asgi_http
from penstock.watchdog.asgi import lifespan as asgi_lifespan
from penstock.watchdog.importing import Application
from penstock.watchdog.modes.asgi import why_unfit
from tests.watchdogs import LIMITS

Start = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

SLOW = 30.0


def only_http(app: App) -> App:
    """An application that raises for anything but HTTP, as one without a life span does."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await app(scope, receive, send)

    return guarded


async def answer(send: Any, body: bytes = b"ok", status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def serve(start: Start) -> Callable[..., Awaitable[Any]]:
    """`await serve(app)` gives a watchdog that serves it over HTTP alone; `whole=True` hands it every scope."""

    async def begin(app: App, whole: bool = False, **variables: str) -> Any:
        application = Application(app if whole else only_http(app))
        return await start(application, mode="asgi", handler="main:app", **variables)

    return begin


async def raw(running: Any, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await running.connect()
    writer.write(data)
    return reader, writer


# Requests


async def test_the_scope_describes_the_request(serve: Start) -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await answer(send)

    fields = [
        ("X-Mine", "a"),
        ("x-mine", "b"),
        ("X-Forwarded-For", "9.9.9.9, 10.1.2.3:4567"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "public"),
    ]
    running = await serve(app)
    await running.call("PUT", "/a%20b/%C3%A9?q=%20&r", headers=fields)
    (scope,) = scopes
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert (scope["method"], scope["http_version"], scope["scheme"]) == ("PUT", "1.1", "https")
    assert (scope["path"], scope["raw_path"]) == ("/a b/é", b"/a%20b/%C3%A9")
    assert (scope["query_string"], scope["root_path"]) == (b"q=%20&r", "")
    assert scope["client"] == ("10.1.2.3", 4567)
    assert scope["server"] == ("test", 443)
    assert [value for name, value in scope["headers"] if name == b"x-mine"] == [b"a", b"b"]


async def test_each_request_of_a_connection_has_a_scope_of_its_own(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen = "mine" in scope or any(name == b"mine" for name, _ in scope["headers"]) or "mine" in scope["state"]
        scope["mine"] = scope["state"]["mine"] = 1
        scope["headers"].append((b"mine", b"1"))
        await answer(send, b"seen" if seen else b"new!", headers=[(b"content-length", b"4")])

    reader, _ = await raw(await serve(app), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    for _ in range(3):
        assert await asyncio.wait_for(reader.readuntil(b"new!"), SLOW)


@pytest.mark.parametrize("target", ["/%zz", "/%00"])
async def test_a_path_that_cannot_be_decoded_is_a_bad_request(serve: Start, target: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    assert (await (await serve(app)).call("GET", target)).status == 400


async def read_all(receive: Any) -> tuple[bytes, int]:
    body, pieces, more = b"", 0, True
    while more:
        message = await receive()
        assert message["type"] == "http.request", message
        body, more, pieces = body + message["body"], message["more_body"], pieces + 1
    return body, pieces


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 10, 3 << 20])
async def test_a_body_is_received_and_echoed(serve: Start, chunked: bool, size: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, _ = await read_all(receive)
        await answer(send, body)

    body = os.urandom(size)
    result = await (await serve(app)).call("POST", "/", body, chunked=chunked)
    assert (result.status, result.body == body, result.complete) == (200, True, True)


async def test_a_client_waits_while_the_application_does_not_read(serve: Start, until: Until) -> None:
    go = asyncio.Event()
    sizes: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sizes.append(len((await receive())["body"]))
        await go.wait()
        body, _ = await read_all(receive)
        await answer(send, b"%d" % (sizes[0] + len(body)))

    reader, writer = await raw(await serve(app), b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 33554432\r\n\r\n")
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            while sent < 33554432:
                writer.write(bytes(1 << 20))
                sent += 1 << 20
                await writer.drain()
    assert sent < 20 << 20
    go.set()
    writer.write(bytes(33554432 - sent))
    assert await asyncio.wait_for(reader.readuntil(b"33554432"), SLOW)


async def test_expect_100_is_granted_when_the_application_reads(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/read":
            await receive()
        await answer(send)

    running = await serve(app)
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    reader, writer = await raw(running, head % b"/read")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"x")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)).startswith(b"HTTP/1.1 200 ")
    reader, _ = await raw(running, head % b"/ignore")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_nobody_reads_does_not_spoil_the_connection(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")

    reader, writer = await raw(await serve(app), b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"done"), SLOW)
    writer.write(bytes(1000000) + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"done"), SLOW)


async def test_a_malformed_body_ends_the_request(serve: Start) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            continue
        seen.append(message["type"])
        with pytest.raises(OSError, match="gone"):
            await answer(send)

    reader, writer = await raw(
        await serve(app), b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello"
    )
    writer.write(b"oops")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)).startswith(b"HTTP/1.1 400 ")
    assert seen == ["http.disconnect"]


# Answers


async def test_an_answer_in_one_piece_has_a_length(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"hello", 201, [(b"X-Mine", b"1")])

    result = await (await serve(app)).call()
    assert (result.status, result.body) == (201, b"hello")
    assert (result.headers["content-length"], result.headers["x-mine"]) == ("5", "1")


async def test_pieces_are_sent_as_they_come(serve: Start) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"second"})

    reader, _ = await raw(await serve(app), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"first"), SLOW)
    go.set()
    await asyncio.wait_for(reader.readuntil(b"second\r\n0\r\n\r\n"), SLOW)


async def test_a_head_goes_out_before_its_first_piece_when_the_application_waits(serve: Start) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await go.wait()
        await send({"type": "http.response.body", "body": b"data"})

    reader, _ = await raw(await serve(app), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"chunked" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)
    go.set()
    await asyncio.wait_for(reader.readuntil(b"data"), SLOW)


@pytest.mark.parametrize(
    ("method", "status", "headers", "length"),
    [
        ("HEAD", 200, [(b"content-length", b"5")], "5"),
        ("HEAD", 200, [], "5"),
        ("HEAD", 404, [], "5"),
        ("GET", 304, [], None),
        ("GET", 304, [(b"content-length", b"9")], "9"),
        ("GET", 204, [], None),
    ],
)
async def test_answers_without_a_body(
    serve: Start, method: str, status: int, headers: list[Any], length: str | None
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"hello", status, headers)

    result = await (await serve(app)).call(method)
    assert (result.status, result.body, result.complete) == (status, b"", True)
    assert result.headers.get("content-length") == length


async def test_an_old_client_gets_a_stream_that_ends_by_closing(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body"})

    reader, _ = await raw(await serve(app), b"GET / HTTP/1.0\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), SLOW)).endswith(b"\r\n\r\nxxx")


async def test_an_application_waits_for_a_slow_client(serve: Start) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        for _ in range(512):
            await send({"type": "http.response.body", "body": bytes(64 << 10), "more_body": True})
            sent += 64 << 10
        await send({"type": "http.response.body", "body": b"end"})

    running = await serve(app)
    reader, _ = await raw(running, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.read(1), SLOW)
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 8 << 20
    await asyncio.wait_for(_discard_until(reader, b"end"), SLOW)


async def _discard_until(reader: asyncio.StreamReader, mark: bytes) -> None:
    tail = b""
    while mark not in tail:
        data = await reader.read(1 << 20)
        assert data
        tail = (tail + data)[-1000:]


async def test_an_application_that_never_waits_leaves_room_for_others(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/other":
            await answer(send)
            return
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": b"", "more_body": True})

    running = await serve(app)
    await raw(running, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await running.call("GET", "/other")).status == 200


async def test_hop_by_hop_fields_of_the_application_are_not_sent(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"hello", headers=[(b"Transfer-Encoding", b"chunked"), (b"Connection", b"keep-alive")])

    result = await (await serve(app)).call()
    assert (result.body, result.headers["content-length"]) == (b"hello", "5")
    assert result.headers["connection"] == "close"


# Applications that fail


async def raises_at_once(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("no good\r\nat all")


async def exits(scope: Any, receive: Any, send: Any) -> None:
    raise SystemExit(3)


async def sends_nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def sends_only_a_head(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})


async def starts_twice(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.start", "status": 200})


async def sends_a_body_first(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"x"})


async def sends_no_message(scope: Any, receive: Any, send: Any) -> None:
    await send(None)


async def sends_an_unknown_message(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})


async def sends_text(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": "text"})


async def sends_text_headers(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, headers=[("name", "value")])


async def sends_an_illegal_value(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, headers=[(b"x", b"a\r\nSet-Cookie: evil=1"), (b"content-length", b"2")])


async def sends_an_illegal_name(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, headers=[(b"x y", b"a")])


async def sends_a_wrong_status(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, status=101)


async def sends_two_lengths(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, headers=[(b"content-length", b"2"), (b"content-length", b"3")])


async def sends_more_than_announced(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"hello", headers=[(b"content-length", b"2")])


async def sends_less_than_announced(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"hello", headers=[(b"content-length", b"9")])


async def cancels_itself(scope: Any, receive: Any, send: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "app",
    [
        raises_at_once,
        exits,
        sends_nothing,
        sends_only_a_head,
        starts_twice,
        sends_a_body_first,
        sends_no_message,
        sends_an_unknown_message,
        sends_text,
        sends_text_headers,
        sends_an_illegal_value,
        sends_an_illegal_name,
        sends_a_wrong_status,
        sends_two_lengths,
        sends_more_than_announced,
        sends_less_than_announced,
        cancels_itself,
    ],
)
async def test_a_failure_before_the_head_is_500_and_the_next_request_is_served(
    serve: Start, app: App, capfd: pytest.CaptureFixture[str]
) -> None:
    async def either(scope: Any, receive: Any, send: Any) -> None:
        await (app if scope["path"] == "/bad" else sends_ok)(scope, receive, send)

    running = await serve(either, log_callid="true")
    result = await running.call("GET", "/bad", headers=[("X-Call-Id", "call-17")])
    assert (result.status, result.headers["x-openfaas-internal"]) == (500, "penstock-watchdog")
    assert (await running.call()).status == 200
    assert running.watchdog.limiter.inflight == 0
    assert not running.watchdog.mode.running
    assert "[call-17]" in capfd.readouterr().err


async def sends_ok(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)


async def test_a_traceback_is_logged_without_our_frames(serve: Start, capfd: pytest.CaptureFixture[str]) -> None:
    await (await serve(raises_at_once)).call()
    lines = capfd.readouterr().err
    assert "in raises_at_once" in lines
    assert "ValueError: no good" in lines
    assert "asgi/http.py" not in lines


async def begins(send: Any, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    await send({"type": "http.response.body", "body": b"part", "more_body": True})


async def raises_later(scope: Any, receive: Any, send: Any) -> None:
    await begins(send)
    raise ValueError


async def returns_early(scope: Any, receive: Any, send: Any) -> None:
    await begins(send)


async def exceeds_later(scope: Any, receive: Any, send: Any) -> None:
    await begins(send, [(b"content-length", b"6")])
    await send({"type": "http.response.body", "body": b"four"})


async def ends_short(scope: Any, receive: Any, send: Any) -> None:
    await begins(send, [(b"content-length", b"6")])
    await send({"type": "http.response.body", "body": b"1"})


@pytest.mark.parametrize("app", [raises_later, returns_early, exceeds_later, ends_short])
async def test_a_failure_after_the_head_cuts_the_answer(serve: Start, app: App) -> None:
    running = await serve(app)
    result = await running.call()
    assert (result.status, result.complete) == (200, False)
    assert running.watchdog.limiter.inflight == 0


async def test_a_message_after_the_answer_is_an_error_of_the_application_alone(
    serve: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)
        await answer(send)

    assert (await (await serve(app)).call()).complete
    assert "after the answer was complete" in capfd.readouterr().err


# Time


async def test_an_application_that_takes_too_long_is_cancelled_and_504(serve: Start, until: Until) -> None:
    cancelled = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled = True
            raise

    running = await serve(app, exec_timeout="100ms")
    result = await running.call()
    assert (result.status, result.headers["x-openfaas-internal"]) == (504, "penstock-watchdog")
    await until(lambda: cancelled and not running.watchdog.mode.running)


async def test_an_answer_that_takes_too_long_is_cut(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await begins(send)
        await asyncio.sleep(600)

    running = await serve(app, exec_timeout="10m")
    result: Any = None
    for limit in LIMITS:
        result = await running.call(headers=[("X-Timeout", f"{limit}s")])
        if result.status != 504:
            break
    assert (result.status, result.complete) == (200, False)


async def test_events_are_not_timed(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await begins(send)
        await asyncio.sleep(0.25)
        await send({"type": "http.response.body", "body": b"end"})

    result = await (await serve(app, exec_timeout="100ms")).call("GET", headers=[("Accept", "text/event-stream")])
    assert (result.body, result.complete) == (b"partend", True)


async def test_an_application_that_swallows_its_cancellation_is_answered_for_and_noted(
    serve: Start, until: Until, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asgi_http, "CANCEL_GRACE", 0.1)
    release = asyncio.Event()
    errors: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not release.is_set():
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                await release.wait()
        try:
            await answer(send)
        except OSError as error:
            errors.append(error)

    running = await serve(app, exec_timeout="100ms")
    assert (await running.call()).status == 504
    assert running.watchdog.limiter.inflight == 0
    log = ""

    def noted() -> bool:
        nonlocal log
        log += capfd.readouterr().err
        return "goes on though it was cancelled" in log

    await until(noted)
    release.set()
    await until(lambda: not running.watchdog.mode.running)
    assert len(errors) == 1


# Clients that leave


async def test_an_application_is_told_of_a_client_that_leaves(serve: Start, until: Until) -> None:
    messages: list[str] = []
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await begins(send)
        messages.append((await receive())["type"])
        messages.append((await receive())["type"])
        try:
            await send({"type": "http.response.body", "body": b"more"})
        except OSError as error:
            errors.append(str(error))
            raise

    running = await serve(app, max_inflight="1")
    reader, writer = await raw(running, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"part"), SLOW)
    writer.close()
    await until(lambda: errors and running.watchdog.limiter.inflight == 0)
    assert messages == ["http.disconnect"] * 2
    assert errors == ["the client has gone"]


async def test_a_client_that_leaves_ends_a_wait_for_it_to_read(serve: Start, until: Until) -> None:
    ended: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        except OSError as error:
            ended.append(error)

    running = await serve(app)
    reader, writer = await raw(running, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.read(1), SLOW)
    writer.close()
    await until(lambda: ended)


async def test_an_endless_application_that_ignores_that_its_client_left_is_cancelled(
    serve: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_http, "GONE_GRACE", 0.1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await begins(send)
        await asyncio.sleep(600)

    running = await serve(app)
    reader, writer = await raw(running, b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"part"), SLOW)
    writer.close()
    await until(lambda: not running.watchdog.mode.running)


async def test_an_application_that_asks_for_ever_after_the_end_does_not_hold_up_others(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)
        while scope["path"] == "/bad":
            await receive()

    running = await serve(app)
    assert (await running.call("GET", "/bad")).status == 200
    assert (await running.call("GET", "/good")).status == 200
    for run in running.watchdog.mode.running:
        run.cancel()


async def test_several_tasks_of_an_application_may_wait_at_once(serve: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, _ = await read_all(receive)
        watchers = [asyncio.ensure_future(receive()) for _ in range(3)]
        await asyncio.sleep(0)
        watchers[0].cancel()
        await answer(send, body)
        assert [message["type"] for message in await asyncio.gather(*watchers[1:])] == ["http.disconnect"] * 2

    running = await serve(app)
    assert (await running.call("POST", "/", b"abc")).body == b"abc"


# The life span


def with_life(log: list[str], broken: asyncio.Event | None = None) -> App:
    """Fails to start while it is broken, then serves its state."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            if broken is not None and broken.is_set():
                await send({"type": "lifespan.startup.failed", "message": "Traceback:\n  File x\nOSError: no database"})
                return
            scope["state"]["made"] = "at startup"
            await send({"type": "lifespan.startup.complete"})
            log.append("started")
            assert (await receive())["type"] == "lifespan.shutdown"
            log.append("stopped")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await answer(send, scope["state"]["made"].encode())

    return app


async def test_the_startup_comes_before_requests_and_the_shutdown_at_the_end(serve: Start) -> None:
    log: list[str] = []
    running = await serve(with_life(log), whole=True)
    assert log == ["started"]
    assert (await running.call("GET", "/_/ready")).status == 200
    assert (await running.call()).body == b"at startup"
    await running.watchdog.close()
    assert log == ["started", "stopped"]


async def test_a_startup_that_fails_is_told_and_tried_again(
    serve: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_lifespan, "RETRY_LEAST", 0.01)
    broken = asyncio.Event()
    broken.set()
    running = await serve(with_life([], broken), whole=True)
    ready = await running.call("GET", "/_/ready")
    assert ready.status == 503
    assert ready.body.startswith(b"the application's startup failed: OSError: no database\n  Traceback:")
    result = await running.call()
    assert (result.status, result.headers["retry-after"]) == (503, "1")
    assert b"Traceback" not in result.body
    broken.clear()
    await until(lambda: not running.watchdog.mode.unready())
    assert (await running.call()).status == 200


async def test_a_slow_startup_is_not_ready_yet(serve: Start, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_lifespan, "PATIENCE", 0.05)
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await with_life([])(scope, receive, send)

    running = await serve(app, whole=True)
    assert b"is starting" in (await running.call("GET", "/_/ready")).body
    go.set()
    await until(lambda: not running.watchdog.mode.unready())


async def test_a_shutdown_that_hangs_is_not_waited_for(serve: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_lifespan, "SHUTDOWN", 0.05)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.sleep(600)

    running = await serve(app, whole=True)
    async with asyncio.timeout(SLOW):
        await running.watchdog.close()


async def test_what_is_no_asgi_application_is_never_ready(serve: Start) -> None:
    def wsgi(environ: Any, start_response: Any) -> None: ...

    running = await serve(wsgi, whole=True)
    assert b"set mode=wsgi" in (await running.call("GET", "/_/ready")).body
    assert (await running.call()).status == 503


def test_why_an_object_is_no_asgi_application() -> None:
    class Two:
        def __init__(self, scope: Any) -> None: ...

    class Three:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    class Awaited:
        def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    assert why_unfit(raises_at_once) == why_unfit(Three()) == why_unfit(Awaited) == why_unfit(Starlette()) == ""
    assert "ASGI 2" in why_unfit(Two)
    assert "not a function that makes it" in why_unfit(lambda: None)
    assert "must take scope" in why_unfit(lambda a, b, c, d: None)


# Starlette


@pytest.fixture
def starlette_app() -> Starlette:
    done: list[str] = []

    async def echo(request: Request) -> Response:
        return JSONResponse({"name": request.path_params["name"], "body": (await request.body()).decode()})

    async def stream(request: Request) -> Response:
        async def pieces() -> Any:
            for number in range(5):
                yield f"{number};"
                await asyncio.sleep(0.001)

        return StreamingResponse(pieces())

    async def later(request: Request) -> Response:
        async def work() -> None:
            await asyncio.sleep(app.state.work)
            done.append("work")

        return PlainTextResponse("begun", background=BackgroundTask(work))

    async def fail(request: Request) -> Response:
        raise ValueError("inside")

    routes = [
        Route("/echo/{name}", echo, methods=["POST"]),
        Route("/stream", stream),
        Route("/later", later),
        Route("/fail", fail),
    ]
    app = Starlette(routes=routes)
    app.state.done, app.state.work = done, 0.05
    return app


async def test_starlette_is_served(serve: Start, starlette_app: Starlette, until: Until) -> None:
    running = await serve(starlette_app, whole=True)
    result = await running.call("POST", "/echo/you", b"hi")
    assert result.body == b'{"name":"you","body":"hi"}'
    assert (await running.call("GET", "/stream")).body == b"0;1;2;3;4;"
    assert (await running.call("GET", "/none")).status == 404
    assert (await running.call("GET", "/fail")).status == 500
    assert (await running.call("GET", "/later")).body == b"begun"
    await until(lambda: starlette_app.state.done == ["work"])


async def test_background_work_is_finished_before_the_watchdog_ends(serve: Start, starlette_app: Starlette) -> None:
    starlette_app.state.work = 0.6
    running = await serve(starlette_app, whole=True, exec_timeout="500ms")
    assert (await running.call("GET", "/later")).body == b"begun"
    await running.watchdog.close()
    assert starlette_app.state.done == ["work"]
