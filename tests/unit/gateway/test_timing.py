"""`Server-Timing`: what is told to those who ask, by a clock that stands still unless a test moves it."""

from __future__ import annotations

import asyncio

import pytest

from penstock.gateway.timing import Stopwatch
from tests.unit.gateway.support import Answer, Gateway, Recorder

ASKED = [("X-Server-Timing", "1")]
NOTHING = "queue;dur=0.0, wake;dur=0.0, function;dur=0.0"


class Clock:
    """The invoker's clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(gateway: Gateway) -> Clock:
    gateway.worker.invoker.now = clock = Clock()
    return clock


def call(gateway: Gateway) -> asyncio.Task[Answer]:
    return asyncio.create_task(gateway.call("/function/x", headers=ASKED))


def test_a_stopwatch_adds_up_the_time_of_each_phase() -> None:
    watch = Stopwatch(10.0)
    watch.enter("wake", 10.5)
    watch.enter("queue", 12.0)
    watch.enter("function", 12.25)
    assert watch.field(12.25049) == b"Server-Timing: queue;dur=750.0, wake;dur=1500.0, function;dur=0.5\r\n"


@pytest.mark.parametrize("value", ["1", "true", "TRUE"])
async def test_whoever_asks_is_told_and_the_function_does_not_see_the_question(gateway: Gateway, value: str) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    answer = await gateway.call("/function/x", headers=[("x-SERVER-timing", value), ("X-Kept", "1")])
    [field] = answer.all("server-timing")
    assert [part.partition(";dur=")[0] for part in field.split(", ")] == ["queue", "wake", "function"]
    assert (function.got(b"x-server-timing"), function.got(b"x-kept")) == ([], [b"1"])


@pytest.mark.parametrize("headers", [[], [("X-Server-Timing", "0")], [("X-Server-Timing", "")]])
async def test_nobody_else_is_told(gateway: Gateway, headers: list[tuple[str, str]]) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    assert (await gateway.call("/function/x", headers=headers)).all("server-timing") == []
    assert function.got(b"x-server-timing") == []


async def test_a_question_that_connection_names_away_is_none(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    answer = await gateway.call("/function/x", headers=[*ASKED, ("Connection", "X-Server-Timing")])
    assert answer.all("server-timing") == []


async def test_a_chunked_body_arrives_with_its_framing(gateway: Gateway) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "a"), *ASKED, ("Transfer-Encoding", "chunked")])
    client.write(b"12345")
    client.end()
    assert len((await client.answer()).all("server-timing")) == 1
    assert function.got(b"transfer-encoding") == [b"chunked"]


async def test_requests_of_both_kinds_take_turns_on_one_connection(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    client = await gateway.client()
    counts = []
    for asked in (True, True, False, False, True):
        client.send("GET", "/function/x", headers=ASKED if asked else [])
        counts.append(len((await client.answer()).all("server-timing")))
    assert counts == [1, 1, 0, 0, 1]


async def test_the_functions_own_timing_stays_beside_ours(gateway: Gateway, clock: Clock) -> None:
    function = Recorder(fields=[(b"Server-Timing", b"db;dur=53")])
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    answer = await call(gateway)
    assert answer.all("server-timing") == ["db;dur=53", NOTHING]


async def test_the_time_of_the_function_is_that_until_its_head(gateway: Gateway, clock: Clock) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    calling = call(gateway)
    await function.until_held(1)
    clock.now += 0.0427
    function.release()
    assert (await calling).all("server-timing") == ["queue;dur=0.0, wake;dur=0.0, function;dur=42.7"]


async def test_waiting_for_a_replica_is_told_apart_from_waiting_for_a_slot(gateway: Gateway, clock: Clock) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", max_inflight=1)
    first = call(gateway)
    await gateway.waiting("x", 1)
    second = call(gateway)
    await gateway.waiting("x", 2)
    clock.now += 2
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), max_inflight=1)
    for _ in range(2):
        await function.until_held(1)
        clock.now += 1
        function.release()
        await first
    assert (await first).all("server-timing") == ["queue;dur=0.0, wake;dur=2000.0, function;dur=1000.0"]
    assert (await second).all("server-timing") == ["queue;dur=1000.0, wake;dur=2000.0, function;dur=1000.0"]


async def test_a_refusal_says_how_long_its_request_waited(gateway: Gateway, clock: Clock) -> None:
    await gateway.deploy("x.openfaas-fn")
    calling = call(gateway)
    await gateway.waiting("x", 1)
    clock.now += 3
    await gateway.deploy("x.openfaas-fn", failed=True)
    answer = await calling
    assert (answer.status, answer.all("server-timing")) == (503, ["queue;dur=0.0, wake;dur=3000.0, function;dur=0.0"])


async def test_an_attempt_that_failed_is_time_at_replicas(gateway: Gateway, clock: Clock) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        clock.now += 0.5
        writer.close()

    await gateway.deploy("x.openfaas-fn", await gateway.raw_replica(late))
    answer = await call(gateway)
    spent = "queue;dur=0.0, wake;dur=0.0, function;dur=1500.0"
    assert (answer.status, answer.all("server-timing")) == (502, [spent])
