"""The worker's end of the route feed: what it believes, how long, and what it says."""

from __future__ import annotations

import asyncio
import os
import random

import msgspec
import pytest

from penstock.gateway.messages import MAX_MESSAGE, Counters, Flush, Hello, RouteRemoved, Synced
from tests.unit.gateway.support import Gateway, Recorder, eventually, route


async def test_a_worker_introduces_itself(gateway: Gateway) -> None:
    assert gateway.control.sessions[0].said == [Hello(worker=3, pid=os.getpid())]


async def test_routes_are_kept_while_control_is_away(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    await gateway.control.stop()
    for _ in range(3):
        assert (await gateway.call("/function/x")).status == 200
    assert (await gateway.call("/function/y")).status == 404


async def test_a_new_picture_removes_what_it_does_not_name_and_only_when_it_is_complete(gateway: Gateway) -> None:
    address = await gateway.replica(Recorder())
    await gateway.deploy("x.openfaas-fn", address)
    await gateway.deploy("y.openfaas-fn", address)
    gateway.control.sessions[0].drop()
    session = await gateway.control.session(2)
    session.send(route("x.openfaas-fn", address))
    assert (await gateway.call("/function/y")).status == 200
    session.send(Synced())
    await eventually(lambda: gateway.worker.routes.find(b"y") is None, "y to be gone")
    assert (await gateway.call("/function/x")).status == 200
    assert (await gateway.call("/function/y")).status == 404


async def test_a_picture_that_broke_off_removes_nothing(gateway: Gateway) -> None:
    address = await gateway.replica(Recorder())
    await gateway.deploy("x.openfaas-fn", address)
    await gateway.deploy("y.openfaas-fn", address)
    gateway.control.sessions[0].drop()
    session = await gateway.control.session(2)
    session.send(route("x.openfaas-fn", address))
    session.drop()
    session = await gateway.control.session(3)
    assert (await gateway.call("/function/y")).status == 200
    session.send(route("y.openfaas-fn", address), Synced())
    await eventually(lambda: gateway.worker.routes.find(b"x") is None, "x to be gone")


async def test_a_function_removed_by_name_is_gone(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    gateway.control.sessions[0].send(RouteRemoved(key="never.known"))
    await gateway.remove("x.openfaas-fn")
    assert (await gateway.call("/function/x")).status == 404


async def test_those_who_wait_are_spoken_for_again_after_a_reconnect(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    calls = [asyncio.create_task(gateway.call("/function/x")) for _ in range(5)]
    await gateway.waiting("x", 5)
    gateway.control.sessions[0].drop()
    session = await gateway.control.session(2)
    await eventually(lambda: session.wakes, "a wake")
    assert session.wakes == ["x.openfaas-fn"]
    session.send(route("x.openfaas-fn", await gateway.replica(Recorder())), Synced())
    assert {(await call).status for call in calls} == {200}


async def test_a_request_that_comes_while_control_is_away_is_woken_for_when_it_is_back(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    await gateway.control.stop()
    call = asyncio.create_task(gateway.call("/function/x"))
    await gateway.waiting("x", 1)
    await gateway.control.start()
    session = await gateway.control.session(2)
    await eventually(lambda: session.wakes, "a wake")
    session.send(route("x.openfaas-fn", await gateway.replica(Recorder())), Synced())
    assert (await call).status == 200


async def test_a_message_in_many_pieces_is_one_message(gateway: Gateway) -> None:
    address = await gateway.replica(Recorder())
    data = b""
    for message in (route("x.openfaas-fn", address), route("y.openfaas-fn", address), Synced()):
        body = msgspec.msgpack.encode(message)
        data += len(body).to_bytes(4, "big") + body
    session = gateway.control.sessions[0]
    chance = random.Random(7)
    while data:
        size = chance.randint(1, 9)
        session.send_raw(data[:size])
        data = data[size:]
        await asyncio.sleep(0)
    await eventually(lambda: gateway.worker.routes.synced, "the picture")
    assert len(gateway.worker.routes) == 2


@pytest.mark.parametrize(
    "data",
    [
        (MAX_MESSAGE + 1).to_bytes(4, "big"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        (3).to_bytes(4, "big") + b"\xc1\xc1\xc1",
        (1).to_bytes(4, "big") + b"\x80",
        (0).to_bytes(4, "big"),
        (5).to_bytes(4, "big") + msgspec.msgpack.encode([1, 2, 3, 4]),
    ],
)
async def test_a_feed_that_sends_something_else_is_dropped_and_asked_again(gateway: Gateway, data: bytes) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    gateway.control.sessions[0].send_raw(data)
    await gateway.control.session(2)
    assert (await gateway.call("/function/x")).status == 200


async def test_counters_are_sent_when_control_asks(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    await gateway.call("/function/x")
    session = gateway.control.sessions[0]
    session.send(Flush(id=77))
    await eventually(lambda: [c for c in session.all(Counters) if c.flush == 77], "the answer to the flush")
    assert sum(counters.started.get("x.openfaas-fn", 0) for counters in session.all(Counters)) == 1


async def test_counters_are_sent_unasked_after_a_while(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    await gateway.call("/function/x")
    [counters, *_] = await gateway.control.sessions[0].expect(Counters)
    assert counters.flush == 0
    assert counters.started == {"x.openfaas-fn": 1}


@pytest.fixture
def no_report_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.gateway.feed.REPORT_INTERVAL", 3600)


@pytest.mark.usefixtures("no_report_due")
async def test_counters_that_control_asks_for_are_not_sent_unasked_as_well(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    call = asyncio.create_task(gateway.call("/function/x"))
    await function.until_held(1)
    session, feed = gateway.control.sessions[0], gateway.worker.feed
    for number in (1, 2):
        session.send(Flush(id=number))
        await session.expect(Counters, number)
        feed.report_unasked()
    feed.report_unasked()
    reports = await session.expect(Counters, 3)
    assert [report.flush for report in reports] == [1, 2, 0]
    function.release()
    assert (await call).status == 200


async def test_what_was_counted_while_control_was_away_is_sent_when_it_is_back(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    await gateway.control.stop()
    for _ in range(3):
        await gateway.call("/function/x")
    await gateway.control.start()
    session = await gateway.control.session(2)
    session.send(Flush(id=1))
    await session.expect(Counters)
    assert sum(counters.started.get("x.openfaas-fn", 0) for counters in session.all(Counters)) == 3


@pytest.mark.usefixtures("no_report_due")
async def test_what_was_counted_when_the_connection_has_just_been_lost_is_sent_over_the_next(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    assert (await gateway.call("/function/x")).status == 200
    feed = gateway.worker.feed
    assert feed._connection is not None
    feed._connection.transport.abort()
    feed.report_unasked()
    feed.received(Flush(id=1))
    session = await gateway.control.session(2)
    session.send(Flush(id=2))
    [report, *_] = await session.expect(Counters)
    assert (report.flush, report.started) == (2, {"x.openfaas-fn": 1})
