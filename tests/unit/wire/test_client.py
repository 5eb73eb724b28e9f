from __future__ import annotations

import asyncio
import os
import select
import socket
from pathlib import Path

import pytest

from penstock.settings import WireSettings
from penstock.wire import client as client_module
from penstock.wire.client import ClientConnection, Pool
from penstock.wire.connection import WRITE_HIGH
from penstock.wire.exchange import Exchange
from penstock.wire.message import ResponseHead
from penstock.wire.server import Server
from penstock.wire.timeouts import Sweeper, Timers
from tests.unit.wire.support import DEADLINE, GET, Peer, echo_target, post, refusing, serving, until, upstream


class Waiter:
    """Waits for a connection, and hears the answers on it."""

    def __init__(self) -> None:
        self.connection: ClientConnection | None = None
        self.error: OSError | None = None
        self.heads: list[ResponseHead] = []
        self.interims: list[int] = []
        self.data = b""
        self.ends: list[str] = []
        self.full = False

    def connected(self, connection: ClientConnection) -> None:
        self.connection = connection

    def connect_failed(self, error: OSError) -> None:
        self.error = error

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        self.heads.append(head)
        self.data += body
        if done:
            self.ends.append("end")

    def interim(self, head: ResponseHead) -> None:
        self.interims.append(head.status)

    def response_body(self, data: bytes) -> None:
        self.data += data

    def response_end(self) -> None:
        self.ends.append("end")

    def upstream_failed(self, reason: str, detail: str) -> None:
        self.ends.append(reason)

    def upstream_writable(self, ready: bool) -> None:
        self.full = not ready

    async def connection_of(self, pool: Pool) -> ClientConnection:
        pool.connect(self)
        await until(lambda: self.connection or self.error)
        assert self.connection is not None
        return self.connection


async def ask(pool: Pool, request: bytes = GET) -> Waiter:
    """Send a request on an idle or new connection and wait for the end of its answer."""
    waiter = Waiter()
    connection = pool.get() or await waiter.connection_of(pool)
    connection.send(request, waiter, head_only=False, complete=True)
    await until(lambda: waiter.ends)
    return waiter


async def test_the_pools_repr_is_its_state() -> None:
    async with serving(echo_target) as (_, port):
        pool = Pool(f"127.0.0.1:{port}")
        assert repr(pool) == f"<Pool 127.0.0.1:{port} 0 idle, 0 connecting>"
        waiter = Waiter()
        pool.connect(waiter)
        assert repr(pool) == f"<Pool 127.0.0.1:{port} 0 idle, 1 connecting>"
        await until(lambda: waiter.connection)
        assert waiter.connection is not None
        pool.put(waiter.connection)
        await until(lambda: repr(pool) == f"<Pool 127.0.0.1:{port} 1 idle, 0 connecting>")
        pool.close()
        assert repr(pool) == f"<Pool 127.0.0.1:{port} closed>"


async def test_a_connection_goes_back_to_its_pool_and_serves_again() -> None:
    async with serving(echo_target) as (_, port):
        pool = Pool(f"127.0.0.1:{port}")
        for _ in range(3):
            waiter = await ask(pool)
            assert (waiter.heads[0].status, waiter.data, waiter.ends) == (200, b"/", ["end"])
        assert [connection.requests for connection in pool._idle] == [3]
        pool.close()


async def test_the_connection_used_last_is_handed_out_first() -> None:
    async with serving(echo_target) as (_, port):
        pool = Pool(f"127.0.0.1:{port}")
        one, two = await Waiter().connection_of(pool), await Waiter().connection_of(pool)
        pool.put(one)
        pool.put(two)
        assert pool.get() is two
        assert pool.get() is one
        assert pool.get() is None
        one.close()
        two.close()
        pool.close()


@pytest.mark.parametrize("stray", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret", b"\r\n", b""])
async def test_a_connection_on_which_something_came_unasked_is_not_handed_out_even_before_it_is_read(
    stray: bytes,
) -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await peer.rest()

    async with upstream(script) as address:
        pool = Pool(address)
        await ask(pool)
        (idle,) = pool._idle
        with socket.socket(fileno=os.dup(peers[0].writer.get_extra_info("socket").fileno())) as raw:
            if stray:
                raw.send(stray)  # no turn of the loop between this and asking the pool
            else:
                raw.shutdown(socket.SHUT_WR)
            arrived, _, _ = select.select([idle.transport.get_extra_info("socket").fileno()], [], [], DEADLINE)
            assert arrived
            assert pool.get() is None
        assert "0 idle" in repr(pool)
        pool.close()


async def test_a_unix_socket_is_an_address_too(tmp_path: Path) -> None:
    server = Server(echo_target)
    await server.listen_unix(str(tmp_path / "s"))
    pool = Pool(f"unix:{tmp_path / 's'}")
    assert (await ask(pool)).data == b"/"
    pool.close()
    await server.close()


async def test_a_connection_that_the_upstream_closes_while_idle_leaves_the_pool() -> None:
    async with serving(echo_target) as (server, port):
        pool = Pool(f"127.0.0.1:{port}")
        await ask(pool)
        await server.close()
        await until(lambda: "0 idle" in repr(pool))
        assert pool.get() is None
        pool.close()


async def test_connections_idle_for_too_long_are_closed_and_the_others_kept() -> None:
    async with serving(echo_target) as (server, port):
        loop = asyncio.get_running_loop()
        timers = Timers(loop)
        timers.idle = Sweeper(loop, 0.01)
        pool = Pool(f"127.0.0.1:{port}", WireSettings(upstream_idle_timeout=30), timers)
        old, young = await Waiter().connection_of(pool), await Waiter().connection_of(pool)
        pool.put(old)
        pool.put(young)
        old.idle_since -= 31
        pool.deadline = 0.0
        await until(lambda: old.closed)
        assert pool._idle == [young]
        young.idle_since -= 31
        pool.deadline = 0.0
        await until(lambda: server.connections == 0)
        await until(lambda: pool not in timers.idle._watched)
        pool.close()


async def test_no_more_connections_are_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_IDLE", 2)
    async with serving(echo_target) as (server, port):
        pool = Pool(f"127.0.0.1:{port}")
        connections = [await Waiter().connection_of(pool) for _ in range(4)]
        for connection in connections:
            pool.put(connection)
        assert "2 idle" in repr(pool)
        await until(lambda: server.connections == 2)
        pool.close()
        await until(lambda: server.connections == 0)


async def test_a_closed_pool_takes_nothing_back() -> None:
    async with serving(echo_target) as (server, port):
        pool = Pool(f"127.0.0.1:{port}")
        connection = await Waiter().connection_of(pool)
        pool.close()
        pool.put(connection)
        await until(lambda: server.connections == 0)
        assert connection.closed


async def test_a_connection_that_cannot_be_opened_in_time_is_a_timeout() -> None:
    pool = Pool("127.0.0.1:1", WireSettings(connect_timeout=0.01))

    async def never() -> ClientConnection:
        await asyncio.Event().wait()
        raise AssertionError

    pool._open = never  # type: ignore[method-assign]
    waiter = Waiter()
    pool.connect(waiter)
    await until(lambda: waiter.error)
    assert isinstance(waiter.error, TimeoutError)
    assert str(waiter.error) == "no connection within 0.01 s"


async def test_a_refused_connection_is_reported() -> None:
    waiter = Waiter()
    with refusing() as port:
        pool = Pool(f"127.0.0.1:{port}")
        pool.connect(waiter)
        await until(lambda: waiter.error)
    assert isinstance(waiter.error, ConnectionRefusedError)
    await until(lambda: "0 idle, 0 connecting" in repr(pool))


async def test_an_answer_may_come_byte_by_byte() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for place in range(len(answer)):
                peer.send(answer[place : place + 1])
                await asyncio.sleep(0)

    async with upstream(script) as address:
        pool = Pool(address)
        for _ in range(2):
            waiter = await ask(pool)
            assert (waiter.interims, waiter.heads[0].status, waiter.ends) == ([103], 200, ["end"])
            assert waiter.data == b"2\r\nok\r\n0\r\n\r\n"
        assert pool._idle[0].requests == 2
        pool.close()


async def test_a_connection_with_a_request_still_unsent_is_not_kept() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    tasks: set[asyncio.Task[None]] = set()

    async def keep(peer: Peer) -> None:
        task = asyncio.ensure_future(script(peer))
        tasks.add(task)
        await asyncio.wait([task])

    async with upstream(keep) as address:
        pool = Pool(address)
        waiter = Waiter()
        connection = await waiter.connection_of(pool)
        connection.send(post(64 << 20) + b"x" * (64 << 20), waiter, head_only=False, complete=True)
        await until(lambda: waiter.ends == ["end"])
        assert waiter.full
        assert "0 idle" in repr(pool)
        assert connection.closed
        for task in tasks:
            task.cancel()
        pool.close()


async def test_a_listener_hears_nothing_after_it_closed_its_connection() -> None:
    async def app_answers_late(exchange: Exchange) -> None:
        await asyncio.sleep(0)
        exchange.respond(200)

    tasks: list[asyncio.Task[None]] = []
    async with serving(lambda exchange: tasks.append(asyncio.ensure_future(app_answers_late(exchange)))) as (
        server,
        port,
    ):
        pool = Pool(f"127.0.0.1:{port}")
        waiter = Waiter()
        connection = await waiter.connection_of(pool)
        connection.send(GET, waiter, head_only=False, complete=True)
        connection.close()
        await until(lambda: server.connections == 0)
        assert (waiter.heads, waiter.ends) == ([], [])
        pool.close()


async def test_a_paused_connection_reads_nothing_until_it_is_resumed() -> None:
    size = 8 << 20

    async with serving(lambda exchange: exchange.respond(200, (), b"x" * size)) as (_, port):
        pool = Pool(f"127.0.0.1:{port}")
        waiter = Waiter()
        connection = await waiter.connection_of(pool)
        connection.send(GET, waiter, head_only=False, complete=True)
        await until(lambda: waiter.heads)
        connection.pause()
        seen = len(waiter.data)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(waiter.data) <= seen + WRITE_HIGH
        connection.resume()
        await until(lambda: waiter.ends)
        assert len(waiter.data) == size
        assert pool._idle[0].transport.is_reading()
        pool.close()


@pytest.mark.parametrize(("seconds", "alive", "idle", "count"), [(5.0, 1, 2, 3), (1.0, 1, 1, 1), (0.0, 0, None, None)])
async def test_a_peer_whose_machine_answers_nothing_is_given_up_after_a_while(
    seconds: float, alive: int, idle: int | None, count: int | None
) -> None:
    async with serving(echo_target) as (_, port):
        pool = Pool(f"127.0.0.1:{port}", WireSettings(lost_timeout=seconds))
        connection = await Waiter().connection_of(pool)
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == alive
        if alive:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == count
        connection.close()
        pool.close()


async def test_a_peer_that_reads_late_is_not_taken_for_lost() -> None:
    seconds, size = 0.3, 8 << 20
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pool = Pool(f"127.0.0.1:{listening.getsockname()[1]}", WireSettings(lost_timeout=seconds))
        waiter = Waiter()
        connection = await waiter.connection_of(pool)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        connection.send(head + b"x" * size, waiter, head_only=False, complete=True)
        peer, _ = listening.accept()
        with peer:
            await asyncio.sleep(6 * seconds)  # meanwhile the kernel asks whether there is room again
            assert not waiter.ends
            await asyncio.to_thread(_read_all, peer, len(head) + size)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await until(lambda: waiter.ends)
        assert (waiter.ends, waiter.data) == (["end"], b"ok")
        pool.close()


def _read_all(peer: socket.socket, size: int) -> None:
    while size:
        size -= len(peer.recv(min(size, 1 << 20)))
