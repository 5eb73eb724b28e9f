"""One request to a function whose replicas fail, leave or stream: the one answer of each failure, and trying again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import h11
import pytest

from penstock.gateway.invocation import MAX_ATTEMPTS
from penstock.gateway.messages import Wake
from penstock.wire.exchange import Exchange
from penstock.wire.timeouts import NEVER
from tests.unit.gateway.support import DEADLINE, Gateway, Gather, Recorder, dropping, echo, eventually

NOBODY = "unix:/nonexistent/penstock-replica"


# Failing replicas.


async def test_a_replica_that_stays_unreachable_is_a_502(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", NOBODY, queue_timeout=0.2)
    answer = await gateway.call("/function/x")
    assert answer.status == 502
    assert "x.openfaas-fn failed: cannot connect" in answer.text
    assert answer.get("x-openfaas-internal") == "gateway"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (2 << 20) + b"\r\n\r\n",
        b"",
    ],
)
async def test_a_replica_that_answers_garbage_or_nothing_is_a_502(gateway: Gateway, garbage: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(garbage)
        writer.write_eof()

    await gateway.deploy("x.openfaas-fn", await gateway.raw_replica(serve))
    answer = await gateway.call("/function/x", method="POST")
    assert answer.status == 502
    assert "replica of function x.openfaas-fn failed" in answer.text


async def test_an_answer_cut_in_its_middle_is_cut_for_the_client_too(gateway: Gateway) -> None:
    def half(exchange: Exchange) -> None:
        exchange.start(200, content_length=10)
        exchange.write(b"half")
        exchange.abort()

    await gateway.deploy("x.openfaas-fn", await gateway.replica(half))
    answer = await gateway.call("/function/x")
    assert (answer.status, answer.complete) == (200, False)


async def test_a_timeout_is_a_504_that_names_the_gateway(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), timeout=0.2)
    answer = await gateway.call("/function/x", b"body")
    assert answer.status == 504
    assert "function x.openfaas-fn gave no complete answer within 0.2 s, cut by the gateway" in answer.text
    assert answer.get("x-openfaas-internal") == "gateway"
    await gateway.inflight("x", 0)


async def test_a_shorter_x_timeout_wins_and_reaches_the_function(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), timeout=DEADLINE)
    call = asyncio.create_task(gateway.call("/function/x", headers=[("X-Timeout", "59500ms")]))
    await function.until_held(1)
    assert function.got(b"x-timeout") == [b"59500ms"]
    (relay,) = gateway.relays("x")
    relay.deadline = 0.0  # its time is over
    answer = await call
    assert answer.status == 504
    assert "59.5 s" in answer.text


@pytest.mark.parametrize("value", ["1h", "nonsense", "-1s", "0", "\xe9", ""])
async def test_an_x_timeout_that_is_longer_or_no_duration_is_ignored(gateway: Gateway, value: str) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), timeout=0.2)
    answer = await gateway.raw(
        f"GET /function/x HTTP/1.1\r\nHost: a\r\nX-Timeout: {value}\r\nConnection: close\r\n\r\n".encode("latin-1")
    )
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"within 0.2 s" in answer


async def test_a_function_without_a_limit_still_keeps_the_callers(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), timeout=0.0)
    assert (await gateway.call("/function/x", headers=[("X-Timeout", "0.2s")])).status == 504


async def test_a_timeout_after_the_head_cuts_the_answer(gateway: Gateway) -> None:
    def stalls(exchange: Exchange) -> None:
        exchange.start(200)
        exchange.write(b"begun")

    await gateway.deploy("x.openfaas-fn", await gateway.replica(stalls), timeout=DEADLINE)
    client = await gateway.client()
    client.send("GET", "/function/x")
    assert (await client.head()).status == 200
    begun = await client.event()
    assert isinstance(begun, h11.Data)
    assert bytes(begun.data) == b"begun"
    (relay,) = gateway.relays("x")
    relay.deadline = 0.0  # its time is over
    with pytest.raises((h11.RemoteProtocolError, ConnectionError)):
        await client.event()


# Trying again.


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_an_idempotent_request_that_a_replica_dropped_is_tried_on_another(gateway: Gateway, method: str) -> None:
    dropped: list[bytes] = []
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.raw_replica(dropping(dropped)), await gateway.replica(function))
    async with asyncio.timeout(DEADLINE):
        while not dropped:  # which of the two is asked first is a matter of chance
            body = b"again" if method == "PUT" else b""
            assert (await gateway.call("/function/x", body, method=method)).status == 200
            _wake_all(gateway, "x")


async def test_a_request_is_tried_on_each_replica_once_although_none_rests_any_more(gateway: Gateway) -> None:
    """As when several are on a machine that is lost, where each takes longer to fail than the one before it rests."""

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        _wake_all(gateway, "x")
        writer.close()

    bad = [await gateway.raw_replica(drop) for _ in range(2)]
    await gateway.deploy("x.openfaas-fn", *bad, await gateway.replica(Recorder()))
    for _ in range(40):
        _wake_all(gateway, "x")
        assert (await gateway.call("/function/x", method="GET")).status == 200


async def test_a_post_that_a_replica_dropped_is_a_502_and_not_sent_again(gateway: Gateway) -> None:
    dropped: list[bytes] = []
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.raw_replica(dropping(dropped)), await gateway.replica(function))
    statuses = []
    for _ in range(20):
        statuses.append((await gateway.call("/function/x", b"body")).status)
        _wake_all(gateway, "x")
    assert statuses.count(502) == len(dropped) > 0
    assert statuses.count(200) == len(function.exchanges)


async def test_a_post_to_a_replica_that_does_not_listen_is_tried_on_another(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", NOBODY, await gateway.replica(echo))
    for _ in range(12):
        assert (await gateway.call("/function/x", b"body")).body == b"body"
        _wake_all(gateway, "x")


async def test_a_body_that_is_still_coming_is_not_lost_by_trying_again(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", NOBODY, await gateway.replica(echo))
    for _ in range(8):
        client = await gateway.client()
        client.begin("POST", "/function/x", [("Host", "a"), ("Content-Length", "8")])
        client.write(b"half")
        await asyncio.sleep(0)
        client.write(b"half")
        assert (await client.answer()).body == b"halfhalf"
        _wake_all(gateway, "x")


async def test_a_failing_replica_rests_and_the_others_are_used(gateway: Gateway) -> None:
    dropped: list[bytes] = []
    bad = await gateway.raw_replica(dropping(dropped))
    await gateway.deploy("x.openfaas-fn", bad, await gateway.replica(Recorder()))
    await _call_until(gateway, lambda: bool(dropped))
    seen = len(dropped)
    function = gateway.worker.routes.find(b"x")
    assert function is not None
    function.replicas[0].resting_until = float("inf")  # so that the rest cannot end while this test runs
    for _ in range(20):
        assert (await gateway.call("/function/x")).status == 200
    assert len(dropped) == seen


async def test_the_last_replica_never_rests(gateway: Gateway) -> None:
    answers = iter([False, True])
    calls: list[bytes] = []

    def sometimes(exchange: Exchange) -> None:
        calls.append(exchange.request.target)
        if next(answers, True):
            exchange.respond(200, [], b"ok")
        else:
            exchange.abort()

    await gateway.deploy("x.openfaas-fn", await gateway.replica(sometimes))
    assert (await gateway.call("/function/x", b"body")).status == 502
    assert (await gateway.call("/function/x", b"body")).status == 200
    assert len(calls) == 2


async def test_when_all_replicas_rest_one_of_them_is_tried(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()), await gateway.replica(Recorder()))
    function = gateway.worker.routes.find(b"x")
    assert function is not None
    for replica in function.replicas:
        replica.failed(asyncio.get_running_loop().time() + 1000)
    assert (await gateway.call("/function/x", b"body")).status == 200


async def test_a_success_ends_the_row_of_failures(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    function = gateway.worker.routes.find(b"x")
    assert function is not None
    function.replicas[0].failures = 3
    assert (await gateway.call("/function/x")).status == 200
    assert function.replicas[0].failures == 0


# Replicas that nobody reaches: what was not processed waits for one.


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_no_replica_took_waits_until_one_is_back_at_its_address(
    gateway: Gateway, method: str
) -> None:
    address = f"unix:{gateway.home}/later"
    await gateway.deploy("x.openfaas-fn", address, f"{NOBODY}2")
    call = asyncio.create_task(gateway.call("/function/x", b"body", method=method))
    await gateway.held("x", 1)
    Path(address.removeprefix("unix:")).symlink_to((await gateway.replica(echo)).removeprefix("unix:"))
    assert (await call).body == b"body"
    await gateway.inflight("x", 0)


async def test_a_request_that_no_replica_took_goes_to_another_one_at_once(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", NOBODY)
    call = asyncio.create_task(gateway.call("/function/x", b"body"))
    (held,) = await gateway.held("x", 1)
    held.deadline = NEVER  # so that only the route can let it go on
    await gateway.deploy("x.openfaas-fn", await gateway.replica(echo))
    assert (await call).body == b"body"


async def test_when_the_unreachable_replicas_leave_a_wake_is_asked_for(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", NOBODY)
    call = asyncio.create_task(gateway.call("/function/x", b"body"))
    (held,) = await gateway.held("x", 1)
    held.deadline = NEVER
    await gateway.deploy("x.openfaas-fn")
    await gateway.waiting("x", 1)
    await gateway.control.sessions[-1].expect(Wake)
    await gateway.deploy("x.openfaas-fn", await gateway.replica(echo))
    assert (await call).body == b"body"


async def test_a_request_of_which_replicas_die_is_sent_three_times_and_no_more(gateway: Gateway) -> None:
    """However often they come back."""
    path, away = gateway.home / "dies", gateway.home / "away"
    seen: list[bytes] = []

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        path.rename(away)
        writer.close()

    away.symlink_to((await gateway.raw_replica(die)).removeprefix("unix:"))
    await gateway.deploy("x.openfaas-fn", f"unix:{path}")
    call = asyncio.create_task(gateway.call("/function/x"))
    for _ in range(MAX_ATTEMPTS):
        await gateway.held("x", 1)
        away.rename(path)
        await eventually(away.is_symlink, "its end")
    assert (await call).status == 502
    assert len(seen) == MAX_ATTEMPTS


async def test_what_was_held_has_the_functions_whole_time_again(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", NOBODY, timeout=1000.0)
    call = asyncio.create_task(gateway.call("/function/x", b"body"))
    await gateway.held("x", 1)
    released = asyncio.get_running_loop().time()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), timeout=1000.0)
    await function.until_held(1)
    (relay,) = gateway.relays("x")
    assert relay.deadline > released + 999
    function.release(b"")
    assert (await call).status == 200


async def test_no_more_are_held_than_may_wait(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", NOBODY, queue_length=1)
    first = asyncio.create_task(gateway.call("/function/x"))
    await gateway.held("x", 1)
    assert (await gateway.call("/function/x")).status == 429
    await gateway.remove("x.openfaas-fn")
    assert (await first).status == 404


async def test_a_client_that_leaves_while_its_request_is_held_is_forgotten(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", NOBODY)
    client = await gateway.client()
    client.send("GET", "/function/x")
    await gateway.held("x", 1)
    client.close()
    await gateway.held("x", 0)


async def test_a_function_that_fails_for_good_keeps_no_request_held(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", NOBODY)
    call = asyncio.create_task(gateway.call("/function/x"))
    (held,) = await gateway.held("x", 1)
    held.deadline = NEVER
    await gateway.deploy("x.openfaas-fn", failed=True)
    answer = await call
    assert answer.status == 503
    assert "cannot start" in answer.text


# Replicas that leave.


async def test_a_request_in_flight_to_a_replica_that_leaves_the_route_is_finished(gateway: Gateway) -> None:
    old, new = Recorder(), Recorder(body=b"new")
    old.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(old))
    call = asyncio.create_task(gateway.call("/function/x"))
    await old.until_held(1)
    await gateway.deploy("x.openfaas-fn", await gateway.replica(new))
    assert (await gateway.call("/function/x")).body == b"new"
    old.release(b"old")
    assert (await call).body == b"old"


async def test_a_request_in_flight_is_finished_although_its_function_was_removed(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    call = asyncio.create_task(gateway.call("/function/x"))
    await function.until_held(1)
    await gateway.remove("x.openfaas-fn")
    assert (await gateway.call("/function/x")).status == 404
    function.release(b"late")
    assert (await call).body == b"late"


async def test_a_request_whose_replica_fails_after_its_function_was_removed_does_not_wait(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), queue_timeout=0.0)
    call = asyncio.create_task(gateway.call("/function/x"))
    await function.until_held(1)
    await gateway.remove("x.openfaas-fn")
    function.held.pop().abort()
    assert (await call).status == 502


# Streams.


async def test_events_arrive_one_by_one(gateway: Gateway) -> None:
    exchanges: list[Exchange] = []

    def events(exchange: Exchange) -> None:
        exchanges.append(exchange)
        exchange.start(200, [(b"Content-Type", b"text/event-stream")])

    await gateway.deploy("x.openfaas-fn", await gateway.replica(events))
    client = await gateway.client()
    client.send("GET", "/function/x", headers=[("Accept", "text/event-stream")])
    assert (await client.head()).status == 200
    for number in range(5):
        event = b"data: %d\n\n" % number
        exchanges[0].write(event)
        received = await client.event()
        assert isinstance(received, h11.Data)
        assert bytes(received.data) == event
    exchanges[0].finish()
    assert isinstance(await client.event(), h11.EndOfMessage)


@pytest.mark.parametrize("kind", [b"text/event-stream", b"Text/Event-Stream; charset=utf-8", b"application/x-ndjson"])
async def test_an_event_stream_goes_on_beyond_the_functions_limit(gateway: Gateway, kind: bytes) -> None:
    exchanges: list[Exchange] = []

    def events(exchange: Exchange) -> None:
        exchanges.append(exchange)
        exchange.start(200, [(b"Content-Type", kind)])

    await gateway.deploy("x.openfaas-fn", await gateway.replica(events), timeout=DEADLINE)
    client = await gateway.client()
    client.send("GET", "/function/x")
    assert (await client.head()).status == 200
    assert [relay.deadline for relay in gateway.relays("x")] == [NEVER]
    exchanges[0].write(b"data: 1\n\n")
    assert isinstance(await client.event(), h11.Data)
    exchanges[0].finish()
    assert isinstance(await client.event(), h11.EndOfMessage)


async def test_an_event_stream_that_does_not_come_about_is_an_error(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.raw_replica(dropping([])))
    answer = await gateway.call("/function/x", headers=[("Accept", "text/event-stream")])
    assert answer.status == 502
    assert answer.body


async def test_a_client_that_leaves_an_event_stream_ends_it_at_the_replica(gateway: Gateway) -> None:
    gone = asyncio.Event()

    class Watcher(Gather):
        def client_gone(self) -> None:
            gone.set()

    def events(exchange: Exchange) -> None:
        exchange.attach(Watcher(exchange))
        exchange.start(200, [(b"Content-Type", b"text/event-stream")])
        exchange.write(b"data: 1\n\n")

    await gateway.deploy("x.openfaas-fn", await gateway.replica(events))
    client = await gateway.client()
    client.send("GET", "/function/x")
    await client.head()
    client.close()
    async with asyncio.timeout(DEADLINE):
        await gone.wait()
    await gateway.inflight("x", 0)


async def test_a_redirect_is_passed_through(gateway: Gateway) -> None:
    function = Recorder(status=302, body=b"", fields=[(b"Location", b"/elsewhere?a=%2F")])
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    answer = await gateway.call("/function/x")
    assert (answer.status, answer.get("location")) == (302, "/elsewhere?a=%2F")
    assert len(function.exchanges) == 1


async def test_pipelined_requests_to_several_functions_are_answered_in_order(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder(body=b"from x")))
    await gateway.deploy("y.openfaas-fn", await gateway.replica(Recorder(body=b"from y")))
    answer = await gateway.raw(
        b"GET /function/x HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET /function/y HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET /function/z HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET /function/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    order = [answer.index(b"from x"), answer.index(b"from y"), answer.index(b" 404 "), answer.rindex(b"from x")]
    assert order == sorted(order)


# Helpers.


def _wake_all(gateway: Gateway, name: str) -> None:
    """End every replica's rest."""
    function = gateway.worker.routes.find(name.encode())
    assert function is not None
    for replica in function.replicas:
        replica.resting_until = 0.0


async def _call_until(gateway: Gateway, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            assert (await gateway.call("/function/x")).status == 200
