"""Loads of other gateways, told by real servers on loopback addresses: sums that never shrink, and answers that mean harm."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from penstock.autoscaler import peers as module
from penstock.autoscaler.counts import MOST_BYTES, Counts
from penstock.autoscaler.peers import MOST_PEERS, RESOLVE_EVERY, SILENT_TICKS, Peers
from penstock.testing.clock import FakeClock

ECHO = "echo.default"


class Gateway:
    """Another gateway's metrics port. `answer` is sent as it is; nothing is where it is empty."""

    def __init__(self, identity: str) -> None:
        self.asked = 0
        self.tell(identity, 0)

    def tell(self, identity: str, started: int, busy: float = 0.0, inflight: int = 0) -> None:
        self.say(msgspec.json.encode(Counts(identity, {ECHO: started}, {ECHO: busy}, {ECHO: inflight})))

    def say(self, body: bytes, status: str = "200 OK", fields: str = "") -> None:
        self.answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                if not self.answer:
                    break
                writer.write(self.answer)
                await writer.drain()
        writer.close()


class World:
    def __init__(self, gateways: dict[str, Gateway], port: int) -> None:
        self.gateways = gateways
        self.clock = FakeClock()
        self.names = 0
        self.addresses: list[str] | OSError = list(gateways)
        self.peers = Peers("tasks.gateway", port, "ours", self.resolve, clock=self.clock)

    async def resolve(self, host: str) -> list[str]:
        assert host == "tasks.gateway"
        self.names += 1
        if isinstance(self.addresses, OSError):
            raise self.addresses
        return self.addresses

    async def tick(self, seconds: float = 1.0) -> tuple[int, float, int]:
        """Let time pass and ask; what was told of the one function."""
        await self.clock.advance(seconds)
        loads = await self.peers.gather()
        return loads.started.get(ECHO, 0), loads.busy.get(ECHO, 0.0), loads.inflight.get(ECHO, 0)


@asynccontextmanager
async def world(*addresses: str) -> AsyncIterator[World]:
    gateways = {address: Gateway(f"at {address}") for address in addresses}
    port = _free_port(addresses)
    servers = [await asyncio.start_server(each.serve, address, port) for address, each in gateways.items()]
    made = World(gateways, port)
    try:
        yield made
    finally:
        await made.peers.close()
        for server in servers:
            server.close()


def _free_port(addresses: tuple[str, ...]) -> int:
    """One that is free at all of them."""
    for _ in range(100):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            first = stack.enter_context(socket.create_server((addresses[0] if addresses else "127.0.0.1", 0)))
            port = int(first.getsockname()[1])
            for address in addresses[1:]:
                stack.enter_context(socket.create_server((address, port)))
            return port
    raise AssertionError("no port is free at all addresses")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that come are waited for on a slow machine; those that never come have tests of their own."""
    monkeypatch.setattr(module, "TIMEOUT", 30.0)


async def test_growth_of_all_others_is_summed_and_what_they_counted_before_is_not() -> None:
    async with world("127.0.0.2", "127.0.0.3") as there:
        one, two = there.gateways.values()
        one.tell("one", 1000, 500.0, 3)
        two.tell("two", 70, 7.0, 4)
        assert await there.tick() == (0, 0.0, 7)
        one.tell("one", 1010, 502.0, 5)
        two.tell("two", 75, 7.5, 0)
        assert await there.tick() == (15, 2.5, 5)
        assert there.peers.known == 2


async def test_ourselves_is_asked_once_and_never_counts() -> None:
    async with world("127.0.0.2", "127.0.0.3") as there:
        own, other = there.gateways.values()
        for started in range(10):
            own.tell("ours", started * 100, inflight=9)
            other.tell("other", started)
            assert await there.tick() == (started, 0.0, 0)
        assert (own.asked, other.asked) == (1, 10)


async def test_one_that_does_not_answer_goes_on_as_before_for_three_ticks_and_then_counts_no_more() -> None:
    async with world("127.0.0.2") as there:
        one = there.gateways["127.0.0.2"]
        one.tell("one", 0)
        await there.tick()
        one.tell("one", 10, 2.0, 2)
        assert await there.tick() == (10, 2.0, 2)
        one.answer = b""
        assert [await there.tick() for _ in range(SILENT_TICKS)] == [(20, 4.0, 2), (30, 6.0, 2), (40, 8.0, 2)]
        assert [await there.tick() for _ in range(2)] == [(40, 8.0, 0)] * 2
        assert there.peers.known == 0


async def test_one_that_answers_again_is_not_counted_twice() -> None:
    async with world("127.0.0.2") as there:
        one = there.gateways["127.0.0.2"]
        one.tell("one", 0)
        await there.tick()
        one.tell("one", 10)
        await there.tick()
        one.answer = b""
        assert (await there.tick())[0] == 20
        one.tell("one", 32)
        assert (await there.tick())[0] == 32
        one.answer = b""
        assert (await there.tick())[0] == 43
        one.tell("one", 32)
        assert (await there.tick())[0] == 43


async def test_another_process_at_the_same_address_begins_anew() -> None:
    async with world("127.0.0.2") as there:
        one = there.gateways["127.0.0.2"]
        one.tell("one", 0)
        await there.tick()
        one.tell("one", 10, inflight=4)
        await there.tick()
        one.tell("its successor", 5, inflight=1)
        assert await there.tick() == (10, 0.0, 1)
        one.tell("its successor", 8)
        assert await there.tick() == (13, 0.0, 0)
        assert there.peers.known == 1


async def test_a_count_that_shrinks_takes_nothing_away() -> None:
    async with world("127.0.0.2") as there:
        one = there.gateways["127.0.0.2"]
        seen = []
        for started in (5, 15, 2, 4):
            one.tell("one", started)
            seen.append((await there.tick())[0])
        assert seen == [0, 10, 10, 12]


async def test_a_process_with_two_addresses_counts_once() -> None:
    async with world("127.0.0.2", "127.0.0.3") as there:
        seen = []
        for started in (0, 10):
            for gateway in there.gateways.values():
                gateway.tell("the same", started, inflight=1)
            seen.append(await there.tick())
        assert seen == [(0, 0.0, 1), (10, 0.0, 1)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        b'{"identity":"x"}',
        b'{"identity":"","started":{},"busy":{},"inflight":{}}',
        b'{"identity":"x","started":{"echo.default":-1},"busy":{},"inflight":{}}',
        b'{"identity":"x","started":{"echo.default":1e400},"busy":{},"inflight":{}}',
        b'{"identity":"x","started":{},"busy":{"echo.default":NaN},"inflight":{}}',
        b'{"identity":"x","started":{},"busy":{},"inflight":{"echo.default":99999999999999999999}}',
        b'{"identity":"x","started":{"' + b"a" * 1000 + b'":1},"busy":{},"inflight":{}}',
        b'{"identity":"x","busy":{},"inflight":{},"started":{'
        + b",".join(b'"f%d":1' % n for n in range(20_001))
        + b"}}",
        b" " * (MOST_BYTES + 1),
    ],
    ids=lambda body: str(body[:60]),  # it goes from process to process many times
)
async def test_an_answer_that_makes_no_sense_is_no_answer(body: bytes) -> None:
    async with world("127.0.0.2", "127.0.0.3") as there:
        bad, good = there.gateways.values()
        bad.say(body)
        good.tell("good", 0)
        await there.tick()
        good.tell("good", 5, 1.0, 1)
        assert await there.tick() == (5, 1.0, 1)
        assert there.peers.known == 1


@pytest.mark.parametrize("fields", ["Location: http://127.0.0.3/loads\r\n", ""])
async def test_only_200_is_an_answer_and_nobody_is_sent_elsewhere(fields: str) -> None:
    async with world("127.0.0.2") as there:
        there.gateways["127.0.0.2"].say(b"", "302 Found", fields)
        assert await there.tick() == (0, 0.0, 0)
        assert (there.gateways["127.0.0.2"].asked, there.peers.known) == (1, 0)


async def test_one_that_is_slow_does_not_hold_up_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    async with world("127.0.0.2") as there:
        there.gateways["127.0.0.2"].answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
        async with asyncio.timeout(30):
            assert await there.tick() == (0, 0.0, 0)


async def test_names_are_looked_up_now_and_then_and_newcomers_are_found() -> None:
    async with world("127.0.0.2", "127.0.0.3") as there:
        there.addresses = ["127.0.0.2"]
        await there.tick()
        await there.tick()
        assert (there.names, there.peers.known) == (1, 1)
        there.addresses = ["127.0.0.3", "127.0.0.2"]
        await there.tick(RESOLVE_EVERY)
        assert (there.names, there.peers.known) == (2, 2)


async def test_a_name_that_cannot_be_resolved_is_told_once_and_the_known_ones_are_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world("127.0.0.2") as there:
        await there.tick()
        there.addresses = socket.gaierror(-3, "Temporary failure in name resolution")
        for _ in range(3):
            await there.tick(RESOLVE_EVERY)
        assert (there.gateways["127.0.0.2"].asked, there.peers.known) == (4, 1)
        assert caplog.text.count("tasks.gateway: [Errno -3] Temporary failure") == 1


async def test_a_name_server_that_does_not_answer_is_asked_once_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.02)
    async with world("127.0.0.2") as there:
        asked = []

        async def never(host: str) -> list[str]:
            asked.append(host)
            await asyncio.Event().wait()
            return []

        monkeypatch.setattr(there.peers, "_resolver", never)
        for _ in range(3):
            assert await there.tick(RESOLVE_EVERY) == (0, 0.0, 0)
        assert len(asked) == 1


async def test_no_more_than_so_many_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def ask(address: str) -> None:
        asked.append(address)

    async with world() as there:
        monkeypatch.setattr(there.peers, "_ask", ask)
        there.addresses = [f"127.1.0.{number}" for number in range(1, 200)]
        await there.tick()
    assert len(asked) == MOST_PEERS
