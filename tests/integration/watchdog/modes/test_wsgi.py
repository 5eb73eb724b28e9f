"""The wsgi mode: an application served in threads of the watchdog itself."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import flask
import pytest

from penstock.watchdog.importing import Application
from penstock.watchdog.modes import wsgi as wsgi_mode
from penstock.watchdog.modes.wsgi import why_unfit
from tests.watchdogs import LIMITS

Start = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]
SLOW = 30.0


@pytest.fixture
def serve(start: Start) -> Callable[..., Awaitable[Any]]:
    """`await serve(app)` gives a watchdog that serves it."""

    async def begin(app: Any, **variables: str) -> Any:
        return await start(Application(app), mode="wsgi", handler="main:app", **variables)

    return begin


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What the applications of a test wait for; set when the test ends, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


async def raw(running: Any, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await running.connect()
    writer.write(data)
    return reader, writer


def plain(body: bytes) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    return app


# Requests


async def test_the_environ_describes_the_request(serve: Start) -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    fields = [
        ("X-Mine", "a"),
        ("x-mine", "b"),
        ("x_mine", "spoofed"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("Content-Type", "text/x"),
        ("X-Forwarded-For", "10.1.2.3:4567"),
        ("X-Forwarded-Proto", "https"),
    ]
    running = await serve(app, python_workers="2")
    await running.call("PUT", "/a%20b/%C3%A9?q=%20", b"abc", headers=fields)
    (environ,) = seen
    assert (environ["REQUEST_METHOD"], environ["SERVER_PROTOCOL"]) == ("PUT", "HTTP/1.1")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/a b/é".encode().decode("latin-1"))
    assert (environ["QUERY_STRING"], environ["REQUEST_URI"]) == ("q=%20", "/a%20b/%C3%A9?q=%20")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/x", "3")
    assert (environ["HTTP_X_MINE"], environ["HTTP_COOKIE"]) == ("a,b", "a=1; b=2")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("test", "443")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("10.1.2.3", "4567")
    assert environ["wsgi.url_scheme"] == "https"
    assert (environ["wsgi.multithread"], environ["wsgi.multiprocess"], environ["wsgi.run_once"]) == (True, True, False)


async def test_the_reference_validator_finds_nothing(serve: Start, capfd: pytest.CaptureFixture[str]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH", 0)))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    running = await serve(validator(app))
    assert (await running.call("POST", "/p?q", b"abc")).body == b"abc"
    assert (await running.call("GET")).status == 200
    assert "AssertionError" not in capfd.readouterr().err


async def test_a_path_that_cannot_be_decoded_is_a_bad_request(serve: Start) -> None:
    assert (await (await serve(plain(b""))).call("GET", "/%zz")).status == 400


def echo(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 10, 3 << 20])
async def test_a_body_is_read_and_echoed(serve: Start, chunked: bool, size: int) -> None:
    body = os.urandom(size)
    result = await (await serve(echo)).call("POST", "/", body, chunked=chunked)
    assert (result.status, result.body == body, result.complete) == (200, True, True)


async def test_lines_of_a_body_that_arrives_in_pieces(serve: Start, until: Until) -> None:
    lines: list[bytes] = []

    def app(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"]
        lines.append(body.readline(3))
        lines.append(body.readline())
        lines.extend(body)
        start_response("200 OK", [])
        return [b"%d" % len(lines)]

    reader, writer = await raw(await serve(app), b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\nfi")
    await asyncio.sleep(0.05)
    writer.write(b"rst\nsec")
    await until(lambda: len(lines) == 2)
    writer.write(b"ond\nxy")
    await asyncio.wait_for(reader.readuntil(b"4"), SLOW)
    assert lines == [b"fir", b"st\n", b"second\n", b"xy"]


async def test_a_client_waits_while_the_application_does_not_read(serve: Start, release: threading.Event) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        release.wait(SLOW)
        size = 0
        while data := environ["wsgi.input"].read(100000):
            size += len(data)
        start_response("200 OK", [])
        return [b"%d" % size]

    reader, writer = await raw(await serve(app), b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 33554432\r\n\r\n")
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            while sent < 33554432:
                writer.write(bytes(1 << 20))
                sent += 1 << 20
                await writer.drain()
    assert sent < 20 << 20
    release.set()
    writer.write(bytes(33554432 - sent))
    await asyncio.wait_for(reader.readuntil(b"33554432"), SLOW)


async def test_expect_100_is_granted_when_the_application_reads(serve: Start) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/read":
            environ["wsgi.input"].read()
        start_response("200 OK", [])
        return []

    running = await serve(app)
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    reader, writer = await raw(running, head % b"/read")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"x")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)).startswith(b"HTTP/1.1 200 ")
    reader, _ = await raw(running, head % b"/ignore")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("how", ["malformed", "gone"])
async def test_a_part_of_a_body_is_not_taken_for_the_whole(serve: Start, until: Until, how: str) -> None:
    errors: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            errors.append(str(error))
            raise
        return []

    running = await serve(app)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    reader, writer = await raw(running, head)
    await until(lambda: running.watchdog.mode.running)
    if how == "gone":
        writer.close()
    else:
        writer.write(b"oops\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)).startswith(b"HTTP/1.1 400 ")
    await until(lambda: errors == ["the body was not received as a whole"])
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_a_body_that_is_malformed_from_the_start_never_reaches_the_application(serve: Start) -> None:
    running = await serve(echo)
    reader, _ = await raw(running, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\noops\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SLOW)).startswith(b"HTTP/1.1 400 ")
    assert running.watchdog.limiter.inflight == 0


# Answers


async def test_pieces_are_sent_as_they_come_and_the_iterable_is_closed(
    serve: Start, until: Until, release: threading.Event
) -> None:
    closed: list[bool] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 Fine", [("X-Mine", "ü")])
        try:
            yield b"first"
            yield b""
            release.wait(SLOW)
            yield b"second"
        finally:
            closed.append(True)

    reader, _ = await raw(await serve(app), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"first"), SLOW)
    assert b"X-Mine: \xfc\r\n" in head
    release.set()
    await asyncio.wait_for(reader.readuntil(b"second\r\n0\r\n\r\n"), SLOW)
    await until(lambda: closed)


async def test_the_write_callable_sends(serve: Start) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"a")
        write(b"b")
        return [b"c"]

    assert (await (await serve(app)).call()).body == b"abc"


async def test_start_response_may_be_called_after_the_application_has_returned(serve: Start) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("201 Created", [("Content-Length", "2")])
        yield b"ok"

    result = await (await serve(app)).call()
    assert (result.status, result.body, result.headers["content-length"]) == (201, b"ok", "2")


@pytest.mark.parametrize(
    ("method", "status", "headers", "length"),
    [
        ("HEAD", "200 OK", [("Content-Length", "5")], "5"),
        ("HEAD", "200 OK", [], "5"),
        ("GET", "304 Not Modified", [], None),
        ("GET", "204 No Content", [], None),
    ],
)
@pytest.mark.parametrize("kind", [list, iter])
async def test_answers_without_a_body(
    serve: Start, method: str, status: str, headers: list[Any], length: str | None, kind: Any
) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        return kind([b"hel", b"lo"])

    result = await (await serve(app)).call(method)
    assert (result.status, result.body, result.complete) == (int(status[:3]), b"", True)
    if kind is list:
        assert result.headers.get("content-length") == length


async def test_an_error_page_replaces_a_head_that_was_not_sent(serve: Start) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-Old", "1")])
        try:
            raise ValueError
        except ValueError:
            import sys

            start_response("500 Oops", [("X-New", "1")], sys.exc_info())
        return [b"page"]

    result = await (await serve(app)).call()
    assert (result.status, result.body, "x-new" in result.headers, "x-old" in result.headers) == (
        500,
        b"page",
        True,
        False,
    )


async def test_an_error_page_that_comes_too_late_cuts_the_answer(serve: Start) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"part"
        try:
            raise ValueError
        except ValueError:
            import sys

            start_response("500 Oops", [], sys.exc_info())
        yield b"page"

    result = await (await serve(app)).call()
    assert (result.status, result.complete) == (200, False)


async def test_an_application_waits_for_a_slow_client(serve: Start) -> None:
    sent = 0

    def app(environ: Any, start_response: Any) -> Any:
        nonlocal sent
        start_response("200 OK", [])
        for _ in range(512):
            yield bytes(64 << 10)
            sent += 64 << 10

    reader, _ = await raw(await serve(app), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.read(1), SLOW)
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 8 << 20
    size = 0
    while size < 32 << 20:
        data = await asyncio.wait_for(reader.read(1 << 20), SLOW)
        assert data
        size += len(data)


async def test_requests_run_side_by_side(serve: Start) -> None:
    barrier = threading.Barrier(4)

    def app(environ: Any, start_response: Any) -> Any:
        barrier.wait(SLOW)
        start_response("200 OK", [])
        return []

    running = await serve(app, python_threads="4")
    results = await asyncio.gather(*(running.call() for _ in range(4)))
    assert [result.status for result in results] == [200] * 4


# Applications that fail


def raises(environ: Any, start_response: Any) -> Any:
    raise ValueError("no good")


def exits(environ: Any, start_response: Any) -> Any:
    raise SystemExit(3)


def returns_nothing(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])


def does_not_start(environ: Any, start_response: Any) -> Any:
    return [b"x"]


def starts_twice(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def returns_text(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return "text"


def returns_a_list_of_text(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return ["text"]


def wrong_status(environ: Any, start_response: Any) -> Any:
    start_response("OK", [])
    return []


def illegal_value(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("X", "a\r\nSet-Cookie: evil=1")])
    return []


def unencodable_value(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("X", "→")])
    return []


def too_long(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"hello"]


def too_short(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "9")])
    return [b"hello"]


@pytest.mark.parametrize(
    "app",
    [
        raises,
        exits,
        returns_nothing,
        does_not_start,
        starts_twice,
        returns_text,
        returns_a_list_of_text,
        wrong_status,
        illegal_value,
        unencodable_value,
        too_long,
        too_short,
    ],
)
async def test_a_failure_before_the_head_is_500_and_the_next_request_is_served(
    serve: Start, until: Until, app: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def either(environ: Any, start_response: Any) -> Any:
        return (app if environ["PATH_INFO"] == "/bad" else plain(b"good"))(environ, start_response)

    running = await serve(either, log_callid="true")
    result = await running.call("GET", "/bad", headers=[("X-Call-Id", "call-17")])
    assert (result.status, result.headers["x-openfaas-internal"]) == (500, "penstock-watchdog")
    assert (await running.call()).body == b"good"
    await until(lambda: running.watchdog.limiter.inflight == 0 and not running.watchdog.mode.running)
    assert "[call-17]" in capfd.readouterr().err


def raises_later(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"part"
    raise ValueError


def exceeds_later(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "6")])
    yield b"part"
    yield b"four"


def ends_short(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "6")])
    yield b"part"


@pytest.mark.parametrize("app", [raises_later, exceeds_later, ends_short])
async def test_a_failure_after_the_head_cuts_the_answer(serve: Start, until: Until, app: Any) -> None:
    running = await serve(app)
    result = await running.call()
    assert (result.status, result.complete) == (200, False)
    await until(lambda: running.watchdog.limiter.inflight == 0)


# Time, and clients that leave


async def test_a_call_that_takes_too_long_is_504_and_a_thread_that_does_not_return_costs_the_process(
    serve: Start, until: Until, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi_mode, "LOST_AFTER", 0.05)
    reasons: list[str] = []
    begun = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        begun.set()
        release.wait(SLOW)
        start_response("200 OK", [])
        return []

    running = await serve(app, exec_timeout="10m")
    running.watchdog.mode._leave = reasons.append
    for limit in LIMITS:
        assert (await running.call(headers=[("X-Timeout", f"{limit}s")])).status == 504
        if begun.is_set():
            break
    assert running.watchdog.limiter.inflight == 0
    await until(lambda: reasons)
    assert "its thread is lost" in reasons[0]


async def test_a_call_whose_time_is_over_while_it_waits_is_never_begun(
    serve: Start, until: Until, release: threading.Event
) -> None:
    begun: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        begun.append(environ["PATH_INFO"])
        release.wait(SLOW)
        start_response("200 OK", [])
        return []

    running = await serve(app, exec_timeout="10m", python_threads="1")
    first = asyncio.ensure_future(running.call("GET", "/1"))
    await until(lambda: begun)
    assert (await running.call("GET", "/2", headers=[("X-Timeout", "100ms")])).status == 504
    release.set()
    assert (await first).status == 200
    await until(lambda: not running.watchdog.mode.running)
    assert begun == ["/1"]


async def test_a_thread_that_writes_to_a_client_that_left_is_freed(serve: Start, until: Until) -> None:
    ended: list[bool] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            ended.append(True)

    running = await serve(app)
    reader, writer = await raw(running, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.read(1), SLOW)
    writer.close()
    await until(lambda: ended)
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_work_after_the_answer_is_finished_before_the_watchdog_ends(
    serve: Start, release: threading.Event
) -> None:
    done: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"ok"])

        def close(self) -> None:
            release.wait(0.1)
            done.append(True)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "2")])
        return Body()

    running = await serve(app)
    assert (await running.call()).body == b"ok"
    await running.watchdog.close()
    assert done == [True]


async def test_what_is_no_wsgi_application_is_never_ready(serve: Start) -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None: ...

    running = await serve(asgi)
    assert b"set mode=asgi" in (await running.call("GET", "/_/ready")).body
    assert (await running.call()).status == 503


def test_why_an_object_is_no_wsgi_application() -> None:
    assert why_unfit(raises) == why_unfit(flask.Flask("x")) == ""
    assert "must take environ" in why_unfit(lambda: None)


# Flask


async def test_flask_is_served(serve: Start) -> None:
    app = flask.Flask("function")

    @app.post("/echo/<name>")
    def echo_name(name: str) -> Any:
        return {"name": name, "body": flask.request.get_data(as_text=True), "args": flask.request.args["q"]}

    @app.get("/stream")
    def stream() -> Any:
        return flask.Response((f"{number};" for number in range(5)), mimetype="text/plain")

    @app.post("/form")
    def form() -> Any:
        return flask.request.files["file"].read()

    @app.get("/fail")
    def fail() -> Any:
        raise ValueError("inside")

    running = await serve(app)
    for chunked in (False, True):
        result = await running.call("POST", "/echo/you?q=1", "hü".encode(), chunked=chunked)
        assert flask.json.loads(result.body) == {"name": "you", "body": "hü", "args": "1"}
    assert (await running.call("GET", "/stream")).body == b"0;1;2;3;4;"
    assert (await running.call("GET", "/none")).status == 404
    assert (await running.call("GET", "/fail")).status == 500
    assert (await running.call("HEAD", "/stream")).status == 200
    data = os.urandom(2 << 20)
    form_body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + data + b"\r\n--b--\r\n"
    kind = [("Content-Type", "multipart/form-data; boundary=b")]
    assert (await running.call("POST", "/form", form_body, headers=kind)).body == data
