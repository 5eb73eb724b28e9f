"""What the gateway adds to requests and answers, what it removes and what it leaves alone."""

from __future__ import annotations

import re
import time

import pytest

from penstock import __version__
from penstock.wire.exchange import Exchange
from tests.unit.gateway.support import Answer, Gateway, Recorder

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
Pairs = list[tuple[str, str]]


async def call(gateway: Gateway, function: Recorder, headers: Pairs | None = None, body: bytes = b"") -> Answer:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    return await gateway.call("/function/x", body, headers=headers or [])


# To the function.


async def test_a_call_id_is_made_where_there_is_none_and_told_to_both_sides(gateway: Gateway) -> None:
    function = Recorder()
    answer = await call(gateway, function)
    [seen] = function.got(b"x-call-id")
    assert UUID4.fullmatch(seen.decode())
    assert answer.all("x-call-id") == [seen.decode()]


async def test_each_request_gets_a_call_id_of_its_own(gateway: Gateway) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    client = await gateway.client()
    ids = set()
    for _ in range(100):
        client.send("GET", "/function/x")
        ids.add((await client.answer()).get("x-call-id"))
    assert len(ids) == 100
    assert {exchange.request.get(b"x-call-id") for exchange in function.exchanges} == {i.encode() for i in ids}


async def test_the_callers_call_id_is_kept_and_not_echoed(gateway: Gateway) -> None:
    function = Recorder()
    answer = await call(gateway, function, [("x-cALL-id", "mine")])
    assert function.got(b"x-call-id") == [b"mine"]
    assert answer.all("x-call-id") == []


async def test_the_start_time_is_added_in_nanoseconds(gateway: Gateway) -> None:
    function = Recorder()
    before = time.time_ns()
    answer = await call(gateway, function)
    [seen] = function.got(b"x-start-time")
    assert before <= int(seen) <= time.time_ns()
    assert answer.all("x-start-time") == [seen.decode()]


async def test_a_start_time_of_the_client_stays_beside_ours(gateway: Gateway) -> None:
    function = Recorder()
    await call(gateway, function, [("X-Start-Time", "17")])
    values = function.got(b"x-start-time")
    assert len(values) == 2
    assert b"17" in values


async def test_forwarded_host_and_address_are_added_where_absent(gateway: Gateway) -> None:
    function = Recorder()
    await call(gateway, function)
    assert function.got(b"x-forwarded-host") == [b"gateway.test"]
    [peer] = function.got(b"x-forwarded-for")
    assert re.fullmatch(rb"127\.0\.0\.1:\d+", peer)


async def test_forwarded_host_and_address_of_the_client_are_left_as_they_are(gateway: Gateway) -> None:
    function = Recorder()
    await call(gateway, function, [("X-Forwarded-Host", "theirs"), ("X-Forwarded-For", "10.0.0.1, 10.0.0.2")])
    assert function.got(b"x-forwarded-host") == [b"theirs"]
    assert function.got(b"x-forwarded-for") == [b"10.0.0.1, 10.0.0.2"]


async def test_a_user_agent_is_added_where_there_is_none(gateway: Gateway) -> None:
    function = Recorder()
    await call(gateway, function)
    assert function.got(b"user-agent") == [f"penstock-gateway/{__version__}".encode()]


async def test_the_clients_user_agent_is_kept(gateway: Gateway) -> None:
    function = Recorder()
    await call(gateway, function, [("User-Agent", "curl/8")])
    assert function.got(b"user-agent") == [b"curl/8"]


async def test_hop_by_hop_fields_and_those_that_connection_names_are_removed(gateway: Gateway) -> None:
    function = Recorder()
    removed = [
        ("Connection", "keep-alive, X-Private, Close-Not"),
        ("X-Private", "1"),
        ("Close-Not", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eA=="),
        ("Proxy-Authenticate", "Basic"),
        ("TE", "trailers"),
    ]
    await call(gateway, function, [*removed, ("X-Kept", "1"), ("Authorization", "Bearer f")])
    names = {name for name, _ in function.exchanges[-1].request.fields}
    assert not names & {name.lower().encode() for name, _ in removed}
    assert function.got(b"x-kept") == [b"1"]
    assert function.got(b"authorization") == [b"Bearer f"]


@pytest.mark.parametrize("name", ["X-Call-Id", "X-Forwarded-For", "X-Forwarded-Host", "User-Agent"])
async def test_a_field_that_connection_names_away_is_added_as_if_it_were_absent(gateway: Gateway, name: str) -> None:
    function = Recorder()
    await call(gateway, function, [("Connection", name), (name, "theirs")])
    [value] = function.got(name.lower().encode())
    assert value != b"theirs"


async def test_host_and_content_length_cannot_be_named_away(gateway: Gateway) -> None:
    function = Recorder()
    await call(gateway, function, [("Connection", "host, content-length")], b"12345")
    assert function.got(b"host") == [b"gateway.test"]
    assert function.got(b"content-length") == [b"5"]


async def test_fields_arrive_in_their_order_and_spelling(gateway: Gateway) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    await gateway.raw(
        b"GET /function/x HTTP/1.1\r\nhOST: a\r\nX-One:1\r\nx-two:  2 \r\nX-ONE: 3\r\nConnection: close\r\n\r\n"
    )
    raw = function.exchanges[0].request.raw_fields
    assert raw.startswith(b"hOST: a\r\nX-One:1\r\nx-two:  2 \r\nX-ONE: 3\r\n")


async def test_a_known_length_reaches_the_function_and_a_chunked_body_stays_chunked(gateway: Gateway) -> None:
    function = Recorder()
    await call(gateway, function, body=b"12345")
    assert function.exchanges[0].request.content_length == 5
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "a"), ("Transfer-Encoding", "chunked")])
    client.write(b"12345")
    client.end()
    assert (await client.answer()).status == 200
    assert function.exchanges[1].request.chunked
    assert function.exchanges[1].request.content_length is None


async def test_a_request_repeated_on_its_connection_is_not_mixed_up_with_the_one_before(gateway: Gateway) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    client = await gateway.client()
    for target, extra in [("/a", "1"), ("/a", "1"), ("/b", "1"), ("/a", "2"), ("/a", "1")]:
        client.send("GET", f"/function/x{target}", headers=[("X-Extra", extra)])
        assert (await client.answer()).status == 200
    seen = [(e.request.target, e.request.get(b"x-extra")) for e in function.exchanges]
    assert seen == [(b"/a", b"1"), (b"/a", b"1"), (b"/b", b"1"), (b"/a", b"2"), (b"/a", b"1")]


async def test_an_http10_request_without_host_is_given_one(gateway: Gateway) -> None:
    function = Recorder()
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    answer = await gateway.raw(b"GET /function/x HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert function.got(b"host") == [b"x"]


# To the client.


async def test_answers_say_who_served_them(gateway: Gateway) -> None:
    assert (await call(gateway, Recorder())).get("x-served-by") == f"penstock/{__version__}"


@pytest.mark.parametrize("name", ["X-Call-Id", "X-Start-Time", "X-Served-By"])
async def test_a_field_that_the_function_sets_replaces_ours(gateway: Gateway, name: str) -> None:
    function = Recorder(fields=[(name.encode(), b"its"), (b"X-More", b"a"), (b"X-More", b"b")])
    answer = await call(gateway, function)
    assert answer.all(name.lower()) == ["its"]
    assert answer.all("x-more") == ["a", "b"]
    others = {"x-call-id", "x-start-time", "x-served-by"} - {name.lower()}
    assert all(len(answer.all(other)) == 1 for other in others)


async def test_several_values_of_a_function_are_all_kept(gateway: Gateway) -> None:
    function = Recorder(fields=[(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")])
    assert (await call(gateway, function)).all("set-cookie") == ["a=1", "b=2"]


async def test_hop_by_hop_fields_of_the_function_are_removed(gateway: Gateway) -> None:
    function = Recorder(fields=[(b"Connection", b"X-Secret"), (b"X-Secret", b"1"), (b"Keep-Alive", b"timeout=1")])
    answer = await call(gateway, function)
    assert not answer.all("x-secret")
    assert not answer.all("keep-alive")


async def test_the_functions_content_type_is_kept(gateway: Gateway) -> None:
    function = Recorder(fields=[(b"Content-Type", b"image/png")])
    answer = await call(gateway, function, [("Content-Type", "text/csv")], b"x")
    assert answer.all("content-type") == ["image/png"]


async def test_without_one_the_content_type_is_the_requests(gateway: Gateway) -> None:
    answer = await call(gateway, Recorder(), [("Content-Type", "text/csv")], b"x")
    assert answer.all("content-type") == ["text/csv"]


async def test_without_any_the_content_type_is_text_plain(gateway: Gateway) -> None:
    assert (await call(gateway, Recorder())).all("content-type") == ["text/plain"]


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_body_gets_no_content_type(gateway: Gateway, status: int) -> None:
    answer = await call(gateway, Recorder(status=status, body=b""))
    assert (answer.status, answer.all("content-type")) == (status, [])


async def test_the_answers_content_length_is_kept_also_for_head(gateway: Gateway) -> None:
    function = Recorder(body=b"12345")
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    assert (await gateway.call("/function/x")).get("content-length") == "5"
    head = await gateway.call("/function/x", method="HEAD")
    assert (head.get("content-length"), head.body) == ("5", b"")


async def test_refusals_carry_the_call_id_too(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", queue_timeout=0.1)
    answer = await gateway.call("/function/x")
    assert answer.status == 503
    assert UUID4.fullmatch(answer.get("x-call-id"))
    assert answer.get("x-start-time").isdigit()


async def test_trailers_of_the_function_reach_the_client(gateway: Gateway) -> None:
    def app(exchange: Exchange) -> None:
        exchange.start(200, [(b"Trailer", b"X-Sum")])
        exchange.write(b"data")
        exchange.finish([(b"X-Sum", b"42")])

    await gateway.deploy("x.openfaas-fn", await gateway.replica(app))
    answer = await gateway.raw(b"GET /function/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"0\r\nX-Sum: 42\r\n\r\n")
