from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import stat
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from penstock.settings import WireSettings
from penstock.wire import connection as connection_module
from penstock.wire import server as server_module
from penstock.wire.connection import PIPELINE_BUFFER, WRITE_HIGH, Connection
from penstock.wire.errors import BodyTooLarge, ClientGone
from penstock.wire.exchange import Exchange
from penstock.wire.server import Server, bound_unix_socket
from tests.unit.wire.support import (
    DEADLINE,
    GET,
    POST_CHUNKED,
    Held,
    Notes,
    connect,
    echo_target,
    plain_socket,
    post,
    serving,
    the_connection,
    until,
)

READ_SIZE = 256 << 10
"""What either loop reads at once."""


async def test_a_connection_takes_one_request_after_another() -> None:
    async with serving(echo_target) as (_, port), connect(port) as client:
        for target in (b"/1", b"/2", b"/3"):
            client.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer()).body == target


async def test_hundreds_of_pipelined_requests_are_answered_in_order() -> None:
    targets = [b"/%d" % number for number in range(1500)]
    async with serving(echo_target) as (_, port), connect(port) as client:
        client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target for target in targets))
        answers = await client.read_until(b"/1499")
    undated = re.sub(rb"Date: [^\r]*\r\n", b"", answers)
    assert undated.split(b"HTTP/1.1 200 OK\r\n")[1:] == [
        b"Content-Length: %d\r\n\r\n%b" % (len(target), target) for target in targets
    ]


async def test_pipelined_requests_that_are_answered_later_are_still_answered_in_order() -> None:
    async def answer(exchange: Exchange) -> None:
        body = await exchange.read()
        await asyncio.sleep(0)
        exchange.respond(200, (), body)

    tasks = []

    def app(exchange: Exchange) -> None:
        tasks.append(asyncio.create_task(answer(exchange)))

    async with serving(app) as (_, port), connect(port) as client:
        bodies = [b"x" * (number * 37 % 4000) for number in range(100)]
        client.send(b"".join(post(len(body)) + body for body in bodies))
        for body in bodies:
            assert (await client.answer()).body == body


async def test_an_exchange_that_ends_within_the_next_ones_start_does_not_recurse() -> None:
    depth = deepest = 0

    def app(exchange: Exchange) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        exchange.respond(200)
        depth -= 1

    async with serving(app) as (_, port), connect(port) as client:
        client.send(GET * 3000)
        for _ in range(3000):
            await client.read_until(b"\r\n\r\n")
    assert deepest == 1


async def test_a_head_may_come_byte_by_byte() -> None:
    async with serving(echo_target) as (server, port), connect(port) as client:
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b"GET /slow HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
        await until(lambda: server.connections)
        buffered = 0
        for position in range(len(head)):
            buffered = len(the_connection(server).buffer)
            client.send(head[position : position + 1])
            while len(the_connection(server).buffer) == buffered:  # noqa: ASYNC110 - looks at every single byte
                await asyncio.sleep(0)
        assert (await client.answer()).body == b"/slow"


async def test_a_client_that_pipelines_without_reading_is_stopped_and_then_served() -> None:
    big = b"x" * 100_000
    async with serving(lambda exchange: exchange.respond(200, (), big)) as (server, port):
        sock = plain_socket(port)
        loop = asyncio.get_running_loop()
        count = 20_000
        sending = asyncio.ensure_future(loop.sock_sendall(sock, GET * count))
        await until(lambda: server.connections)
        connection = the_connection(server)
        await until(lambda: connection._paused)
        assert connection.transport.get_write_buffer_size() <= WRITE_HIGH + len(big) + 1000
        assert len(connection.buffer) <= PIPELINE_BUFFER + READ_SIZE
        received = 0
        while received < 50 * len(big):
            received += len(await loop.sock_recv(sock, 1 << 20))
            assert connection.transport.get_write_buffer_size() <= WRITE_HIGH + len(big) + 1000
            assert len(connection.buffer) <= PIPELINE_BUFFER + READ_SIZE
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        sock.close()


async def test_a_client_that_pipelines_while_its_answer_takes_time_is_stopped_too() -> None:
    app = Held()
    async with serving(app) as (server, port):
        sock = plain_socket(port)
        loop = asyncio.get_running_loop()
        sending = asyncio.ensure_future(loop.sock_sendall(sock, GET * 200_000))
        exchange = await app.next()
        connection = the_connection(server)
        await until(lambda: connection._paused)
        assert len(connection.buffer) <= PIPELINE_BUFFER + READ_SIZE
        exchange.respond(200)
        await app.next(1)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        sock.close()


async def test_a_client_that_pipelines_small_bodies_is_stopped_while_each_is_awaited() -> None:
    most = 0
    tasks = []

    async def answer(exchange: Exchange) -> None:
        nonlocal most
        for _ in range(3):
            await asyncio.sleep(0)
        await exchange.read()
        for _ in range(3):
            await asyncio.sleep(0)
            most = max(most, len(exchange._connection.buffer))
        exchange.respond(204)

    def app(exchange: Exchange) -> None:
        tasks.append(asyncio.create_task(answer(exchange)))

    async with serving(app) as (_, port), connect(port) as client:
        client.send((post(1) + b"x") * 100_000)
        for _ in range(300):
            await client.read_until(b"\r\n\r\n")
        client.reset()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert PIPELINE_BUFFER < most <= PIPELINE_BUFFER + READ_SIZE


async def test_empty_lines_before_a_request_are_ignored() -> None:
    async with serving(echo_target) as (_, port), connect(port) as client:
        client.send(b"\r\n\r\n" + GET + b"\r\n" + GET)
        assert (await client.answer()).body == b"/"
        assert (await client.answer()).body == b"/"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        (b"GET /" + b"a" * 3000, 414),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 60 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\0" * 100 + b"\r\n\r\n", 400),
    ],
)
async def test_a_request_that_cannot_be_served_is_answered_and_the_connection_closed(
    request_bytes: bytes, status: int
) -> None:
    app = Held()
    settings = WireSettings(max_target=2000, max_head=8000, max_fields=50)
    async with serving(app, settings) as (_, port), connect(port) as client:
        client.send(request_bytes)
        answer = await client.answer()
        assert answer.start == (b"%d" % status,)
        assert (b"connection", b"close") in answer.fields
        assert await client.rest() == b""
    assert app.exchanges == []


async def test_nothing_after_a_refused_request_is_served() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n" + GET * 3)
        assert (await client.answer()).start == (b"400",)
        client.send(GET)
        assert await client.rest() == b""
    assert app.exchanges == []


async def test_continue_is_sent_only_when_the_body_is_wanted() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(post(5, b"Expect: 100-continue"))
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        await until(lambda: notes.events == ["end"])
        assert notes.data == b"hello"
        exchange.respond(200)
        assert (await client.answer()).start == (b"200",)
        client.send(GET)
        await app.next(1)


async def test_continue_is_not_sent_when_the_body_has_already_come() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(post(5, b"Expect: 100-continue") + b"hello")
        exchange = await app.next()
        assert exchange.take_arrived(raw=False) == b"hello"
        notes = Notes()
        exchange.attach(notes)
        exchange.respond(200)
        assert (await client.read_until(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"


async def test_a_final_answer_instead_of_continue_closes() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(post(5, b"Expect: 100-continue"))
        (await app.next()).respond(200)
        answer = await client.answer()
        assert (b"connection", b"close") in answer.fields
        assert await client.rest() == b""


async def test_continue_is_not_sent_to_http10() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        exchange = await app.next()
        exchange.attach(Notes())
        exchange.respond(200)
        assert (await client.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_have_no_body_get_none(status: int) -> None:
    async with serving(lambda exchange: exchange.respond(status, (), b"surplus")) as (_, port), connect(port) as client:
        client.send(GET + GET)
        for _ in range(2):
            head = await client.read_until(b"\r\n\r\n")
            assert b"%d" % status in head
            assert (b"Content-Length" in head) == (status == 304)


async def test_head_gets_the_length_but_no_body() -> None:
    def app(exchange: Exchange) -> None:
        if exchange.request.target == b"/whole":
            exchange.respond(200, (), b"12345")
        else:
            exchange.start(200, content_length=3)
            exchange.write(b"123")
            exchange.finish()

    async with serving(app) as (_, port), connect(port) as client:
        client.send(b"HEAD /whole HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"Content-Length: 5\r\n" in await client.read_until(b"\r\n\r\n")
        assert b"Content-Length: 3\r\n" in await client.read_until(b"\r\n\r\n")
        assert client.buffer == b""


async def test_http10_keeps_the_connection_only_when_asked_to() -> None:
    async with serving(echo_target) as (_, port), connect(port) as client:
        client.send(b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = await client.answer()
        assert (b"connection", b"keep-alive") in answer.fields
        client.send(b"GET /2 HTTP/1.0\r\n\r\n")
        assert (await client.answer()).fields[-1] == (b"connection", b"close")
        assert await client.rest() == b""


async def test_an_answer_of_unknown_length_is_chunked_for_http11() -> None:
    def app(exchange: Exchange) -> None:
        exchange.start(200, reason=b"Fine")
        exchange.write(b"one")
        exchange.write(b"")
        exchange.write(b"t" * 20000)
        exchange.finish([(b"X-Sum", b"2")])

    async with serving(app) as (_, port), connect(port) as client:
        client.send(GET)
        answer = await client.answer()
        assert (answer.body, answer.trailers) == (b"one" + b"t" * 20000, [(b"x-sum", b"2")])


async def test_an_answer_of_unknown_length_ends_with_the_connection_for_http10() -> None:
    def app(exchange: Exchange) -> None:
        exchange.start(200)
        exchange.write(b"one")
        exchange.finish([(b"X-Sum", b"2")])

    async with serving(app) as (_, port), connect(port) as client:
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = re.sub(rb"Date: [^\r]*\r\n", b"", await client.rest())
        assert answer == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none"


async def test_every_answer_says_when_it_was_made_unless_the_application_does() -> None:
    def app(exchange: Exchange) -> None:
        exchange.respond(200, [(b"date", b"then")] if exchange.request.path == b"/then" else ())

    async with serving(app) as (_, port), connect(port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        (made,) = [value for name, value in (await client.answer()).fields if name == b"date"]
        assert abs(parsedate_to_datetime(made.decode()).timestamp() - time.time()) < 60
        client.send(b"GET /then HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [value for name, value in (await client.answer()).fields if name == b"date"] == [b"then"]


async def test_writing_more_than_announced_raises() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(GET)
        exchange = await app.next()
        exchange.start(200, content_length=3)
        exchange.write(b"12")
        with pytest.raises(ValueError, match="longer than its Content-Length by 1"):
            exchange.write(b"34")


async def test_an_answer_shorter_than_announced_is_cut() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(GET)
        exchange = await app.next()
        exchange.start(200, content_length=3)
        exchange.write(b"12")
        exchange.finish()
        assert exchange.done
        assert (await client.cut()).endswith(b"\r\n\r\n12")


async def test_an_aborted_chunked_answer_lacks_its_end() -> None:
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(GET)
        exchange = await app.next()
        exchange.start(200)
        exchange.write(b"12")
        exchange.abort()
        assert (await client.cut()).endswith(b"2\r\n12\r\n")
        assert server.active == 0


async def test_an_aborted_answer_that_would_end_by_closing_is_reset() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        exchange = await app.next()
        exchange.start(200)
        exchange.write(b"12")
        await client.read_until(b"12")
        exchange.abort()
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_what_comes_after_the_end_of_an_exchange_is_ignored() -> None:
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(GET)
        exchange = await app.next()
        exchange.respond(200, (), b"one")
        exchange.respond(500, (), b"two")
        exchange.start(500)
        exchange.write(b"three")
        exchange.finish()
        exchange.abort()
        exchange.pause()
        exchange.resume()
        exchange.attach(Notes())
        assert (await client.answer()).body == b"one"
        client.send(GET)
        (await app.next(1)).respond(200)
        assert (await client.answer()).body == b""
        assert server.active == 0


@pytest.mark.parametrize("bad", [b"X-\xe9", b"X\r\nEvil", b"X Y", b"", b"X:"])
async def test_a_field_name_that_would_break_the_answer_is_not_sent(bad: bytes) -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(GET)
        exchange = await app.next()
        with pytest.raises(ValueError, match="cannot send the field"):
            exchange.respond(200, [(bad, b"v")])
        exchange.respond(500)
        assert (await client.answer()).start == (b"500",)


async def test_a_client_that_leaves_is_reported_once() -> None:
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(GET)
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        client.close()
        await until(lambda: server.connections == 0)
        assert notes.events == ["end", "gone"]
        assert exchange.done
        assert server.active == 0
        exchange.respond(200)
        exchange.abort()
        assert notes.events == ["end", "gone"]


async def test_a_client_that_leaves_amid_its_body_is_reported_once() -> None:
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(post(10) + b"hello")
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        await until(lambda: notes.data == b"hello")
        client.reset()
        await until(lambda: server.connections == 0)
        assert notes.events == ["gone"]


async def test_a_client_that_leaves_while_its_body_is_paused_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "PEEK", 0.01)
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(post(1 << 30) + b"x" * 1000)
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        exchange.pause()
        client.send(b"y" * 100_000)
        await client.flush()
        client.close()
        await until(lambda: server.connections == 0)
        assert notes.events == ["gone"]


async def test_a_client_that_leaves_with_its_body_unread_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "PEEK", 0.01)
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(post(1 << 20))
        exchange = await app.next()
        notes = Notes()
        exchange.watch(notes)
        client.send(b"y" * 100_000)
        await until(lambda: the_connection(server)._paused)
        client.close()
        await until(lambda: server.connections == 0)
        assert notes.events == ["gone"]


async def test_a_client_that_reads_nothing_of_its_answer_is_cut_and_reported() -> None:
    app = Held()
    async with serving(app, WireSettings(send_timeout=0.3)) as (server, port), connect(port) as client:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET)
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        exchange.start(200, content_length=64 << 20)
        exchange.write(b"x" * (32 << 20))
        await until(lambda: server.connections == 0)
        assert notes.events[-1] == "gone"
        assert exchange.done


async def test_a_client_that_reads_slowly_is_not_cut() -> None:
    app = Held()
    async with serving(app, WireSettings(send_timeout=3600)) as (server, port), connect(port) as client:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET)
        exchange = await app.next()
        exchange.start(200, content_length=64 << 20)
        exchange.write(b"x" * (32 << 20))
        connection = the_connection(server)
        await until(lambda: connection._unread is not None)
        assert connection._unread is not None
        waiting = connection.transport.get_write_buffer_size()
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        await client.read_exactly(8 << 20)
        await until(lambda: connection.transport.get_write_buffer_size() < waiting)
        connection._unread.expire()
        assert server.connections == 1
        assert not exchange.done


async def test_a_paused_body_does_not_arrive_until_it_is_resumed() -> None:
    app = Held()
    size = 8 << 20
    async with serving(app) as (server, port), connect(port) as client:
        client.send(post(size))
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        exchange.pause()
        client.send(b"x" * size)
        await until(lambda: the_connection(server)._paused)
        assert len(notes.data) <= READ_SIZE
        exchange.resume()
        await until(lambda: notes.events == ["end"])
        assert len(notes.data) == size


async def test_a_client_that_reads_slowly_is_felt_by_the_producer() -> None:
    app = Held()
    async with serving(app) as (server, port):
        sock = plain_socket(port)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, GET)
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        exchange.start(200)
        while "full" not in notes.events:
            exchange.write(b"x" * 50_000)
            await asyncio.sleep(0)
        assert the_connection(server).transport.get_write_buffer_size() <= WRITE_HIGH + 50_010
        while "writable" not in notes.events:
            await loop.sock_recv(sock, 1 << 20)
        assert notes.events == ["end", "full", "writable"]
        sock.close()


async def test_a_head_that_does_not_come_in_time_is_answered_408() -> None:
    async with serving(Held(), WireSettings(head_timeout=0.05)) as (_, port), connect(port) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        assert (await client.answer()).start == (b"408",)
        assert await client.rest() == b""


async def test_a_head_that_drips_in_byte_by_byte_is_cut_off_all_the_same() -> None:
    async with serving(Held(), WireSettings(head_timeout=0.05)) as (_, port), connect(port) as client:
        client.send(b"GET / HTTP/1.1\r\nX: ")

        async def drip() -> None:
            while not client.reader.at_eof():
                client.send(b"a")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert (await client.answer()).start == (b"408",)
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_body_that_stops_coming_is_answered_408_and_reported() -> None:
    app = Held()
    async with serving(app, WireSettings(body_timeout=0.05)) as (_, port), connect(port) as client:
        client.send(post(10) + b"hello")
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        assert (await client.answer()).start == (b"408",)
        assert notes.events == ["gone"]
        assert exchange.done


async def test_a_body_that_comes_another_way_has_all_the_time_until_more_of_it_comes_here() -> None:
    app = Held()
    async with serving(app, WireSettings(body_timeout=0.05)) as (server, port), connect(port) as client:
        client.send(post(10) + b"hello")
        exchange = await app.next()
        server.body_timeout = DEADLINE  # until it is excused
        notes = Notes()
        exchange.attach(notes)
        await until(lambda: notes.data == b"hello")
        exchange.excuse_body()
        server.body_timeout = 0.05
        ticks = server.sweeper.now
        await until(lambda: server.sweeper.now > ticks + 0.5)
        assert not exchange.done
        client.send(b"wor")
        assert (await client.answer()).start == (b"408",)
        assert notes.events[-1] == "gone"


async def test_a_body_that_nobody_wants_yet_has_all_the_time() -> None:
    app = Held()
    async with serving(app, WireSettings(body_timeout=0.01)) as (server, port), connect(port) as client:
        client.send(post(10) + b"hello")
        exchange = await app.next()
        ticks = server.sweeper.now
        await until(lambda: server.sweeper.now > ticks + 0.3)
        server.body_timeout = DEADLINE  # from here on it is wanted
        notes = Notes()
        client.send(b"world")
        exchange.attach(notes)
        exchange.pause()
        exchange.resume()
        await until(lambda: "end" in notes.events)
        assert notes.data == b"helloworld"


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with serving(echo_target, WireSettings(idle_timeout=0.05)) as (server, port):
        soon, server.idle_timeout = server.idle_timeout, DEADLINE
        async with connect(port) as used:
            await until(lambda: server.connections)
            server.idle_timeout = soon  # counts from its answer on, and for the next connection
            used.send(GET)
            await used.answer()
            async with connect(port) as fresh:
                assert await fresh.rest() == b""
            assert await used.rest() == b""


async def test_connections_above_the_limit_are_answered_503() -> None:
    async with serving(echo_target, WireSettings(max_connections=2)) as (server, port):
        async with connect(port) as one, connect(port) as two:
            for client in (one, two):
                client.send(GET)
                await client.answer()
            async with connect(port) as three:
                answer = await three.answer()
                assert answer.start == (b"503",)
                assert (b"retry-after", b"1") in answer.fields
                assert await three.rest() == b""
            await until(lambda: server.connections == 2)
            one.close()
            await until(lambda: server.connections == 1)
        async with connect(port) as four:
            four.send(GET)
            assert (await four.answer()).start == (b"200",)


@pytest.mark.parametrize(
    "body", [post(100_000) + b"x" * 100_000, POST_CHUNKED + b"5\r\nhello\r\n" * 9000 + b"0\r\n\r\n"]
)
async def test_a_body_that_nobody_took_is_read_past_after_success(body: bytes) -> None:
    async with serving(echo_target) as (_, port), connect(port) as client:
        client.send(body + GET)
        assert (await client.answer()).start == (b"200",)
        assert (await client.answer()).start == (b"200",)


async def test_a_body_that_nobody_took_is_read_past_even_where_reading_was_stopped() -> None:
    app = Held()
    size = 4 << 20
    async with serving(app) as (server, port), connect(port) as client:
        client.send(post(size) + b"x" * size + GET)
        exchange = await app.next()
        await until(lambda: the_connection(server)._paused and len(the_connection(server).buffer) > PIPELINE_BUFFER)
        exchange.start(200, content_length=0)
        exchange.finish()
        (await app.next(1)).respond(204)
        assert (await client.answer()).start == (b"200",)
        assert (await client.answer()).start == (b"204",)


async def test_a_body_that_nobody_took_closes_the_connection_after_an_error() -> None:
    async with serving(lambda exchange: exchange.respond(404)) as (_, port), connect(port) as client:
        client.send(post(1 << 30) + b"x" * 1000)
        answer = await client.answer()
        assert answer.start == (b"404",)
        assert (b"connection", b"close") in answer.fields
        assert await client.rest() == b""


@pytest.mark.parametrize("later", [False, True])
async def test_a_malformed_body_is_answered_400_once_and_its_listener_told(later: bool) -> None:
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(POST_CHUNKED + (b"" if later else b"x\r\n"))
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        if later:
            client.send(b"5\r\nhelloXX")
        assert (await client.rest()).count(b"HTTP/1.1 400 Bad Request") == 1
        assert notes.events == ["gone"]
        assert server.active == 0


async def test_a_malformed_body_that_came_with_the_head_is_answered_once_whatever_the_application_says() -> None:
    async with serving(echo_target) as (server, port), connect(port) as client:
        client.send(POST_CHUNKED + b"x\r\n")
        assert (await client.rest()).count(b"HTTP/1.1 ") == 1
        assert server.active == 0


async def test_a_malformed_body_after_the_answer_began_cuts_it() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(POST_CHUNKED)
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        exchange.start(200)
        exchange.write(b"first")
        await client.read_until(b"first\r\n")
        client.send(b"no size\r\n")
        assert b"0\r\n\r\n" not in await client.cut()
        assert notes.events == ["gone"]


async def test_a_request_behind_an_unread_body_is_never_mistaken_for_part_of_it() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(post(len(GET)) + GET + b"GET /real HTTP/1.1\r\nHost: a\r\n\r\n")
        (await app.next()).respond(200)
        assert (await app.next(1)).request.target == b"/real"


async def test_the_whole_body_can_be_read() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(POST_CHUNKED + b"5\r\nhello\r\n")
        reading = asyncio.ensure_future((await app.next()).read(limit=10))
        client.send(b"5\r\nworld\r\n0\r\n\r\n")
        assert await reading == b"helloworld"


async def test_a_body_above_the_readers_limit_raises_and_can_still_be_answered() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(post(11) + b"helloworld!")
        exchange = await app.next()
        with pytest.raises(BodyTooLarge):
            await exchange.read(limit=10)
        exchange.respond(413)
        assert (await client.answer()).start == (b"413",)


async def test_reading_the_body_of_a_client_that_left_raises_before_and_after() -> None:
    app = Held()
    async with serving(app) as (_, port), connect(port) as client:
        client.send(post(11))
        exchange = await app.next()
        reading = asyncio.ensure_future(exchange.read())
        await asyncio.sleep(0)
        client.close()
        with pytest.raises(ClientGone):
            await reading
        with pytest.raises(ClientGone):
            await exchange.read()


async def test_a_tunnel_carries_bytes_both_ways_from_the_head_on() -> None:
    app = Held()
    early = b"e" * (PIPELINE_BUFFER * 8)
    async with serving(app) as (server, port), connect(port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + early)
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        await until(lambda: the_connection(server)._paused)
        exchange.send_head(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", True)
        exchange.tunnel()
        await client.read_until(b"\r\n\r\n")
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: len(notes.data) == len(early) + 18)
        exchange.send(b"back")
        assert await client.read_exactly(4) == b"back"
        client.close()
        await until(lambda: "gone" in notes.events)


async def test_what_a_tunnels_client_sent_before_it_closed_still_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "PEEK", 0.01)
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        exchange.send_head(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", True)
        exchange.tunnel()
        await client.read_until(b"\r\n\r\n")
        exchange.pause()
        client.send(b"x" * 300_000)
        await client.flush()
        client.close()
        ticks = server.sweeper.now
        await until(lambda: server.sweeper.now > ticks + 0.3)
        exchange.resume()
        await until(lambda: "gone" in notes.events)
        assert len(notes.data) == 300_000


async def test_draining_finishes_what_is_in_flight_and_closes_what_is_idle() -> None:
    app = Held()
    async with serving(app) as (server, port), connect(port) as busy, connect(port) as idle:
        busy.send(GET)
        exchange = await app.next()
        await until(lambda: server.connections == 2)
        draining = asyncio.create_task(server.drain(DEADLINE))
        await until(lambda: server.draining)
        assert await idle.rest() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        exchange.respond(200, (), b"finished")
        answer = await busy.answer()
        assert answer.body == b"finished"
        assert (b"connection", b"close") in answer.fields
        assert await draining is True


async def test_a_request_on_its_way_while_draining_begins_is_still_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SETTLE", DEADLINE)
    async with serving(echo_target) as (server, port), connect(port) as client:
        client.send(GET)
        await client.answer()
        draining = asyncio.create_task(server.drain(DEADLINE))
        await until(lambda: server.draining)
        client.send(GET)
        assert (b"connection", b"close") in (await client.answer()).fields
        assert await draining is True


@pytest.mark.parametrize("unix", [False, True])
async def test_connections_that_were_not_accepted_yet_are_answered_while_draining(unix: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with serving(echo_target) as (server, port):
        await server.listen_unix(path)
        clients = []
        for number in range(50):  # the loop does not run meanwhile
            client = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
            client.connect(path if unix else ("127.0.0.1", port))
            client.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            clients.append(client)
        assert server.connections == 0
        assert await server.drain(DEADLINE) is True
        for number, client in enumerate(clients):
            with client, client.makefile("rb") as stream:
                client.settimeout(DEADLINE)
                answer = stream.read()
            assert b"\r\nConnection: close\r\n" in answer
            assert answer.endswith(b"\r\n\r\n/%d" % number)


async def test_draining_leaves_connections_to_those_who_listen_on_the_same_socket(tmp_path: Path) -> None:
    with bound_unix_socket(str(tmp_path / "s"), 0o600) as shared:
        leaving, staying = Server(echo_target), Server(echo_target)
        await leaving.listen_on(shared.dup())
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "s"))
        assert await leaving.drain(DEADLINE) is True
        await staying.listen_on(shared.dup())
        client.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=client)
        writer.write(GET)
        async with asyncio.timeout(DEADLINE):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()
        await staying.close()


async def test_draining_cuts_what_does_not_end_in_time() -> None:
    app = Held()
    async with serving(app) as (server, port), connect(port) as client:
        client.send(GET)
        exchange = await app.next()
        notes = Notes()
        exchange.attach(notes)
        assert await server.drain(0.05) is False
        assert await client.cut() == b""
        await until(lambda: notes.events == ["end", "gone"])


async def test_a_unix_socket_belongs_to_its_owner_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()
    server = Server(echo_target)
    await server.listen_unix(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with connect(str(path)) as client:
        client.send(GET)
        assert (await client.answer()).body == b"/"
    await server.close()
    await until(lambda: server.connections == 0)


async def test_the_peer_is_named_on_tcp_and_nameless_on_unix(tmp_path: Path) -> None:
    app = Held()
    server = Server(app)
    await server.listen_unix(str(tmp_path / "s"))
    port = await server.listen_tcp("127.0.0.1", 0)
    async with connect(port) as tcp, connect(str(tmp_path / "s")) as unix:
        tcp.send(GET)
        name = tcp.writer.get_extra_info("sockname")
        assert (await app.next()).peer == f"127.0.0.1:{name[1]}"
        unix.send(GET)
        assert (await app.next(1)).peer == ""
    await server.close()


async def test_an_application_that_raises_costs_its_connection_and_nothing_else() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)

    def app(exchange: Exchange) -> None:
        if exchange.request.target == b"/":
            raise RuntimeError("boom")
        exchange.respond(200)

    async with serving(app) as (server, port):
        async with connect(port) as client:
            client.send(GET)
            assert await client.cut() == b""
        await until(lambda: server.connections == 0)
        assert server.active == 0
        async with connect(port) as client:
            client.send(b"GET /fine HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer()).start == (b"200",)


async def test_thousands_of_exchanges_leave_nothing_behind() -> None:
    async def round_trip(port: int) -> None:
        async with connect(port) as client:
            client.send((GET + post(5) + b"hello") * 50)
            for _ in range(100):
                await client.read_until(b"\r\n\r\n/")

    async with serving(echo_target) as (server, port):
        await round_trip(port)
        await until(lambda: server.connections == 0)
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            await round_trip(port)
        await until(lambda: server.connections == 0)
        assert server.active == 0
        assert len(os.listdir("/proc/self/fd")) <= descriptors
        await asyncio.sleep(0)
        gc.collect()
        left = [thing for thing in gc.get_objects() if isinstance(thing, Connection | Exchange)]
        assert [
            thing for thing in left if getattr(thing, "server", server) is server and not isinstance(thing, Exchange)
        ] == []
        assert sum(isinstance(thing, Exchange) for thing in left) <= 1


class _Closing:
    """A transport that is closing and still has something to send."""

    def __init__(self, unsent: list[int]) -> None:
        self.unsent = unsent
        self.aborted = False

    def is_closing(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.unsent.pop(0)

    def abort(self) -> None:
        self.aborted = True


async def test_a_closing_connection_is_cut_only_when_its_client_reads_nothing_any_more() -> None:
    connection = Connection(Server(echo_target))
    transport = _Closing([300, 200, 200])
    connection.transport = transport  # type: ignore[assignment]
    connection.expire()
    connection.expire()
    assert not transport.aborted
    connection.expire()
    assert transport.aborted
