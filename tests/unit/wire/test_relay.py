from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.headers import forward_fields
from penstock.settings import WireSettings
from penstock.wire.client import ClientConnection, Pool
from penstock.wire.connection import WRITE_HIGH, Connection
from penstock.wire.exchange import Exchange, Exchanging
from penstock.wire.message import ResponseHead
from penstock.wire.relay import Failure, Relay
from penstock.wire.server import Server
from tests.unit.wire import oracle
from tests.unit.wire.support import (
    DEADLINE,
    GET,
    POST_CHUNKED,
    Peer,
    connect,
    plain_socket,
    post,
    refusing,
    serving,
    the_connection,
    until,
    upstream,
)

READ_SIZE = 256 << 10
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Front:
    """A proxy that relays everything to one upstream, and keeps what its relays report."""

    def __init__(self, address: str, timeout: float = 0, settings: WireSettings | None = None) -> None:
        self.pool = Pool(address, settings)
        self.timeout = timeout
        self.retries = 0
        self.relays: list[Relay] = []
        self.done: list[tuple[int, bool]] = []
        self.failures: list[Failure] = []
        self.extra = b""

    def __call__(self, exchange: Exchange) -> None:
        self._start(exchange, b"")

    def _start(self, exchange: Exchanging, body: bytes) -> None:
        request = exchange.request
        upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade if request.upgrade else b""
        head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (request.method, request.target, forward_fields(request), upgrade)
        relay = Relay(self, exchange, self.pool, head, self.timeout)
        self.relays.append(relay)
        relay.start(body)

    def relay_response(self, relay: Relay, head: ResponseHead) -> bytes:
        return self.extra

    def relay_done(self, relay: Relay, status: int, complete: bool) -> None:
        self.done.append((status, complete))

    def relay_failed(self, relay: Relay, failure: Failure) -> None:
        self.failures.append(failure)
        if self.retries and failure.retryable:
            self.retries -= 1
            self._start(relay.exchange, relay.sent_body)
        else:
            relay.exchange.respond(502, (), failure.reason.encode())


class Passage:
    """A client, the proxy between, and the upstream's connections in the order in which they came."""

    def __init__(self, front: Front, server: Server, port: int, peers: list[Peer]) -> None:
        self.front = front
        self.server = server
        self.port = port
        self.peers = peers

    async def peer(self, number: int = 0) -> Peer:
        await until(lambda: len(self.peers) > number)
        return self.peers[number]


@contextlib.asynccontextmanager
async def passage(timeout: float = 0, wire: WireSettings | None = None) -> AsyncIterator[Passage]:
    """A proxy whose upstream is played by the test itself."""
    peers: list[Peer] = []
    over = asyncio.Event()

    async def keep(peer: Peer) -> None:
        peers.append(peer)
        await over.wait()

    async with upstream(keep) as address:
        front = Front(address, timeout, wire)
        async with serving(front, wire) as (server, port):
            yield Passage(front, server, port, peers)
        front.pool.close()
        over.set()


@contextlib.asynccontextmanager
async def relaying(script: Callable[[Peer], Awaitable[None]], timeout: float = 0) -> AsyncIterator[tuple[Front, int]]:
    """A proxy before a scripted upstream."""
    async with upstream(script) as address:
        front = Front(address, timeout)
        async with serving(front) as (_, port):
            yield front, port
        front.pool.close()


def answering(*answers: bytes) -> Callable[[Peer], Awaitable[None]]:
    """An upstream that gives each connection these answers, one per request."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.request()
            peer.send(answer)
        await peer.rest()

    return script


async def test_a_request_and_its_answer_pass() -> None:
    async with passage() as way, connect(way.port) as client:
        way.front.extra = b"X-Extra: 1\r\n"
        client.send(post(5, b"X-Mixed-Case: Kept") + b"hello")
        peer = await way.peer()
        assert await peer.read_until(b"hello") == (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-Mixed-Case: Kept\r\n\r\nhello"
        )
        peer.send(b"HTTP/1.1 201 Made It\r\nX-Up: Yes\r\nContent-Length: 2\r\n\r\nok")
        assert await client.read_until(b"\r\n\r\nok") == (
            b"HTTP/1.1 201 Made It\r\nX-Up: Yes\r\nContent-Length: 2\r\nX-Extra: 1\r\n\r\nok"
        )
        assert way.front.done == [(201, True)]


class _CountingTransport:
    """Passes everything on and counts the writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


async def test_a_small_request_costs_one_write_each_way() -> None:
    async with relaying(answering(*[OK] * 3)) as (front, port), connect(port) as client:
        client.send(GET)
        await client.answer()
        (up,) = front.pool._idle
        exchange = front.relays[0].exchange
        assert isinstance(exchange, Exchange)
        down = exchange._connection
        counting_up, counting_down = _CountingTransport(up.transport), _CountingTransport(down.transport)
        up.transport, down.transport = counting_up, counting_down  # type: ignore[assignment]
        client.send(post(5) + b"hello")
        await client.answer()
        assert (counting_up.writes, counting_down.writes) == (1, 1)


async def test_a_connection_is_used_again() -> None:
    async with relaying(answering(*[OK] * 5)) as (front, port), connect(port) as client:
        for _ in range(5):
            client.send(GET)
            assert (await client.answer()).body == b"ok"
        assert repr(front.pool) == f"<Pool {front.pool.address} 1 idle, 0 connecting>"
        assert front.pool._idle[0].requests == 5
        assert front.done == [(200, True)] * 5


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokextra",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
        b"HTTP/1.1 204 No Content\r\n\r\nbody",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_a_connection_whose_next_answer_would_be_in_doubt_is_not_used_again(answer: bytes) -> None:
    async with relaying(answering(answer, OK)) as (front, port), connect(port) as client:
        for _ in range(3):
            client.send(GET)
            assert (await client.answer()).start == (answer.split()[1],)
        assert front.done == [(int(answer.split()[1]), True)] * 3
        assert "0 idle" in repr(front.pool)


async def test_the_connection_of_a_head_request_is_not_used_again_when_a_body_was_announced() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        peer = await way.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n")
        assert (await client.answer(b"HEAD")).start == (b"200",)
        client.send(GET)
        second = await way.peer(1)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        await second.request()
        second.send(OK)
        assert (await client.answer()).body == b"ok"


async def test_a_late_byte_on_an_idle_connection_closes_it_and_reaches_nobody() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        await peer.request()
        peer.send(OK)
        await client.answer()
        assert "1 idle" in repr(way.front.pool)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        await until(lambda: "0 idle" in repr(way.front.pool))
        client.send(GET)
        second = await way.peer(1)
        await second.request()
        second.send(OK)
        assert (await client.answer()).body == b"ok"


async def test_an_answer_that_comes_before_the_request_is_complete_ends_the_connection_it_came_by() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(post(10) + b"hello")
        peer = await way.peer()
        await peer.read_until(b"hello")
        peer.send(OK)
        assert (await client.answer()).body == b"ok"
        await peer.cut()
        assert "0 idle" in repr(way.front.pool)
        client.send(b"world" + GET)  # the rest of the body is read past, and is no request
        second = await way.peer(1)
        assert (await second.request()).start == (b"GET", b"/")
        second.send(OK)
        assert (await client.answer()).body == b"ok"


async def test_an_early_error_closes_the_client_too() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(post(1 << 30) + b"hello")
        peer = await way.peer()
        await peer.read_until(b"hello")
        peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        answer = await client.answer()
        assert (answer.body, (b"connection", b"close") in answer.fields) == (b"no", True)
        assert await client.rest() == b""
        assert way.front.done == [(413, True)]


async def test_a_client_that_reads_slowly_never_leaves_a_paused_connection_in_the_pool() -> None:
    size = 3 << 20
    big = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(big)

    async with relaying(script) as (front, port):
        loop = asyncio.get_running_loop()
        for _ in range(3):
            sock = plain_socket(port)
            await loop.sock_sendall(sock, GET)
            seen, idle_paused = 0, False
            while seen < size:
                seen += len(await loop.sock_recv(sock, 1 << 18))
                idle_paused |= any(connection._paused for connection in front.pool._idle)
            sock.close()
            assert not idle_paused
            await until(lambda: len(front.pool._idle) == 1)
            assert front.pool._idle[0].transport.is_reading()
            assert front.pool._idle[0]._listener is None


async def test_a_paused_answer_whose_client_leaves_ends_its_connection() -> None:
    async with passage() as way:
        sock = plain_socket(way.port)
        await asyncio.get_running_loop().sock_sendall(sock, GET)
        peer = await way.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 << 20) + b"x" * (16 << 20))
        await until(lambda: way.front.relays[0]._connection and way.front.relays[0]._connection._paused)
        sock.close()
        await until(lambda: way.front.done == [(200, False)])
        assert "0 idle" in repr(way.front.pool)


async def test_answers_never_change_places_however_clients_and_upstreams_behave() -> None:
    """Hundreds of requests from many clients, some of which leave early, over few upstream connections, each of which may
    end an answer early, late, with surplus bytes or with a reset: nobody ever sees an answer meant for another."""

    async def script(peer: Peer) -> None:
        turn = 0
        while True:
            target = (await peer.request()).start[1]
            turn += 1
            body = target * 50
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            kind = (len(target) + turn) % 7
            if kind == 1:
                peer.send(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale")
            elif kind == 2:
                peer.send(answer[: len(answer) // 2])
                peer.reset()
                return
            elif kind == 3:
                peer.send(answer)
                peer.reset() if turn % 2 else peer.close()
                return
            elif kind == 4:
                peer.send(answer[:-1])
                await asyncio.sleep(0)
                peer.send(answer[-1:])
            else:
                peer.send(answer)

    async def client(port: int, name: int) -> int:
        whole = 0
        for number in range(12):
            async with connect(port) as peer:
                for step in range(4):
                    target = b"/%d-%d-%d" % (name, number, step)
                    peer.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
                    if (name + number + step) % 5 == 0:
                        break  # leave without waiting
                    with contextlib.suppress(ConnectionError):
                        answer = await peer.answer()
                        assert answer.start != (b"200",) or answer.body == target * 50, answer
                        if answer.start == (b"200",):
                            whole += 1
                            continue
                    assert b"HTTP/1.1 200" not in peer.buffer or peer.buffer.rpartition(b"\r\n\r\n")[2] in target * 50
                    break
        return whole

    async with relaying(script) as (front, port):
        front.retries = 1 << 30
        results = await asyncio.gather(*[client(port, name) for name in range(12)])
        assert sum(results) > 100
        await until(lambda: all(relay._ended for relay in front.relays))
        assert len(front.done) + len(front.failures) >= len(front.relays)


async def test_bodies_stream_both_ways_at_once() -> None:
    async def echo(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.flush()
            peer.send(await peer.read_until(b"\r\n"))

    async with relaying(echo) as (front, port), connect(port) as client:
        client.send(POST_CHUNKED)
        await client.read_until(b"\r\n\r\n")
        for piece in (b"5\r\nhello\r\n", b"2\r\nho\r\n"):
            client.send(piece)
            assert await client.read_until(piece[-4:]) == piece
        client.send(b"0\r\nX-Sum: 1\r\n\r\n")
        assert await client.read_until(b"\r\n\r\n") == b"0\r\nX-Sum: 1\r\n\r\n"
        await until(lambda: front.done == [(200, True)])


async def test_a_large_upload_meets_back_pressure_and_flat_buffers() -> None:
    size = 100 << 20
    received = 0

    async def slow(peer: Peer) -> None:
        nonlocal received
        head = await peer.read_until(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % size in head
        received = len(peer.buffer)
        while received < size:
            received += len(await peer.reader.read(1 << 16))
        peer.send(OK)
        await peer.rest()

    async with relaying(slow) as (front, port), connect(port) as client:
        client.send(post(size))
        piece = b"x" * (1 << 18)
        most = 0
        for _ in range(size // len(piece)):
            client.send(piece)
            await client.flush()
            connection = front.relays[0]._connection if front.relays else None
            if connection is not None:
                most = max(most, connection.transport.get_write_buffer_size())
        assert (await client.answer()).body == b"ok"
        assert received == size
        assert most <= WRITE_HIGH + READ_SIZE


async def test_a_large_download_to_a_slow_reader_meets_back_pressure_and_flat_buffers() -> None:
    size = 100 << 20

    async def generate(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        piece = b"x" * (1 << 18)
        for _ in range(size // len(piece)):
            peer.send(piece)
            await peer.flush()
        await peer.rest()

    async with upstream(generate) as address:
        front = Front(address)
        async with serving(front) as (server, port):
            sock = plain_socket(port, 1 << 16)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, GET)
            await until(lambda: front.relays and front.relays[0]._connection and front.relays[0]._connection._paused)
            seen, most = 0, the_connection(server).transport.get_write_buffer_size()
            while seen < size:
                seen += len(await loop.sock_recv(sock, 1 << 18))
                most = max(most, the_connection(server).transport.get_write_buffer_size())
            sock.close()
            assert 0 < most <= WRITE_HIGH + READ_SIZE + 1000
            await until(lambda: front.done == [(200, True)])
        front.pool.close()


async def test_an_upload_whose_upstream_reads_nothing_stops_the_client() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(post(1 << 30))
        await way.peer()
        await until(lambda: way.front.relays[0]._connection)
        way.peers[0].writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.transport.set_write_buffer_limits(high=1 << 16)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                while True:
                    client.send(b"x" * (1 << 18))
                    await client.writer.drain()
        connection = way.front.relays[0]._connection
        assert connection is not None
        assert connection.transport.get_write_buffer_size() <= WRITE_HIGH + READ_SIZE
        client.reset()


async def test_an_answer_to_an_upload_that_was_stopped_sets_the_client_free_again() -> None:
    async with passage() as way, connect(way.port) as client:
        size = 64 << 20
        client.send(post(size) + b"x" * size)
        peer = await way.peer()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: way.server.active and the_connection(way.server)._paused)
        peer.send(OK)
        assert (await client.answer()).body == b"ok"
        client.send(GET)
        second = await way.peer(1)
        assert (await second.request()).start == (b"GET", b"/")
        second.send(OK)
        assert (await client.answer()).body == b"ok"
        assert way.front.done == [(200, True)] * 2


async def test_an_answer_that_ends_by_closing_becomes_chunked_for_http11() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        await peer.request()
        peer.send(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nfirst")
        await client.read_until(b"first")
        peer.send(b"second")
        await client.read_until(b"second")
        peer.close()
        assert await client.read_until(b"0\r\n\r\n") == b"\r\n0\r\n\r\n"
        assert way.front.done == [(200, True)]


async def test_an_answer_that_ends_by_closing_ends_by_closing_for_http10() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    async with relaying(script) as (front, port), connect(port) as client:
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n")
        assert await client.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"
        assert front.done == [(200, True)]


async def test_an_answer_that_ends_by_closing_but_was_reset_is_never_taken_for_whole() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        await client.read_until(b"part\r\n")
        peer.writer.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: a reset
        peer.reset()
        assert await client.cut() == b""
        assert way.front.done == [(200, False)]


async def test_a_chunked_answer_is_decoded_for_http10() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        peer = await way.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await client.read_until(b"hello")
        peer.send(b"5\r\nworld\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert await client.rest() == b"world"
        assert "1 idle" in repr(way.front.pool)


async def test_a_short_chunked_answer_gets_a_length_for_http10_and_the_connection_is_kept() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    async with relaying(answering(answer, answer)) as (_, port), connect(port) as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n")
            assert await client.read_until(b"\r\n\r\nok") == (
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
            )


async def test_a_chunked_answer_keeps_its_framing_and_its_trailers() -> None:
    body = b"5\r\nhello\r\n5\r\nworld\r\n0\r\nX-Sum: 10\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + body
    async with relaying(answering(answer, answer)) as (front, port), connect(port) as client:
        for _ in range(2):
            client.send(GET)
            answered = await client.answer()
            assert (answered.body, answered.trailers) == (b"helloworld", [(b"x-sum", b"10")])
            assert (b"trailer", b"X-Sum") in answered.fields
        assert front.pool._idle[0].requests == 2


async def test_a_chunked_request_keeps_its_framing_but_not_forbidden_trailers() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(POST_CHUNKED + b"5;x=y\r\nhello\r\n0\r\nX-Sum: 5\r\nContent-Length: 9\r\n\r\n")
        peer = await way.peer()
        request = await peer.request()
        assert (request.body, request.trailers) == (b"hello", [(b"x-sum", b"5")])
        assert (b"transfer-encoding", b"chunked") in request.fields
        peer.send(OK)
        await client.answer()


async def test_interim_answers_are_passed_on_to_http11_only() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\nContent-Length: 9\r\n\r\n"
    async with relaying(answering(b"HTTP/1.1 100 Continue\r\n\r\n" + interim + OK, interim + OK)) as (_, port):
        async with connect(port) as client:
            client.send(GET)
            assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n"
            assert (await client.read_until(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        async with connect(port) as old:
            old.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            assert (await old.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_upgraded_connection_is_a_tunnel_both_ways_from_the_heads_on() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        peer = await way.peer()
        head = await peer.read_until(b"\r\n\r\n")
        assert b"Connection: Upgrade\r\nUpgrade: echo\r\n" in head
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello")
        assert (await client.read_until(b"\r\n\r\n")).endswith(b"Connection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert await client.read_exactly(5) == b"hello"
        assert await peer.read_exactly(5) == b"early"
        for _ in range(3):
            client.send(b"\0ping\r\n\r\n")
            assert await peer.read_exactly(9) == b"\0ping\r\n\r\n"
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            assert await client.read_exactly(19) == b"HTTP/1.1 200 OK\r\n\r\n"
        peer.send(b"bye")
        peer.close()
        assert await client.rest() == b"bye"
        assert way.front.done == [(101, True)]
        assert "0 idle" in repr(way.front.pool)


async def test_a_tunnel_ends_for_the_upstream_when_its_client_leaves_and_loses_nothing() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        peer = await way.peer()
        await peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await client.read_until(b"\r\n\r\n")
        client.send(b"x" * 3_000_000)
        client.close()
        assert len(await peer.rest()) == 3_000_000
        assert way.front.done == [(101, False)]


async def test_a_switch_of_protocols_that_nobody_asked_for_is_a_failure() -> None:
    async with relaying(answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")) as (front, port):
        async with connect(port) as client:
            client.send(GET)
            assert (await client.answer()).body == b"malformed"
        assert front.failures[0].retryable is False


@pytest.mark.parametrize("cut", [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", OK[:-1]])
async def test_an_answer_cut_by_the_upstream_is_cut_for_the_client(cut: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(cut)

    async with relaying(script) as (front, port), connect(port) as client:
        client.send(GET)
        data = await client.cut()
        assert oracle.read_response(data, closed=True) is None
        assert front.done == [(200, False)]
        assert front.failures == []


async def test_a_chunked_answer_cut_by_the_upstream_lacks_its_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

    async with relaying(script) as (front, port), connect(port) as client:
        client.send(GET)
        assert b"0\r\n\r\n" not in await client.cut()
        assert front.done == [(200, False)]


async def test_a_chunked_answer_cut_by_the_upstream_resets_a_client_of_http10() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        peer = await way.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await client.read_until(b"hello")
        peer.close()
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_a_malformed_chunk_in_an_answer_cuts_it() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await client.read_until(b"hello\r\n")
        peer.send(b"what\r\n0\r\n\r\n")
        assert await client.cut() == b""
        assert way.front.done == [(200, False)]


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage",
        b"HTTP/2 200\r\n",
        b"\0",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
    ],
)
async def test_garbage_from_the_upstream_is_reported_as_malformed_and_not_retryable(garbage: bytes) -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        await peer.request()
        peer.send(garbage)
        assert (await client.answer()).body == b"malformed"
        assert [(failure.reason, failure.retryable) for failure in way.front.failures] == [("malformed", False)]


async def test_an_endless_response_head_is_refused() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nX: " + b"a" * (2 << 20))
        assert (await client.answer()).body == b"malformed"


async def test_a_refused_connection_is_reported_as_retryable_whatever_the_method() -> None:
    with refusing() as refused:
        front = Front(f"127.0.0.1:{refused}")
        async with serving(front) as (_, port), connect(port) as client:
            client.send(post(5) + b"hello")
            assert (await client.answer()).body == b"connect"
            client.send(POST_CHUNKED + b"5\r\nhel")
            client.send(b"lo\r\n0\r\n\r\n")
            assert (await client.answer()).start == (b"502",)
    assert [(failure.reason, failure.retryable) for failure in front.failures] == [("connect", True)] * 2


async def test_an_unix_socket_that_is_not_there_is_a_refused_connection() -> None:
    front = Front("unix:/nonexistent/socket")
    async with serving(front) as (_, port), connect(port) as client:
        client.send(GET)
        assert (await client.answer()).body == b"connect"
    assert front.failures[0].retryable


@pytest.mark.parametrize(
    ("request_bytes", "answer", "retryable"),
    [
        (GET, b"", True),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"", True),
        (b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", b"", True),
        (b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", b"", True),
        (post(5) + b"hello", b"", False),
        (b"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", b"", False),
        (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", b"", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", b"", False),
        (GET, b"H", False),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Le", False),
        (GET, b"HTTP/1.1 103 Early Hints\r\n\r\n", False),
        (GET, b"HTTP/1.1 100 Continue\r\n\r\n", False),
    ],
)
async def test_a_failure_is_retryable_only_before_the_first_byte_and_when_doing_it_twice_is_harmless(
    request_bytes: bytes, answer: bytes, retryable: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        peer.send(answer)

    async with relaying(script) as (front, port), connect(port) as client:
        client.send(request_bytes)
        await client.read_until(b"closed")
        assert [(failure.reason, failure.retryable) for failure in front.failures] == [("closed", retryable)]


async def test_a_body_that_was_only_partly_at_hand_is_not_sent_twice() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        peer = await way.peer()
        await peer.read_until(b"hello")
        peer.close()
        assert (await client.answer()).body == b"closed"
        assert way.front.failures[0].retryable is False


async def test_a_retry_sends_the_same_request_with_its_body_once_more() -> None:
    async with passage() as way, connect(way.port) as client:
        way.front.retries = 1
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        first = await way.peer()
        one = await first.request()
        first.close()
        second = await way.peer(1)
        assert await second.request() == one
        second.send(OK)
        assert (await client.answer()).body == b"ok"


async def test_an_answer_that_does_not_come_in_time_is_a_timeout() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        await peer.request()
        peer.send(OK)
        await client.answer()
        way.front.timeout = 0.05  # from here on, where connecting takes none of it
        client.send(GET)
        assert (await client.answer()).body == b"timeout"
        assert way.front.failures == [Failure("timeout", False, "no complete answer within 0.05 s")]
        await peer.cut()
        client.send(GET)
        assert (await client.answer()).body == b"timeout"


async def test_an_answer_that_does_not_end_in_time_is_cut() -> None:
    async with passage(timeout=DEADLINE) as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await client.read_until(b"hello")
        way.front.relays[0].deadline = 0.0  # its time is over
        assert await client.cut() == b""
        assert way.front.done == [(200, False)]
        await peer.cut()


async def test_a_client_that_leaves_cuts_the_upstream() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(GET)
        peer = await way.peer()
        await peer.request()
        client.close()
        assert await peer.cut() == b""
        assert way.front.done == [(499, False)]


async def test_a_client_that_leaves_before_the_connection_stands_is_counted_and_the_connection_kept() -> None:
    async with passage() as way:
        gate = asyncio.Event()
        opening = way.front.pool._open

        async def gated() -> ClientConnection:
            await gate.wait()
            return await opening()

        way.front.pool._open = gated  # type: ignore[method-assign]
        async with connect(way.port) as client:
            client.send(GET)
            await until(lambda: way.front.relays)
        await until(lambda: way.front.done == [(499, False)])
        gate.set()
        await until(lambda: "1 idle, 0 connecting" in repr(way.front.pool))


async def test_a_malformed_request_body_cuts_the_upstream_and_is_answered_400() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(POST_CHUNKED + b"5\r\nhello\r\n")
        peer = await way.peer()
        await peer.read_until(b"hello\r\n")
        client.send(b"zz\r\n")
        assert (await client.answer()).start == (b"400",)
        assert await peer.cut() == b""
        assert way.front.done == [(499, False)]


async def test_a_malformed_request_body_that_came_with_the_head_never_reaches_the_upstream() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(POST_CHUNKED + b"zz\r\n")
        assert (await client.rest()).count(b"HTTP/1.1 ") == 1
        await until(lambda: way.front.done == [(499, False)])
        for peer in way.peers:
            assert await peer.cut() == b""


HOP_BY_HOP = (
    b"Connection: close, X-Private, Content-Length, Host, Transfer-Encoding\r\nKeep-Alive: timeout=5\r\n"
    b"Proxy-Connection: keep-alive\r\nTE: trailers\r\nX-Private: 1\r\nUpgrade: h2c\r\nX-Kept: 1\r\n"
)


async def test_fields_of_one_hop_stay_on_it_on_the_way_up() -> None:
    async with passage() as way, connect(way.port) as client:
        client.send(post(2, HOP_BY_HOP[:-2], b"Proxy-Authorization: x", b"Expect: 100-continue") + b"hi")
        request = await (await way.peer()).request()
        assert request.fields == [(b"host", b"a"), (b"content-length", b"2"), (b"x-kept", b"1")]
        assert request.body == b"hi"


async def test_fields_of_one_hop_stay_on_it_on_the_way_down() -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + HOP_BY_HOP + b"Proxy-Authenticate: x\r\nContent-Length: 2\r\n\r\nok"
    async with relaying(answering(answer)) as (_, port), connect(port) as client:
        client.send(GET)
        answered = await client.answer()
        assert answered.fields == [(b"x-kept", b"1"), (b"content-length", b"2")]
        assert answered.body == b"ok"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body_pass_without_one(status: bytes) -> None:
    answer = b"HTTP/1.1 %b\r\nX: y\r\n\r\n" % status
    async with relaying(answering(answer, OK)) as (_, port), connect(port) as client:
        client.send(GET + GET)
        assert await client.read_until(b"\r\n\r\n") == answer
        assert (await client.answer()).body == b"ok"


async def test_a_204_announces_no_body_whatever_the_upstream_says() -> None:
    answer = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"
    async with relaying(answering(answer)) as (_, port), connect(port) as client:
        client.send(GET)
        assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_head_passes_with_the_length_and_without_the_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    async with relaying(answering(answer)) as (_, port), connect(port) as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        for _ in range(2):
            assert await client.read_until(b"\r\n\r\n") == answer


async def test_pipelined_requests_are_relayed_one_after_another() -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            assert peer.buffer == b""
            body = request.start[1] + request.body
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with relaying(script) as (front, port), connect(port) as client:
        for number in range(100):
            client.send(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" % number)
        for number in range(100):
            assert (await client.answer()).body == b"/%dhi" % number
        assert front.pool._idle[0].requests == 100


async def test_thousands_of_relays_leave_nothing_behind() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(OK)

    async with relaying(script) as (front, port):

        async def some() -> None:
            async with connect(port) as client:
                for _ in range(50):
                    client.send(GET + post(3) + b"abc")
                    await client.read_until(b"ok")
                    await client.read_until(b"ok")

        await some()
        front.relays.clear()
        await asyncio.sleep(0.1)
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(15):
            await some()
        front.relays.clear()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
        await until(lambda: not front.pool.timers.relays._watched)
        gc.collect()
        mine = [thing for thing in gc.get_objects() if isinstance(thing, Relay) and thing._owner is front]
        assert mine == []
        open_ones = [
            thing
            for thing in gc.get_objects()
            if isinstance(thing, Connection | ClientConnection) and not thing.transport.is_closing()
        ]
        assert len(open_ones) <= 1 + len(front.pool._idle)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    st.booleans(),
    st.lists(st.integers(1, 60), max_size=12),
    st.sampled_from([b"1.1", b"1.0"]),
)
def test_any_body_in_any_pieces_comes_through_unchanged(
    chunks: list[bytes], chunked: bool, sizes: list[int], version: bytes
) -> None:
    body = b"".join(chunks)
    if chunked:
        framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        framing = b"Transfer-Encoding: chunked\r\n"
    else:
        framed, framing = body, b"Content-Length: %d\r\n" % len(body)

    async def send_in_pieces(peer: Peer, data: bytes) -> None:
        start = 0
        for size in sizes:
            peer.send(data[start : start + size])
            start += size
            await asyncio.sleep(0)
        peer.send(data[start:])

    async def script(peer: Peer) -> None:
        request = await peer.request()
        assert request.body == (body if version == b"1.1" else b"")
        await send_in_pieces(peer, b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + framed)
        await peer.rest()

    async def run() -> None:
        async with asyncio.timeout(DEADLINE), relaying(script) as (_, port), connect(port) as client:
            if version == b"1.1":
                await send_in_pieces(client, b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n" + framed)
                assert (await client.answer()).body == body
            else:
                client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
                assert (await client.rest()).partition(b"\r\n\r\n")[2] == body

    asyncio.run(run())
