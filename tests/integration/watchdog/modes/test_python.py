"""mode=python in this process: conventions, streams, and what handlers do wrong."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.watchdog.importing import Application
from penstock.watchdog.jobs import BODY_MOST
from tests.watchdogs import LIMITS

Serve = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def serve(start: Any) -> Serve:
    """`await serve(handler, …)` gives a running watchdog that calls the handler."""

    async def begin(handler: Any, **variables: str) -> Any:
        return await start(application=Application(handler), mode="python", **variables)

    return begin


def record(running: Any) -> list[str]:
    """What the watchdog logs from now on."""
    lines: list[str] = []
    running.watchdog.log.line = lambda text, call_id=None: lines.append(text)
    return lines


# What a handler is given


async def test_event_has_body_headers_method_query_and_path(serve: Serve) -> None:
    def handle(event: Any, context: Any) -> dict[str, Any]:
        return {
            "body": {
                "body": repr(event.body),
                "header": event.headers["X-ONE"],
                "absent": event.headers.get("X-Two", "none"),
                "method": event.method,
                "first": event.query["a"],
                "all": event.query.getlist("a"),
                "path": event.path,
            }
        }

    running = await serve(handle)
    answer = await running.call("PUT", "/p%C3%A4th/x?a=1&a=2", b"\xff", [("x-one", "1")])
    assert json.loads(answer.body) == {
        "body": repr(b"\xff"),
        "header": "1",
        "absent": "none",
        "method": "PUT",
        "first": "1",
        "all": ["1", "2"],
        "path": "/päth/x",
    }


async def test_context_tells_host_call_and_time_left(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTNAME", "host-1")
    monkeypatch.setenv("OPENFAAS_NAME", "fn")

    def handle(event: Any, context: Any) -> dict[str, Any]:
        facts = [context.hostname, context.function_name, context.call_id, 0 < context.remaining <= 20]
        return {"body": {"facts": facts}}

    running = await serve(handle, exec_timeout="20s")
    answer = await running.call(headers=[("X-Call-Id", "c1")])
    assert json.loads(answer.body)["facts"] == ["host-1", "fn", "c1", True]


async def test_there_is_no_deadline_without_exec_timeout(serve: Serve) -> None:
    running = await serve(lambda event, context: str(context.deadline), exec_timeout="0")
    assert (await running.call()).body == b"None"


async def test_a_missing_header_or_argument_is_the_clients_fault(serve: Serve) -> None:
    running = await serve(lambda event, context: event.query["size"])
    answer = await running.call()
    assert (answer.status, answer.body) == (400, b"the request has no query argument 'size'\n")


async def test_one_parameter_gets_the_body_as_text_and_its_answer_ends_in_a_newline(serve: Serve) -> None:
    running = await serve(lambda req: req.upper())
    answer = await running.call(body="grün".encode())
    assert answer.body == "GRÜN\n".encode()
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_one_parameter_gets_bytes_with_raw_body(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_BODY", "true")
    running = await serve(lambda req: repr(req))
    assert (await running.call(body=b"\xff")).body == b"b'\\xff'\n"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_arrives_whole(serve: Serve, chunked: bool) -> None:
    running = await serve(lambda event, context: str(len(event.body)))
    assert (await running.call(body=b"x" * 3_000_000, chunked=chunked)).body == b"3000000"


async def test_a_body_announced_too_large_is_refused_at_once(serve: Serve) -> None:
    running = await serve(lambda event, context: "called")
    reader, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % (BODY_MOST + 1))
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_sends_half_a_body_never_reaches_the_handler(serve: Serve, until: Until) -> None:
    called: list[bytes] = []
    running = await serve(lambda event, context: called.append(event.body))
    _, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)
    assert called == []


# Kinds of handlers


class Callable_:
    def __call__(self, event: Any, context: Any) -> str:
        return "object"


class Asynchronous:
    async def __call__(self, event: Any, context: Any) -> str:
        return "async object"


async def asynchronous(event: Any, context: Any) -> str:
    await asyncio.sleep(0)
    return "async"


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*arguments: Any) -> Any:
        return function(*arguments)

    return inner


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (Callable_(), b"object"),
        (Asynchronous(), b"async object"),
        (asynchronous, b"async"),
        (decorated(asynchronous), b"async"),
        (functools.partial(lambda prefix, event, context: prefix, "partial"), b"partial"),
        (functools.partial(asynchronous), b"async"),
        (lambda: "nothing asked", b"nothing asked"),
        (lambda *arguments: str(len(arguments)), b"2"),
        (lambda event, context, more=1: "default", b"default"),
    ],
)
async def test_anything_that_can_be_called_is_a_handler(serve: Serve, handler: Any, expected: bytes) -> None:
    running = await serve(handler)
    assert (await running.call()).body == expected


async def test_handlers_that_wait_run_at_the_same_time(serve: Serve) -> None:
    together = threading.Barrier(4)

    def handle(event: Any, context: Any) -> str:
        return str(together.wait(30) >= 0)

    running = await serve(handle, python_threads="4")
    answers = await asyncio.gather(*[running.call() for _ in range(4)])
    assert [answer.body for answer in answers] == [b"True"] * 4


async def test_no_more_threads_than_allowed(serve: Serve) -> None:
    used: set[str] = set()

    def handle(event: Any, context: Any) -> None:
        used.add(threading.current_thread().name)
        time.sleep(0.01)

    running = await serve(handle, python_threads="2")
    await asyncio.gather(*[running.call() for _ in range(12)])
    assert 1 <= len(used) <= 2


async def test_a_short_call_is_answered_while_a_long_one_runs(serve: Serve) -> None:
    release = threading.Event()

    def handle(event: Any, context: Any) -> str:
        return str(release.wait(30)) if event.path == "/long" else "short"

    running = await serve(handle)
    long = asyncio.ensure_future(running.call("GET", "/long"))
    for _ in range(5):
        assert (await running.call("GET", "/short")).body == b"short"
    release.set()
    assert (await long).body == b"True"


# Streams


def numbers(event: Any, context: Any) -> Iterator[str]:
    yield from ("1\n", "2\n")


async def async_numbers(event: Any, context: Any) -> AsyncIterator[bytes]:
    for number in (b"1\n", b"2\n"):
        yield number


@pytest.mark.parametrize(
    "handler",
    [
        numbers,
        async_numbers,
        lambda event, context: numbers(event, context),
        lambda event, context: {"body": async_numbers(event, context), "headers": {"X-A": "b"}},
        decorated(async_numbers),
    ],
)
async def test_iterators_are_streamed(serve: Serve, handler: Any) -> None:
    running = await serve(handler)
    answer = await running.call()
    assert (answer.status, answer.body, answer.complete) == (200, b"1\n2\n", True)
    assert answer.headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("kind", ["thread", "loop"])
async def test_each_piece_is_sent_at_once(serve: Serve, kind: str) -> None:
    go_on = threading.Event()

    def threaded(event: Any, context: Any) -> Iterator[str]:
        yield "first"
        go_on.wait(30)
        yield "second"

    async def looped(event: Any, context: Any) -> AsyncIterator[str]:
        yield "first"
        while not go_on.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield "second"

    running = await serve(threaded if kind == "thread" else looped)
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    assert b"first" in await reader.readuntil(b"first\r\n")
    go_on.set()
    assert b"second" in await reader.readuntil(b"0\r\n\r\n")


def broken(event: Any, context: Any) -> Iterator[str]:
    yield "x"
    raise ValueError("midway")


async def async_broken(event: Any, context: Any) -> AsyncIterator[str]:
    yield "x"
    raise ValueError("midway")


@pytest.mark.parametrize("handler", [broken, async_broken])
async def test_a_stream_that_fails_midway_is_cut(serve: Serve, handler: Any) -> None:
    running = await serve(handler)
    lines = record(running)
    answer = await running.call()
    assert (answer.status, answer.body, answer.complete) == (200, b"x", False)
    assert "the handler failed: ValueError: midway" in lines


async def test_a_stream_that_fails_before_its_first_piece_is_a_500(serve: Serve) -> None:
    def handle(event: Any, context: Any) -> Iterator[str]:
        if event:
            raise ValueError("early")
        yield ""

    running = await serve(handle)
    assert (await running.call()).status == 500


async def test_a_piece_of_the_wrong_type_is_told(serve: Serve) -> None:
    running = await serve(lambda event, context: iter([1]))
    answer = await running.call()
    assert (answer.status, answer.body) == (500, b"the handler's iterator gave an int; it must give str or bytes\n")


@pytest.mark.parametrize("kind", ["thread", "loop"])
async def test_an_endless_stream_ends_with_its_client(serve: Serve, until: Until, kind: str) -> None:
    closed = threading.Event()

    def threaded(event: Any, context: Any) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.set()

    async def looped(event: Any, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.set()

    running = await serve(threaded if kind == "thread" else looped)
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    await reader.read(1000)
    writer.close()
    await until(closed.is_set)
    await until(lambda: running.watchdog.limiter.inflight == 0)


@pytest.mark.parametrize("kind", ["thread", "loop"])
async def test_a_slow_client_holds_an_iterator_back(serve: Serve, kind: str) -> None:
    given = 0

    def threaded(event: Any, context: Any) -> Iterator[bytes]:
        nonlocal given
        for _ in range(200):
            given += 1
            yield b"x" * 100_000

    async def looped(event: Any, context: Any) -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(200):
            given += 1
            yield b"x" * 100_000

    running = await serve(threaded if kind == "thread" else looped)
    reader, writer = await running.connect()
    writer.transport.pause_reading()
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    before = -1
    while before != given or not given:  # until it stands still
        before = given
        await asyncio.sleep(0.2)
    assert given < 200
    writer.transport.resume_reading()
    received = b""
    while not received.endswith(b"\r\n0\r\n\r\n"):
        received += await reader.read(1 << 20)
    assert given == 200
    assert received.count(b"xx") == 10_000_000


# What goes wrong


def recursing(event: Any, context: Any) -> Any:
    return recursing(event, context)


def deep(event: Any, context: Any) -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return {"body": {"deep": value}}


def exits(event: Any, context: Any) -> Any:
    sys.exit(3)


async def async_exits(event: Any, context: Any) -> Any:
    sys.exit(3)


async def cancelled(event: Any, context: Any) -> Any:
    raise asyncio.CancelledError


def interrupted(event: Any, context: Any) -> Any:
    raise KeyboardInterrupt


def out_of_memory(event: Any, context: Any) -> Any:
    raise MemoryError


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def unprintable(event: Any, context: Any) -> Any:
    raise Unprintable


@pytest.mark.parametrize(
    "handler", [recursing, deep, exits, async_exits, cancelled, interrupted, out_of_memory, unprintable]
)
async def test_a_handler_that_fails_costs_one_answer(serve: Serve, handler: Any) -> None:
    running = await serve(handler)
    lines = record(running)
    for _ in range(2):
        answer = await running.call()
        assert (answer.status, answer.body) == (500, b"the handler failed; its log says why\n")
        assert answer.headers["x-openfaas-internal"] == "penstock-watchdog"
    assert any(line.startswith("the handler failed: ") for line in lines)


async def test_the_traceback_is_in_the_log_with_the_call_id_and_shows_only_the_functions_frames(serve: Serve) -> None:
    def handle(event: Any, context: Any) -> None:
        raise ValueError("wrong")

    running = await serve(handle)
    lines = record(running)
    await running.call(headers=[("X-Call-Id", "c1")])
    text = "\n".join(lines)
    assert "call c1: the handler failed: ValueError: wrong" in lines
    assert __file__ in text
    assert "penstock/watchdog/modes" not in text


async def test_write_debug_puts_the_traceback_into_the_answer(serve: Serve) -> None:
    def handle(event: Any, context: Any) -> None:
        raise ValueError("wrong")

    running = await serve(handle, write_debug="true")
    assert b"Traceback" in (await running.call()).body


@pytest.mark.parametrize("headers", [{"X": "a\r\nSet-Cookie: b"}, {"X\n": "a"}, [("X", "a\0")], {"": "x"}])
async def test_a_header_that_would_forge_another_is_never_sent(serve: Serve, headers: Any) -> None:
    running = await serve(lambda event, context: {"body": "x", "headers": headers})
    answer = await running.call()
    assert answer.status == 500
    assert b"cannot be sent" in answer.body
    assert "set-cookie" not in answer.headers


async def test_a_handler_that_takes_too_long_is_answered_for(serve: Serve, until: Until) -> None:
    begun, release = threading.Event(), threading.Event()

    def handle(event: Any, context: Any) -> str:
        begun.set()
        return str(release.wait(60))

    running = await serve(handle, exec_timeout="10m")
    reasons: list[str] = []
    running.watchdog.mode._context = type(running.watchdog.mode._context)(
        running.watchdog.settings,
        running.watchdog.mode._loop,
        running.watchdog.spawner,
        running.watchdog.log,
        leave=reasons.append,
    )
    for limit in LIMITS:
        answer = await running.call(headers=[("X-Timeout", f"{limit}s")])
        assert (answer.status, answer.body.decode()) == (
            504,
            f"the function gave no complete answer within {limit:g} s\n",
        )
        if begun.is_set():
            break
    await until(lambda: reasons)
    assert "its thread is lost" in reasons[0]
    release.set()


async def test_a_call_that_waits_for_a_thread_for_too_long_is_never_begun(serve: Serve, until: Until) -> None:
    release, called = threading.Event(), []

    def handle(event: Any, context: Any) -> str:
        called.append(event.path)
        return str(release.wait(30))

    running = await serve(handle, exec_timeout="20s", python_threads="1")
    first = asyncio.ensure_future(running.call("GET", "/first"))
    await until(lambda: called)
    answer = await running.call("GET", "/second", headers=[("X-Timeout", "100ms")])
    assert answer.status == 504
    release.set()
    assert (await first).status == 200
    assert called == ["/first"]


async def test_an_asynchronous_handler_that_takes_too_long_is_cancelled(serve: Serve, until: Until) -> None:
    cancelled: list[bool] = []

    async def handle(event: Any, context: Any) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    running = await serve(handle, exec_timeout="100ms")
    lines = record(running)
    assert (await running.call()).status == 504
    await until(lambda: cancelled)
    assert lines == []


async def test_a_stream_that_takes_too_long_is_cut(serve: Serve) -> None:
    release = threading.Event()

    def handle(event: Any, context: Any) -> Iterator[str]:
        yield "x"
        release.wait(60)

    running = await serve(handle, exec_timeout="10m")
    answer: Any = None
    for limit in LIMITS:
        answer = await running.call(headers=[("X-Timeout", f"{limit}s")])
        if answer.status != 504:
            break
    assert (answer.body, answer.complete) == (b"x", False)
    release.set()


async def test_server_sent_events_may_go_on_for_ever(serve: Serve) -> None:
    async def events() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        await asyncio.sleep(0.6)
        yield "data: 2\n\n"

    running = await serve(
        lambda event, context: {"body": events(), "headers": {"Content-Type": "text/event-stream"}},
        exec_timeout="300ms",
    )
    assert (await running.call()).complete


async def test_a_handler_goes_on_when_its_client_has_left(serve: Serve, until: Until) -> None:
    release, finished = threading.Event(), threading.Event()

    def handle(event: Any, context: Any) -> str:
        release.wait(30)
        finished.set()
        return "too late"

    running = await serve(handle)
    _, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)
    release.set()
    await until(finished.is_set)


async def test_the_working_directory_is_restored(serve: Serve, tmp_path: Path) -> None:
    def handle(event: Any, context: Any) -> str:
        before = os.getcwd()
        os.chdir(tmp_path)
        return before

    here = os.getcwd()
    running = await serve(handle)
    assert [(await running.call()).body.decode() for _ in range(2)] == [here, here]


async def test_a_forked_child_that_returns_never_answers(serve: Serve) -> None:
    def handle(event: Any, context: Any) -> str:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return "parent"
        return "child"

    running = await serve(handle)
    for _ in range(3):
        assert (await running.call()).body == b"parent"


async def test_head_has_the_length_and_no_body(serve: Serve) -> None:
    running = await serve(lambda event, context: "hello")
    answer = await running.call("HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "5", b"")


async def test_head_of_a_stream_ends_with_its_head(serve: Serve) -> None:
    def endless(event: Any, context: Any) -> Iterator[str]:
        while True:
            yield "x"

    running = await serve(endless)
    answer = await running.call("HEAD")
    assert (answer.status, answer.complete, answer.body) == (200, True, b"")


async def test_a_handler_may_put_anything_in_place_of_stdout(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(event: Any, context: Any) -> str:
        monkeypatch.setattr(sys, "stdout", object())
        return "ok"

    running = await serve(handle)
    assert [(await running.call()).body for _ in range(2)] == [b"ok", b"ok"]


async def test_a_failed_import_is_told_to_probes_and_callers(start: Any) -> None:
    running = await start(application=Application(failure="it failed\n  Traceback"), mode="python")
    ready = await running.call("GET", "/_/ready")
    assert (ready.status, ready.body) == (503, b"it failed\n  Traceback\n")
    answer = await running.call("GET", "/")
    assert (answer.status, answer.body) == (503, b"the function cannot be used: it failed\n")
