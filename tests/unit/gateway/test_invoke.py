"""One request to a function: its name and path, who is not found, waiting for a replica, and the bounded queue."""

from __future__ import annotations

import asyncio

import pytest

from penstock.gateway.messages import Synced, Wake
from tests.unit.gateway.support import Gateway, Recorder, echo, eventually, route

# What the function sees of the target.


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/function/x", b"/"),
        ("/function/x/", b"/"),
        ("/function/x?", b"/?"),
        ("/function/x?a=1&b=%20+", b"/?a=1&b=%20+"),
        ("/function/x/?q", b"/?q"),
        ("/function/x/a%2Fb//c/../d", b"/a%2Fb//c/../d"),
        ("/function/x/%3F%25?x=%3f", b"/%3F%25?x=%3f"),
        ("/function/x/a/", b"/a/"),
        ("/function/x/function/y", b"/function/y"),
        ("/function/x//", b"//"),
        ("/function/x/;p=1:2@3", b"/;p=1:2@3"),
        ("http://elsewhere.test/function/x/p?q=1", b"/p?q=1"),
    ],
)
async def test_the_function_sees_its_path_and_query_exactly_as_they_were_sent(
    gateway: Gateway, target: str, seen: bytes
) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    answer = await gateway.call(target)
    assert (answer.status, answer.body) == (200, b"ok")
    assert function.targets == [seen]


async def test_a_function_of_the_default_namespace_is_found_with_and_without_it(gateway: Gateway) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    assert (await gateway.call("/function/x.openfaas-fn/p")).status == 200
    assert (await gateway.call("/function/x/p")).status == 200
    assert (await gateway.call("/function/x.elsewhere")).status == 404


async def test_a_function_of_another_namespace_is_found_only_with_it(gateway: Gateway) -> None:
    await gateway.deploy("x.blue", await gateway.replica(Recorder(body=b"blue")))
    assert (await gateway.call("/function/x.blue")).body == b"blue"
    assert (await gateway.call("/function/x")).status == 404


async def test_functions_of_one_name_in_two_namespaces_are_two_functions(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder(body=b"mine")))
    await gateway.deploy("x.blue", await gateway.replica(Recorder(body=b"blue")))
    assert (await gateway.call("/function/x")).body == b"mine"
    assert (await gateway.call("/function/x.blue")).body == b"blue"


@pytest.mark.parametrize(
    "target",
    [
        "/function/",
        "/function//",
        "/function/?x",
        "/function/..",
        "/function/../x",
        "/function/./x",
        "/function/..%2fx",
        "/function/%2e%2e/x",
        "/function/%2f",
        "/function/a%2fb",
        "/function/x%00",
        "/function/x%20",
        "/function/x|y",
        "/function/%C3%A9",
        "/function/x.",
        "/function/.x",
        "/function/X",
        "/function/x.openfaas-fn.openfaas-fn",
        "/function/" + "n" * 5000,
        "/function/" + "x." * 1000 + "openfaas-fn",
    ],
)
async def test_a_name_that_is_no_function_is_not_found_and_reaches_nobody(gateway: Gateway, target: str) -> None:
    function, control = Recorder(), Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    await gateway.control_api(control)
    answer = await gateway.call(target)
    assert answer.status == 404
    assert answer.get("x-openfaas-internal") == "gateway"
    assert not function.exchanges
    assert not control.exchanges


async def test_a_name_in_raw_utf8_is_refused_or_not_found(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    answer = await gateway.raw("GET /function/é HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"400", b"404")


# What has no replica to go to.


async def test_before_the_first_complete_picture_an_unknown_function_is_a_503(gateway: Gateway) -> None:
    answer = await gateway.call("/function/x")
    assert (answer.status, answer.get("retry-after")) == (503, "1")
    assert "not heard" in answer.text


async def test_a_function_named_by_an_unfinished_picture_is_served(gateway: Gateway) -> None:
    gateway.control.sessions[0].send(route("x.openfaas-fn", await gateway.replica(Recorder())))
    await eventually(lambda: gateway.worker.routes.find(b"x"), "the route")
    assert (await gateway.call("/function/x")).status == 200


async def test_after_it_an_unknown_function_is_a_404_that_names_it(gateway: Gateway) -> None:
    gateway.control.sessions[0].send(Synced())
    await eventually(lambda: gateway.worker.routes.synced, "the picture to be complete")
    answer = await gateway.call("/function/missing.blue")
    assert answer.status == 404
    assert "missing.blue" in answer.text
    assert answer.get("content-type").startswith("text/plain")
    assert answer.get("x-content-type-options") == "nosniff"


async def test_without_a_replica_within_the_queue_timeout_the_answer_is_503(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", queue_timeout=0.2)
    answer = await gateway.call("/function/x", b"body")
    assert (answer.status, answer.get("retry-after")) == (503, "1")
    assert "no replica of function x.openfaas-fn became ready within 0.2 s" in answer.text
    assert answer.get("x-openfaas-internal") == "gateway"


async def test_a_waiting_request_goes_on_when_a_replica_appears(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    call = asyncio.create_task(gateway.call("/function/x", b"body"))
    await gateway.waiting("x", 1)
    await gateway.deploy("x.openfaas-fn", await gateway.replica(echo))
    assert (await call).body == b"body"


async def test_a_chunked_body_waits_as_well(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "a"), ("Transfer-Encoding", "chunked")])
    client.write(b"first ")
    await gateway.waiting("x", 1)
    await gateway.deploy("x.openfaas-fn", await gateway.replica(echo))
    client.write(b"second")
    client.end()
    assert (await client.answer()).body == b"first second"


async def test_a_large_body_that_came_while_its_request_waited_arrives_whole(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    body = bytes(range(256)) * 4096
    call = asyncio.create_task(gateway.call("/function/x", body))
    await gateway.waiting("x", 1)
    await gateway.deploy("x.openfaas-fn", await gateway.replica(echo))
    assert (await call).body == body


async def test_a_client_that_waits_for_100_continue_is_told_when_a_replica_is_there(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /function/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    await gateway.waiting("x", 1)
    await gateway.deploy("x.openfaas-fn", await gateway.replica(echo))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    assert (await reader.readuntil(b"body")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_function_removed_while_requests_wait_answers_them_404(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    calls = [asyncio.create_task(gateway.call("/function/x")) for _ in range(3)]
    await gateway.waiting("x", 3)
    await gateway.remove("x.openfaas-fn")
    assert [(await call).status for call in calls] == [404, 404, 404]


async def test_a_function_whose_replicas_have_failed_keeps_nobody_waiting_until_one_is_ready(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    calls = [asyncio.create_task(gateway.call("/function/x")) for _ in range(3)]
    await gateway.waiting("x", 3)
    await gateway.deploy("x.openfaas-fn", failed=True)
    for answer in [*[await call for call in calls], await gateway.call("/function/x")]:
        assert answer.status == 503
        assert answer.body == b"function x.openfaas-fn cannot start; its status and its log say why\n"
    await gateway.deploy("x.openfaas-fn", await gateway.replica(echo))
    assert (await gateway.call("/function/x")).status == 200


# One wake, however many wait.


async def test_many_requests_to_a_sleeping_function_wake_it_once(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    calls = [asyncio.create_task(gateway.call("/function/x")) for _ in range(20)]
    await gateway.waiting("x", 20)
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    assert {(await call).status for call in calls} == {200}
    assert gateway.control.sessions[0].wakes == ["x.openfaas-fn"]


async def test_a_function_that_falls_asleep_again_is_woken_again(gateway: Gateway) -> None:
    function = Recorder()
    address = await gateway.replica(function)
    session = gateway.control.sessions[0]
    for count in (1, 2):
        await gateway.deploy("x.openfaas-fn")
        call = asyncio.create_task(gateway.call("/function/x"))
        await session.expect(Wake, count)
        await gateway.deploy("x.openfaas-fn", address)
        assert (await call).status == 200


async def test_a_function_scaled_to_zero_under_waiting_requests_is_woken(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), max_inflight=1)
    first = asyncio.create_task(gateway.call("/function/x"))
    await function.until_held(1)
    second = asyncio.create_task(gateway.call("/function/x"))
    await gateway.waiting("x", 1)
    await gateway.deploy("x.openfaas-fn", max_inflight=1)
    session = gateway.control.sessions[0]
    await eventually(lambda: session.wakes, "a wake")
    function.release()
    assert (await first).status == 200
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder(body=b"new")), max_inflight=1)
    assert (await second).body == b"new"


async def test_a_function_deployed_anew_under_its_old_name_is_woken_at_once(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    first = asyncio.create_task(gateway.call("/function/x"))
    await gateway.waiting("x", 1)
    await gateway.remove("x.openfaas-fn")
    assert (await first).status == 404
    await gateway.deploy("x.openfaas-fn")
    second = asyncio.create_task(gateway.call("/function/x"))
    session = gateway.control.sessions[0]
    await eventually(lambda: len(session.wakes) == 2, "a wake for the new function")
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    assert (await second).status == 200


# A bounded queue.


async def test_more_requests_than_slots_wait_and_go_on_in_their_order(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), max_inflight=1)
    calls = []
    for number in range(4):
        calls.append(asyncio.create_task(gateway.call(f"/function/x/{number}")))
        await (gateway.waiting("x", number) if number else function.until_held(1))
    for number in range(4):
        await function.until_held(1)
        assert len(function.exchanges) == number + 1
        function.release()
        assert (await calls[number]).status == 200
    assert function.targets == [b"/0", b"/1", b"/2", b"/3"]


async def test_slots_count_per_replica(gateway: Gateway) -> None:
    one, other = Recorder(), Recorder()
    one.hold = other.hold = True
    addresses = [await gateway.replica(one), await gateway.replica(other)]
    await gateway.deploy("x.openfaas-fn", *addresses, max_inflight=2)
    calls = [asyncio.create_task(gateway.call("/function/x")) for _ in range(5)]
    await gateway.inflight("x", 4)
    await gateway.waiting("x", 1)
    await eventually(lambda: (len(one.held), len(other.held)) == (2, 2), "two requests at each replica")
    one.release()
    await one.until_held(2)
    for recorder in (one, one, other, other):
        recorder.release()
    assert {(await call).status for call in calls} == {200}


async def test_one_more_replica_takes_those_who_wait(gateway: Gateway) -> None:
    one, other = Recorder(), Recorder(body=b"other")
    one.hold = True
    address = await gateway.replica(one)
    await gateway.deploy("x.openfaas-fn", address, max_inflight=1)
    first = asyncio.create_task(gateway.call("/function/x"))
    await one.until_held(1)
    second = asyncio.create_task(gateway.call("/function/x"))
    await gateway.waiting("x", 1)
    await gateway.deploy("x.openfaas-fn", address, await gateway.replica(other), max_inflight=1)
    assert (await second).body == b"other"
    one.release()
    assert (await first).status == 200


async def test_a_full_queue_is_answered_429_at_once(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", queue_length=2)
    waiting = [asyncio.create_task(gateway.call("/function/x")) for _ in range(2)]
    await gateway.waiting("x", 2)
    answer = await gateway.call("/function/x", b"body")
    assert (answer.status, answer.get("retry-after")) == (429, "1")
    assert "too many requests wait for function x.openfaas-fn" in answer.text
    assert answer.get("x-openfaas-internal") == "gateway"
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()), queue_length=2)
    assert [(await call).status for call in waiting] == [200, 200]


async def test_without_a_free_slot_within_the_queue_timeout_the_answer_is_429(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    address = await gateway.replica(function)
    await gateway.deploy("x.openfaas-fn", address, max_inflight=1, queue_timeout=0.2)
    first = asyncio.create_task(gateway.call("/function/x"))
    await function.until_held(1)
    second = await gateway.call("/function/x")
    assert (second.status, second.get("retry-after")) == (429, "1")
    assert "no free slot of function x.openfaas-fn within 0.2 s" in second.text
    function.release()
    assert (await first).status == 200
    assert len(function.exchanges) == 1


async def test_a_client_that_leaves_while_it_waits_is_forgotten(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    client = await gateway.client()
    client.send("GET", "/function/x/left")
    stays = asyncio.create_task(gateway.call("/function/x/stays"))
    await gateway.waiting("x", 2)
    client.close()
    await gateway.waiting("x", 1)
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    assert (await stays).status == 200
    assert function.targets == [b"/stays"]


async def test_a_client_that_leaves_while_its_body_waits_is_forgotten(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "a"), ("Content-Length", "100000")])
    client.write(b"z" * 5000)
    await gateway.waiting("x", 1)
    client.close()
    await gateway.waiting("x", 0)


async def test_a_malformed_body_of_a_request_that_waits_is_one_400_and_counted_once(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /function/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
    await gateway.waiting("x", 1)
    await gateway.deploy("x.openfaas-fn", await gateway.replica(echo))
    answer = await reader.read()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")
    writer.close()
    await gateway.inflight("x", 0)


async def test_a_refused_request_with_a_malformed_body_gets_one_answer_and_is_counted_once(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", queue_timeout=0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /function/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.count(b"HTTP/1.1 ") == 1
    function = gateway.worker.routes.find(b"x")
    assert function is not None
    assert function.counters.inflight == 0
