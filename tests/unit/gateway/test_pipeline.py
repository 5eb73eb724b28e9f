"""One request through several functions: what each stage gets, how bytes flow, how the whole ends, and who waits for whom."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Iterable

import h11
import pytest

from penstock.core.policy import AS_STAGES_SAY, Policy
from penstock.gateway.messages import Completed, Flush, Route, Synced
from penstock.wire.exchange import Exchange
from tests.unit.gateway.support import DEADLINE, Answer, Client, Gateway, Gather, Recorder, echo, eventually

NOBODY = "unix:/nonexistent/penstock-replica"
MIB = 1 << 20


class Passing(Gather):
    """A streaming program: each piece of its input is a piece of its output."""

    def __init__(self, exchange: Exchange, change: Callable[[bytes], bytes], left: list[Exchange]) -> None:
        super().__init__(exchange)
        self._change = change
        self._left = left

    def body(self, data: bytes) -> None:
        self.exchange.start(200, [(b"Content-Type", b"text/x-passing")])
        self.exchange.write(self._change(data))

    def body_end(self) -> None:
        self.exchange.start(200)
        self.exchange.finish()

    def client_gone(self) -> None:
        self._left.append(self.exchange)

    def writable(self, ready: bool) -> None:
        if ready:
            self.exchange.resume()
        else:
            self.exchange.pause()


class Program:
    """A replica that runs `Passing` for each request, and remembers what it was asked and who left."""

    def __init__(self, change: Callable[[bytes], bytes] = bytes) -> None:
        self.exchanges: list[Exchange] = []
        self.left: list[Exchange] = []
        self._change = change

    def __call__(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        exchange.attach(Passing(exchange, self._change, self.left))


class Keeping(Gather):
    """Takes the whole body, then answers with what `make` says of it."""

    def __init__(self, exchange: Exchange, make: Callable[[bytes], bytes]) -> None:
        super().__init__(exchange)
        self._make = make

    def body_end(self) -> None:
        self.exchange.respond(200, [], self._make(b"".join(self.pieces)))


def appending(text: bytes) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.attach(Keeping(exchange, lambda body: body + text))


def failing(status: int, body: bytes) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.respond(status, [(b"Content-Type", b"text/x-fault")], body)


async def deploy_all(gateway: Gateway, **programs: Callable[[Exchange], None]) -> None:
    for name, program in programs.items():
        await gateway.deploy(f"{name}.openfaas-fn", await gateway.replica(program))


async def name_pipeline(gateway: Gateway, name: str, *stages: str, timeout: float = DEADLINE) -> None:
    key = f"{name}.openfaas-fn"
    policy = Policy(timeout=timeout, queue_timeout=DEADLINE)
    gateway.control.sessions[-1].send(Route(key=key, stages=stages, policy=policy), Synced())
    await eventually(lambda: gateway.worker.routes.find(name.encode()), f"the route of {key}")


async def counted(gateway: Gateway) -> dict[str, list[tuple[int, int]]]:
    """Status and count of all that was completed since the last call, by function."""
    session = gateway.control.sessions[-1]
    said = len(session.said)
    session.send(Flush(id=77))
    await eventually(lambda: any(getattr(m, "flush", 0) == 77 for m in session.said[said:]), "the counters")
    done: list[Completed] = [each for m in session.said for each in getattr(m, "completed", [])]
    counts: dict[str, list[tuple[int, int]]] = {}
    for each in done:
        counts.setdefault(each.key.removesuffix(".openfaas-fn"), []).append((each.code, each.count))
    return counts


async def idle(gateway: Gateway, *names: str) -> None:
    for name in names:
        await gateway.inflight(name, 0)


def reset(client: Client) -> None:
    """Leave without an orderly end."""
    sock = client.writer.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def fields(exchange: Exchange) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in exchange.request.fields}


# What flows.


async def test_the_answer_of_one_is_the_request_of_the_next(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"), c=appending(b"c"))
    answer = await gateway.call("/function/a|b|c", b"-")
    assert (answer.status, answer.body, answer.complete) == (200, b"-abc", True)
    assert answer.get("x-pipeline-stage") == ""
    await idle(gateway, "a", "b", "c")
    assert await counted(gateway) == {name: [(200, 1)] for name in "abc"}


@pytest.mark.parametrize("target", ["/function/a%7Cb", "/function/a%7cb", "http://gateway.test/function/a|b"])
async def test_a_pipe_may_be_encoded_and_the_target_absolute(gateway: Gateway, target: str) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"))
    assert (await gateway.call(target, b"-")).body == b"-ab"


async def test_the_same_function_may_be_more_than_one_stage(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    assert (await gateway.call("/function/a|a|a", b"-")).body == b"-aaa"
    assert await counted(gateway) == {"a": [(200, 3)]}


async def test_stages_may_be_in_namespaces(gateway: Gateway) -> None:
    await gateway.deploy("a.blue", await gateway.replica(appending(b"blue")))
    await gateway.deploy("b.openfaas-fn", await gateway.replica(appending(b"b")))
    assert (await gateway.call("/function/a.blue|b.openfaas-fn", b"-")).body == b"-blueb"


async def test_fifty_stages_are_run(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    assert (await gateway.call("/function/" + "|".join(["a"] * 50), b"-")).body == b"-" + b"a" * 50


async def test_the_first_byte_of_the_answer_comes_before_the_last_of_the_request(gateway: Gateway) -> None:
    await deploy_all(gateway, a=Program(bytes.upper), b=Program(), c=Program(lambda data: data + b"!"))
    client = await gateway.client()
    client.begin("POST", "/function/a|b|c", [("Host", "g"), ("Transfer-Encoding", "chunked")])
    client.write(b"one")
    answer = await client.head()
    first = await client.event()
    assert isinstance(first, h11.Data)
    assert (answer.status, bytes(first.data)) == (200, b"ONE!")
    client.write(b"two")
    second = await client.event()
    assert isinstance(second, h11.Data)
    assert bytes(second.data) == b"TWO!"
    client.end()
    assert isinstance(await client.event(), h11.EndOfMessage)
    await idle(gateway, "a", "b", "c")


@pytest.mark.parametrize("chunked", [True, False])
async def test_large_bodies_pass_whole(gateway: Gateway, chunked: bool) -> None:
    await deploy_all(gateway, a=Program(), b=echo, c=Program())
    body = bytes(range(256)) * (4 * MIB // 256)
    client = await gateway.client()
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
    client.begin("POST", "/function/a|b|c", [("Host", "g"), framing])
    for start in range(0, len(body), 100_000):
        client.write(body[start : start + 100_000])
        await client.writer.drain()
    client.end()
    answer = await client.answer()
    assert (answer.status, answer.complete) == (200, True)
    assert answer.body == body


async def test_an_empty_answer_is_an_empty_request(gateway: Gateway) -> None:
    last = Recorder(body=b"end")
    await deploy_all(gateway, a=lambda exchange: exchange.respond(204), b=last)
    assert (await gateway.call("/function/a|b", b"x")).body == b"end"
    assert fields(last.exchanges[0])["content-length"] == "0"


async def test_an_answer_without_framing_is_passed_on_chunked(gateway: Gateway) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst ")
        await writer.drain()
        writer.write(b"second")
        writer.write_eof()

    await gateway.deploy("a.openfaas-fn", await gateway.raw_replica(serve))
    await deploy_all(gateway, b=appending(b"."))
    assert (await gateway.call("/function/a|b")).body == b"first second."


async def test_an_http10_client_gets_the_whole_answer_and_the_end_of_its_connection(gateway: Gateway) -> None:
    await deploy_all(gateway, a=Program(), b=Program(), c=Program(bytes.upper))
    answer = await gateway.raw(b"POST /function/a|b|c HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"chunked" not in head.lower()
    assert body == b"HELLO"


async def test_the_connection_serves_more_requests_after_a_pipeline(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"))
    client = await gateway.client()
    for target, expected in [("/function/a|b", b"-ab"), ("/function/a", b"-a"), ("/function/a|b", b"-ab")] * 2:
        client.send("POST", target, b"-")
        answer = await client.answer()
        assert (answer.status, answer.body, answer.complete) == (200, expected, True)


async def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"))
    one = b"POST /function/a|b HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n%b\r\n"
    sent = one % b"" + b"1" + one % b"" + b"2" + one % b"Connection: close\r\n" + b"3"
    answer = await gateway.raw(sent)
    assert re.findall(rb"\r\n\r\n([123]ab)", answer) == [b"1ab", b"2ab", b"3ab"]


async def test_a_client_that_expects_100_gets_it(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /function/a|b HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"-")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(3) == b"-ab"
    writer.close()


# What each stage is asked.


async def test_the_first_stage_gets_the_clients_method_and_the_others_post(gateway: Gateway) -> None:
    first, second = Recorder(), Recorder()
    await deploy_all(gateway, a=first, b=second)
    await gateway.call("/function/a|b", method="GET")
    await gateway.call("/function/a|b", b"x", method="PUT")
    assert [each.request.method for each in first.exchanges] == [b"GET", b"PUT"]
    assert [each.request.method for each in second.exchanges] == [b"POST", b"POST"]


async def test_path_and_query_go_to_the_last_stage_and_encoded_ones_to_their_own(gateway: Gateway) -> None:
    first, second = Recorder(), Recorder()
    await deploy_all(gateway, a=first, b=second)
    await gateway.call("/function/a|b/x%2Fy?q=1|2")
    await gateway.call("/function/a%2Fp%3Fx=%2520|b%3Fy=2")
    assert first.targets == [b"/", b"/p?x=%20"]
    assert second.targets == [b"/x%2Fy?q=1|2", b"/?y=2"]


async def test_stages_share_a_call_id_and_know_their_place(gateway: Gateway) -> None:
    stages = {name: Recorder() for name in "abc"}
    await deploy_all(gateway, **stages)
    answer = await gateway.call("/function/a|b|c", b"x")
    seen = [fields(stage.exchanges[0]) for stage in stages.values()]
    assert [each["x-pipeline-index"] for each in seen] == ["1", "2", "3"]
    assert {each["x-call-id"] for each in seen} == {answer.get("x-call-id")}
    assert {each["x-start-time"] for each in seen} == {answer.get("x-start-time")}
    assert [each["host"] for each in seen] == ["gateway.test"] * 3


async def test_the_callers_call_id_is_every_stages(gateway: Gateway) -> None:
    stages = {name: Recorder() for name in "ab"}
    await deploy_all(gateway, **stages)
    answer = await gateway.call("/function/a|b", headers=[("X-Call-Id", "mine")])
    assert [stage.got(b"x-call-id") for stage in stages.values()] == [[b"mine"], [b"mine"]]
    assert answer.get("x-call-id") == ""


async def test_what_describes_the_bytes_travels_with_them(gateway: Gateway) -> None:
    described = [(b"Content-Type", b"image/png"), (b"Content-Encoding", b"x-thing"), (b"Content-Language", b"tlh")]
    stages = {"a": Recorder(fields=described), "b": Recorder(), "c": Recorder()}
    await deploy_all(gateway, **stages)
    answer = await gateway.call("/function/a|b|c", b"x", headers=[("Content-Type", "text/mine"), ("Content-MD5", "q")])
    first, second, third = (fields(stage.exchanges[0]) for stage in stages.values())
    assert (first["content-type"], first["content-md5"]) == ("text/mine", "q")
    assert [second.get(n) for n in ("content-type", "content-encoding", "content-language", "content-md5")] == [
        "image/png",
        "x-thing",
        "tlh",
        None,
    ]
    assert (third["content-type"], third.get("content-encoding")) == ("image/png", None)
    assert answer.get("content-type") == "image/png"


async def test_what_is_about_the_answer_goes_to_the_last_stage_only_and_the_rest_to_all(gateway: Gateway) -> None:
    stages = {name: Recorder() for name in "abc"}
    await deploy_all(gateway, **stages)
    about = ["Accept", "Accept-Encoding", "Range", "If-None-Match"]
    await gateway.call(
        "/function/a|b|c",
        b"x",
        headers=[
            *((name, "v") for name in about),
            ("Authorization", "Bearer t"),
            ("X-Mine", "m"),
            ("Traceparent", "p"),
        ],
    )
    first, second, third = (fields(stage.exchanges[0]) for stage in stages.values())
    for name in map(str.lower, about):
        assert (first.get(name), second.get(name), third.get(name)) == (None, None, "v")
    for name in ("authorization", "x-mine", "traceparent", "x-forwarded-for"):
        assert first[name] == second[name] == third[name]


async def test_a_known_length_is_told_to_the_next_stage_and_an_unknown_one_is_chunked(gateway: Gateway) -> None:
    second, third = Program(), Recorder()
    await deploy_all(gateway, a=Recorder(body=b"12345"), b=second, c=third)
    await gateway.call("/function/a|b|c")
    assert second.exchanges[0].request.content_length == 5
    assert third.exchanges[0].request.chunked


async def test_an_upgrade_is_not_asked_of_any_stage(gateway: Gateway) -> None:
    stages = {"a": Recorder(), "b": Recorder(body=b"plain")}
    await deploy_all(gateway, **stages)
    answer = await gateway.call("/function/a|b", headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")])
    assert (answer.status, answer.body) == (200, b"plain")
    assert [stage.got(b"upgrade") for stage in stages.values()] == [[], []]


async def test_fields_that_connection_names_reach_no_stage(gateway: Gateway) -> None:
    stages = {"a": Recorder(), "b": Recorder()}
    await deploy_all(gateway, **stages)
    await gateway.call("/function/a|b", headers=[("Connection", "X-Secret"), ("X-Secret", "s")])
    assert [stage.got(b"x-secret") for stage in stages.values()] == [[], []]


async def test_a_repeated_head_asks_the_same_of_functions_that_were_replaced(gateway: Gateway) -> None:
    """What is remembered of a head must not outlive what it was worked out from."""
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"), c=appending(b"c"))
    await name_pipeline(gateway, "p", "a.openfaas-fn", "b.openfaas-fn/old")
    client = await gateway.client()
    client.send("POST", "/function/p", b"-")
    assert (await client.answer()).body == b"-ab"
    last = Recorder(body=b"new")
    await gateway.deploy("c.openfaas-fn", await gateway.replica(last))
    await name_pipeline(gateway, "p", "a.openfaas-fn", "c.openfaas-fn/new")
    await eventually(lambda: gateway.worker.routes.find(b"p").stages[1].name == b"c.openfaas-fn", "the change")  # type: ignore[union-attr]
    client.send("POST", "/function/p", b"-")
    assert (await client.answer()).body == b"new"
    assert last.targets == [b"/new"]


async def test_a_repeated_head_is_a_404_while_a_function_is_away(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"))
    client = await gateway.client()
    answers = []
    for present in (True, False, True):
        if present:
            await gateway.deploy("b.openfaas-fn", await gateway.replica(appending(b"b")))
        else:
            await gateway.remove("b.openfaas-fn")
        client.send("POST", "/function/a|b", b"-")
        answer = await client.answer()
        answers.append((answer.status, answer.body))
    missing = b"function b is not deployed\n"
    assert answers == [(200, b"-ab"), (404, missing), (200, b"-ab")]


async def test_a_repeated_head_with_answers_of_other_types_tells_the_next_stage_of_each(gateway: Gateway) -> None:
    types = [b"image/png", b"text/plain", b"image/png"]
    left = iter(types)
    second = Recorder()
    await deploy_all(gateway, a=lambda e: e.respond(200, [(b"Content-Type", next(left))], b"x"), b=second)
    client = await gateway.client()
    for _ in types:
        client.send("POST", "/function/a|b", b"-")
        assert (await client.answer()).status == 200
    assert [exchange.request.get(b"content-type") for exchange in second.exchanges] == types


async def test_what_is_new_in_each_call_comes_last_to_each_stage(gateway: Gateway) -> None:
    """So that a watchdog knows the rest of a head again, whoever the client is."""
    stages = {name: Recorder() for name in "abc"}
    await deploy_all(gateway, **stages)
    await gateway.call("/function/a|b|c", b"x")
    last = [b"x-forwarded-for", b"x-call-id", b"x-start-time"]
    names = [[name for name, _ in s.exchanges[0].request.fields] for s in stages.values()]
    assert names[0][-4:] == [*last, b"x-pipeline-out"]
    assert names[1][-5:] == [*last, b"x-pipeline-in", b"x-pipeline-out"]
    assert names[2][-4:] == [*last, b"x-pipeline-in"]


async def test_both_sides_of_a_joint_are_told_its_key_and_nobody_else(gateway: Gateway) -> None:
    stages = {name: Recorder() for name in "abc"}
    await deploy_all(gateway, **stages)
    for _ in range(2):
        await gateway.call("/function/a|b|c", b"x")
    keys: list[list[bytes | None]] = []
    for number in range(2):
        told = [stage.exchanges[number].request for stage in stages.values()]
        assert told[0].get(b"x-pipeline-in") is told[2].get(b"x-pipeline-out") is None
        keys.append([head.get(b"x-pipeline-out") for head in told[:2]])
        assert keys[number] == [head.get(b"x-pipeline-in") for head in told[1:]]
    assert len({key for of_call in keys for key in of_call}) == 4
    assert all(re.fullmatch(rb"[0-9a-f]{32}", key or b"") for of_call in keys for key in of_call)


async def test_a_single_function_has_no_joints(gateway: Gateway) -> None:
    stage = Recorder()
    await deploy_all(gateway, a=stage)
    await gateway.call("/function/a", b"x")
    assert b"x-pipeline" not in stage.exchanges[0].request.raw_fields.lower()


# How long it may take, and took.


async def test_the_answer_tells_the_time_of_each_stage(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"))
    timings = (await gateway.call("/function/a|b|a", b"x")).get("x-pipeline-timings")
    assert re.fullmatch(r"a;dur=[0-9]+\.[0-9], b;dur=[0-9]+\.[0-9], a;dur=[0-9]+\.[0-9]", timings)


async def test_one_deadline_ends_all_stages_and_names_the_one_at_work(gateway: Gateway) -> None:
    slow = Recorder()
    slow.hold = True
    await gateway.deploy("a.openfaas-fn", await gateway.replica(appending(b"a")), timeout=0.1)
    await gateway.deploy("b.openfaas-fn", await gateway.replica(slow), timeout=0.3)
    await gateway.deploy("c.openfaas-fn", await gateway.replica(appending(b"c")), timeout=0.2)
    answer = await gateway.call("/function/a|b|c", b"x")
    assert (answer.status, answer.get("x-pipeline-stage")) == (504, "2/3 b")
    assert answer.get("x-openfaas-internal") == "gateway"
    assert "within 0.3 s, cut by the gateway; function b.openfaas-fn was at work" in answer.text
    await idle(gateway, "a", "b", "c")
    assert await counted(gateway) == {"a": [(200, 1)], "b": [(504, 1)], "c": [(499, 1)]}


async def test_a_stage_without_a_limit_takes_the_limit_from_the_whole(gateway: Gateway) -> None:
    slow = Recorder()
    slow.hold = True
    await gateway.deploy("a.openfaas-fn", await gateway.replica(slow), timeout=0)
    await gateway.deploy("b.openfaas-fn", await gateway.replica(appending(b"b")), timeout=0.05)
    call = asyncio.create_task(gateway.call("/function/a|b", b"x"))
    await slow.until_held(1)
    assert gateway.worker.invoker.timers.relays._watched == set()
    slow.release(b"a")
    assert (await call).body == b"ab"


async def test_the_callers_x_timeout_holds_for_the_whole_and_what_is_left_is_told(gateway: Gateway) -> None:
    first, second = Recorder(), Recorder()
    second.hold = True
    await deploy_all(gateway, a=first, b=second)
    answer = await gateway.call("/function/a|b", headers=[("X-Timeout", "300ms")])
    assert (answer.status, answer.get("x-pipeline-stage")) == (504, "2/2 b")
    assert first.got(b"x-timeout") == [b"300ms"]
    (left,) = second.got(b"x-timeout")
    assert 1 <= int(left.removesuffix(b"ms")) <= 350


async def test_an_endless_stream_as_the_answer_has_no_deadline(gateway: Gateway) -> None:
    def events(exchange: Exchange) -> None:
        exchange.start(200, [(b"Content-Type", b"text/event-stream")])
        exchange.write(b"data: 1\n\n")
        held.append(exchange)

    held: list[Exchange] = []
    await gateway.deploy("a.openfaas-fn", await gateway.replica(appending(b"a")), timeout=0.2)
    await gateway.deploy("b.openfaas-fn", await gateway.replica(events), timeout=0.2)
    client = await gateway.client()
    client.send("POST", "/function/a|b", b"x")
    assert (await client.head()).status == 200
    (pipeline,) = gateway.worker.invoker.timers.relays._watched
    assert pipeline.deadline == float("inf")
    held[0].finish()
    assert isinstance(await client.event(), h11.Data)
    assert isinstance(await client.event(), h11.EndOfMessage)


# A stage that fails.


@pytest.mark.parametrize("position", [1, 2, 3])
async def test_a_stage_that_fails_ends_the_pipeline_with_its_answer(gateway: Gateway, position: int) -> None:
    programs: list[Callable[[Exchange], None]] = [appending(b"a"), appending(b"b"), appending(b"c")]
    programs[position - 1] = failing(418, b"short and stout")
    await deploy_all(gateway, **dict(zip("abc", programs, strict=True)))
    answer = await gateway.call("/function/a|b|c", b"x")
    assert (answer.status, answer.body, answer.complete) == (418, b"short and stout", True)
    assert answer.get("x-pipeline-stage") == f"{position}/3 {'abc'[position - 1]}"
    assert answer.get("content-type") == "text/x-fault"
    assert answer.get("x-openfaas-internal") == ""
    await idle(gateway, "a", "b", "c")
    statuses = [200] * (position - 1) + [418] + [499] * (3 - position)
    assert await counted(gateway) == {name: [(status, 1)] for name, status in zip("abc", statuses, strict=True)}


async def test_a_stage_that_fails_ends_those_before_it_that_still_run(gateway: Gateway) -> None:
    first = Program()
    await deploy_all(gateway, a=first, b=failing(500, b"no"), c=appending(b"c"))
    client = await gateway.client()
    client.begin("POST", "/function/a|b|c", [("Host", "g"), ("Transfer-Encoding", "chunked")])
    client.write(b"piece")
    answer = await client.answer()
    assert (answer.status, answer.body, answer.get("x-pipeline-stage")) == (500, b"no", "2/3 b")
    await eventually(lambda: first.left, "the first stage to be left alone")
    await idle(gateway, "a", "b", "c")


async def test_redirects_and_other_answers_below_400_go_on(gateway: Gateway) -> None:
    await deploy_all(
        gateway, a=lambda exchange: exchange.respond(302, [(b"Location", b"/x")], b"moved"), b=appending(b"!")
    )
    assert (await gateway.call("/function/a|b", b"x")).body == b"moved!"


@pytest.mark.parametrize("position", [1, 2])
async def test_a_stage_that_cannot_be_reached_is_a_502_that_names_it(gateway: Gateway, position: int) -> None:
    for number, name in enumerate("ab", 1):
        address = NOBODY if number == position else await gateway.replica(appending(name.encode()))
        await gateway.deploy(f"{name}.openfaas-fn", address, queue_timeout=0.2)
    answer = await gateway.call("/function/a|b", b"x")
    assert (answer.status, answer.get("x-pipeline-stage")) == (502, f"{position}/2 {'ab'[position - 1]}")
    assert answer.get("x-openfaas-internal") == "gateway"
    assert "cannot connect" in answer.text
    await idle(gateway, "a", "b")


async def test_another_replica_of_a_stage_is_tried(gateway: Gateway) -> None:
    good = await gateway.replica(appending(b"b"))
    await deploy_all(gateway, a=appending(b"a"))
    await gateway.deploy("b.openfaas-fn", NOBODY, f"{NOBODY}2", good)
    for _ in range(8):
        assert (await gateway.call("/function/a|b", b"-")).body == b"-ab"


def cut_after(data: bytes) -> Callable[[Exchange], None]:
    def serve(exchange: Exchange) -> None:
        exchange.start(200, content_length=len(data) + 10)
        exchange.write(data)
        exchange.abort()

    return serve


async def test_a_stage_cut_in_its_middle_is_a_502_as_long_as_the_client_has_nothing(gateway: Gateway) -> None:
    waiting = Recorder()
    waiting.hold = True
    await deploy_all(gateway, a=cut_after(b"half"), b=waiting)
    answer = await gateway.call("/function/a|b")
    assert (answer.status, answer.get("x-pipeline-stage")) == (502, "1/2 a")
    assert "the answer of function a.openfaas-fn was cut" in answer.text
    await idle(gateway, "a", "b")


async def test_a_stage_cut_after_bytes_were_sent_aborts_the_connection(gateway: Gateway) -> None:
    await deploy_all(gateway, a=cut_after(b"half"), b=Program())
    client = await gateway.client()
    client.send("POST", "/function/a|b", b"x")
    try:
        answer = await client.answer()
        assert not answer.complete or answer.status == 502
    except h11.RemoteProtocolError:
        pass  # nothing but the end of the connection
    await idle(gateway, "a", "b")


async def test_bytes_that_were_sent_are_followed_by_an_abort_when_an_earlier_stage_dies(gateway: Gateway) -> None:
    held: list[Exchange] = []

    def first(exchange: Exchange) -> None:
        exchange.start(200)
        exchange.write(b"half")
        held.append(exchange)

    await deploy_all(gateway, a=first, b=Program(), c=Program())
    client = await gateway.client()
    client.send("POST", "/function/a|b|c", b"x")
    assert (await client.head()).status == 200
    half = await client.event()
    assert isinstance(half, h11.Data)
    assert bytes(half.data) == b"half"
    held[0].abort()
    with pytest.raises((h11.RemoteProtocolError, ConnectionError)):
        await client.event()
    await idle(gateway, "a", "b", "c")


async def test_the_last_stages_cut_is_the_clients_cut(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=cut_after(b"half"))
    answer = await gateway.call("/function/a|b")
    assert (answer.status, answer.complete) == (200, False)
    await idle(gateway, "a", "b")


# Stages that read less, or not at all.


async def test_a_stage_that_answers_before_it_has_read_all_ends_those_before_it(gateway: Gateway) -> None:
    first = Program()
    await deploy_all(gateway, a=first, b=Recorder(body=b"enough"), c=appending(b"!"))
    client = await gateway.client()
    client.begin("POST", "/function/a|b|c", [("Host", "g"), ("Transfer-Encoding", "chunked")])
    client.write(b"y\n" * 1000)
    answer = await client.answer()
    assert (answer.status, answer.body, answer.complete) == (200, b"enough!", True)
    await eventually(lambda: first.left, "the first stage to be left alone")
    await idle(gateway, "a", "b", "c")


async def test_a_stage_that_never_reads_holds_back_the_client(gateway: Gateway) -> None:
    first, deaf = Program(), Recorder()
    deaf.hold = True
    await deploy_all(gateway, a=first, b=deaf)
    client = await gateway.client()
    client.begin("POST", "/function/a|b", [("Host", "g"), ("Transfer-Encoding", "chunked")])
    sent = 0
    while sent < 256 * MIB:
        client.write(b"x" * MIB)
        sent += MIB
        try:
            async with asyncio.timeout(0.5):
                await client.writer.drain()
        except TimeoutError:
            break
    assert sent < 256 * MIB  # what lies in sockets and buffers of all hops together
    reset(client)  # an orderly end would queue behind what nobody reads
    await eventually(lambda: first.left, "the first stage to be left alone")
    await idle(gateway, "a", "b")


async def test_a_client_that_never_reads_holds_back_all_stages(gateway: Gateway) -> None:
    produced = 0

    class Endless(Gather):
        def body_end(self) -> None:
            self.exchange.start(200)
            self.writable(True)

        def writable(self, ready: bool) -> None:
            nonlocal produced
            self.ready = ready
            while self.ready and produced < 256 * MIB:
                produced += MIB
                self.exchange.write(b"x" * MIB)

    await deploy_all(gateway, a=lambda exchange: exchange.attach(Endless(exchange)), b=Program())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
    writer.write(b"POST /function/a|b HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx")
    await reader.readexactly(64)
    stable = -1
    while stable != produced:
        stable = produced
        await asyncio.sleep(0.3)
    assert 0 < produced < 256 * MIB
    writer.transport.abort()
    await idle(gateway, "a", "b")


# A client that leaves.


async def test_a_client_that_leaves_ends_every_stage(gateway: Gateway) -> None:
    first, second, held = Program(), Program(), Recorder()
    held.hold = True
    await deploy_all(gateway, a=first, b=second, c=held)
    client = await gateway.client()
    client.begin("POST", "/function/a|b|c", [("Host", "g"), ("Transfer-Encoding", "chunked")])
    client.write(b"piece")
    await held.until_held(1)
    client.close()
    await eventually(lambda: first.left and second.left and held.held[0].done, "all stages to be left alone")
    await idle(gateway, "a", "b", "c")
    assert await counted(gateway) == {"a": [(200, 1)], "b": [(200, 1)], "c": [(499, 1)]}


async def test_a_malformed_body_is_answered_and_ends_every_stage(gateway: Gateway) -> None:
    first = Program()
    await deploy_all(gateway, a=first, b=Recorder())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /function/a|b HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
    await eventually(lambda: first.exchanges, "the first stage to run")
    writer.write(b"zz\r\n")
    async with asyncio.timeout(DEADLINE):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await idle(gateway, "a", "b")


# What is refused before anything runs.


@pytest.mark.parametrize(
    "target", ["/function/|", "/function/a|", "/function/|a", "/function/a||b", "/function/a%7C%7Cb"]
)
async def test_empty_stages_are_refused(gateway: Gateway, target: str) -> None:
    first = Recorder()
    await deploy_all(gateway, a=first)
    answer = await gateway.call(target, b"x")
    assert answer.status == 400
    assert "is empty" in answer.text
    assert not first.exchanges


async def test_too_many_stages_are_refused(gateway: Gateway) -> None:
    first = Recorder()
    await deploy_all(gateway, a=first)
    answer = await gateway.call("/function/" + "|".join(["a"] * 51), b"x")
    assert (answer.status, answer.text) == (400, "pipeline: at most 50 stages are accepted, not 51\n")
    assert (await gateway.call("/function/" + "|".join(["a"] * 40_000), b"x")).status == 414
    assert not first.exchanges


async def test_an_unknown_stage_is_a_404_before_anything_runs(gateway: Gateway) -> None:
    first = Recorder()
    await deploy_all(gateway, a=first)
    answer = await gateway.call("/function/a|nobody", b"x")
    assert (answer.status, answer.text) == (404, "function nobody is not deployed\n")
    assert not first.exchanges


async def test_before_the_first_complete_picture_it_is_a_503(gateway: Gateway) -> None:
    assert (await gateway.call("/function/a|b", b"x")).status == 503


async def test_head_is_refused(gateway: Gateway) -> None:
    first = Recorder()
    await deploy_all(gateway, a=first)
    client = await gateway.client()
    client.send("HEAD", "/function/a|a")
    assert (await client.head()).status == 405
    assert not first.exchanges


# Waiting.


async def test_functions_at_rest_are_woken_together(gateway: Gateway) -> None:
    for name in "abc":
        await gateway.deploy(f"{name}.openfaas-fn")
    session = gateway.control.sessions[-1]
    call = asyncio.create_task(gateway.call("/function/a|b|c", b"-"))
    await eventually(lambda: len(session.wakes) >= 3, "three wakes")
    assert sorted(session.wakes) == ["a.openfaas-fn", "b.openfaas-fn", "c.openfaas-fn"]
    for name in "cab":
        assert not call.done()
        await gateway.deploy(f"{name}.openfaas-fn", await gateway.replica(appending(name.encode())))
    assert (await call).body == b"-abc"
    await idle(gateway, "a", "b", "c")


async def test_nothing_runs_before_every_stage_has_a_slot(gateway: Gateway) -> None:
    first, second = Recorder(), Recorder()
    second.hold = True
    await deploy_all(gateway, a=first)
    await gateway.deploy("b.openfaas-fn", await gateway.replica(second), max_inflight=1)
    busy = asyncio.create_task(gateway.call("/function/b", b"x"))
    await second.until_held(1)
    call = asyncio.create_task(gateway.call("/function/a|b", b"x"))
    await gateway.waiting("b", 1)
    assert not first.exchanges
    second.release()
    await busy
    await second.until_held(1)
    second.release(b"done")
    assert (await call).body == b"done"


async def test_pipelines_that_cross_do_not_wait_for_each_other_for_ever(gateway: Gateway) -> None:
    for name in "ab":
        await gateway.deploy(f"{name}.openfaas-fn", await gateway.replica(appending(name.encode())), max_inflight=1)
    calls = [gateway.call("/function/a|b" if number % 2 else "/function/b|a", b"-") for number in range(20)]
    answers = await asyncio.gather(*calls)
    assert [answer.body for answer in answers] == [b"-ba", b"-ab"] * 10
    await idle(gateway, "a", "b")


async def test_a_function_that_is_two_stages_needs_two_slots_at_once(gateway: Gateway) -> None:
    address = await gateway.replica(appending(b"a"))
    await gateway.deploy("a.openfaas-fn", address, max_inflight=1, queue_timeout=0.1)
    answer = await gateway.call("/function/a|a", b"-")
    assert (answer.status, answer.get("retry-after")) == (429, "1")
    assert "no 2 free slots at once of function a.openfaas-fn within 0.1 s" in answer.text
    await gateway.deploy("a.openfaas-fn", address, max_inflight=2)
    await eventually(lambda: gateway.worker.routes.find(b"a").capacity == 2, "room")  # type: ignore[union-attr]
    assert (await gateway.call("/function/a|a", b"-")).body == b"-aa"


async def test_who_needs_two_slots_is_not_passed_by_those_who_need_one(gateway: Gateway) -> None:
    held = Recorder()
    held.hold = True
    await gateway.deploy("a.openfaas-fn", await gateway.replica(held), max_inflight=2)
    tasks = [asyncio.create_task(gateway.call("/function/a", b"x")) for _ in range(2)]
    await held.until_held(2)
    tasks.append(asyncio.create_task(gateway.call("/function/a|a", b"x")))
    await gateway.waiting("a", 1)
    tasks.append(asyncio.create_task(gateway.call("/function/a", b"last")))
    await gateway.waiting("a", 2)
    held.release()
    await gateway.inflight("a", 1)
    await gateway.waiting("a", 2)
    held.hold = False
    held.release()
    assert [(await task).status for task in tasks] == [200] * 4
    await idle(gateway, "a")


async def test_a_queue_that_is_full_refuses_a_pipeline_too(gateway: Gateway) -> None:
    held = Recorder()
    held.hold = True
    await gateway.deploy("a.openfaas-fn", await gateway.replica(held), max_inflight=1, queue_length=1)
    await deploy_all(gateway, b=appending(b"b"))
    tasks = [asyncio.create_task(gateway.call("/function/a", b"x"))]
    await held.until_held(1)
    tasks.append(asyncio.create_task(gateway.call("/function/a|b", b"x")))
    await gateway.waiting("a", 1)
    answer = await gateway.call("/function/b|a", b"x")
    assert (answer.status, answer.get("x-pipeline-stage")) == (429, "2/2 a")
    assert "too many requests wait for function a.openfaas-fn" in answer.text
    held.hold = False
    held.release()
    assert [(await task).status for task in tasks] == [200, 200]
    await idle(gateway, "a", "b")


async def test_no_replica_in_time_is_a_503(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    await gateway.deploy("b.openfaas-fn", queue_timeout=0.1)
    answer = await gateway.call("/function/a|b", b"x")
    assert (answer.status, answer.get("retry-after"), answer.get("x-pipeline-stage")) == (503, "1", "2/2 b")
    assert "no replica of function b.openfaas-fn became ready within 0.1 s" in answer.text
    await gateway.waiting("b", 0)


async def test_a_function_that_cannot_start_is_a_503(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    await gateway.deploy("b.openfaas-fn", failed=True)
    answer = await gateway.call("/function/a|b", b"x")
    assert (answer.status, answer.get("x-pipeline-stage")) == (503, "2/2 b")
    assert "function b.openfaas-fn cannot start" in answer.text


async def test_a_function_removed_while_the_pipeline_waits_is_a_404(gateway: Gateway) -> None:
    await gateway.deploy("a.openfaas-fn")
    await gateway.deploy("b.openfaas-fn")
    call = asyncio.create_task(gateway.call("/function/a|b", b"x"))
    await gateway.waiting("a", 1)
    await gateway.remove("b.openfaas-fn")
    answer = await call
    assert (answer.status, answer.get("x-pipeline-stage")) == (404, "2/2 b")
    await gateway.waiting("a", 0)


async def test_a_function_removed_while_another_was_waited_for_is_a_404(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    await gateway.deploy("b.openfaas-fn")
    call = asyncio.create_task(gateway.call("/function/a|b", b"x"))
    await gateway.waiting("b", 1)
    await gateway.remove("a.openfaas-fn")
    await gateway.deploy("b.openfaas-fn", await gateway.replica(appending(b"b")))
    answer = await call
    assert (answer.status, answer.get("x-pipeline-stage")) == (404, "1/2 a")
    assert "function a.openfaas-fn was removed" in answer.text
    assert await counted(gateway) == {"a": [(404, 1)], "b": [(499, 1)]}


async def test_a_function_that_fell_over_while_another_was_waited_for_is_a_503(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    await gateway.deploy("b.openfaas-fn")
    call = asyncio.create_task(gateway.call("/function/a|b", b"x"))
    await gateway.waiting("b", 1)
    await gateway.deploy("a.openfaas-fn", failed=True)
    await gateway.deploy("b.openfaas-fn", await gateway.replica(appending(b"b")))
    answer = await call
    assert (answer.status, answer.get("x-pipeline-stage")) == (503, "1/2 a")
    assert "function a.openfaas-fn cannot start" in answer.text


async def test_a_client_that_leaves_while_it_waits_is_forgotten(gateway: Gateway) -> None:
    await gateway.deploy("a.openfaas-fn")
    await gateway.deploy("b.openfaas-fn")
    client = await gateway.client()
    client.send("POST", "/function/a|b", b"x")
    await gateway.waiting("a", 1)
    client.close()
    await gateway.waiting("a", 0)
    await gateway.waiting("b", 0)
    assert await counted(gateway) == {"a": [(499, 1)], "b": [(499, 1)]}


async def test_a_stage_whose_last_replica_went_waits_for_the_next_one(gateway: Gateway) -> None:
    held = Recorder()
    held.hold = True
    await deploy_all(gateway, a=held)
    await deploy_all(gateway, b=appending(b"old"))
    call = asyncio.create_task(gateway.call("/function/a|b", b"x"))
    await held.until_held(1)
    await gateway.deploy("b.openfaas-fn")
    held.release(b"a")
    await gateway.waiting("b", 1)
    await gateway.deploy("b.openfaas-fn", await gateway.replica(appending(b"new")))
    assert (await call).body == b"anew"
    await idle(gateway, "a", "b")


async def test_a_stage_that_was_removed_meanwhile_is_a_404(gateway: Gateway) -> None:
    held = Recorder()
    held.hold = True
    await deploy_all(gateway, a=held)
    await deploy_all(gateway, b=appending(b"b"))
    call = asyncio.create_task(gateway.call("/function/a|b", b"x"))
    await held.until_held(1)
    await gateway.remove("b.openfaas-fn")
    held.release(b"a")
    answer = await call
    assert (answer.status, answer.get("x-pipeline-stage")) == (404, "2/2 b")
    await idle(gateway, "a")


# Named pipelines.


async def test_a_named_pipeline_is_called_as_a_function(gateway: Gateway) -> None:
    last = Recorder(body=b"end")
    await deploy_all(gateway, a=appending(b"a"), b=last)
    await name_pipeline(gateway, "p", "a.openfaas-fn", "b.openfaas-fn")
    for target in ("/function/p", "/function/p.openfaas-fn"):
        answer = await gateway.call(target, b"-")
        assert (answer.status, answer.body) == (200, b"end")
    assert (await gateway.call("/function/p/x?y=1", b"-")).status == 200
    assert last.targets == [b"/", b"/", b"/x?y=1"]
    assert await counted(gateway) == {name: [(200, 3)] for name in ("a", "b", "p")}


async def test_a_named_pipeline_is_a_stage_of_another(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"), b=appending(b"b"), c=failing(400, b"no"))
    await name_pipeline(gateway, "p", "a.openfaas-fn", "b.openfaas-fn/x")
    await name_pipeline(gateway, "q", "p.openfaas-fn", "a.openfaas-fn")
    assert (await gateway.call("/function/q|b", b"-")).body == b"-abab"
    assert (await gateway.call("/function/p", b"-")).body == b"-ab"
    answer = await gateway.call("/function/p|c", b"-")
    assert (answer.status, answer.get("x-pipeline-stage")) == (400, "3/3 c")
    assert (await counted(gateway))["p"] == [(200, 2), (400, 1)]


async def test_a_named_pipeline_whose_last_stage_has_its_path_takes_no_other(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    await name_pipeline(gateway, "p", "a.openfaas-fn", "a.openfaas-fn/fixed")
    answer = await gateway.call("/function/p/other", b"-")
    assert answer.status == 400
    assert "/fixed already" in answer.text


async def test_a_named_pipeline_has_its_own_deadline(gateway: Gateway) -> None:
    slow = Recorder()
    slow.hold = True
    await deploy_all(gateway, a=slow)
    await name_pipeline(gateway, "p", "a.openfaas-fn", "a.openfaas-fn", timeout=0.2)
    answer = await gateway.call("/function/p", b"-")
    assert (answer.status, answer.get("x-pipeline-stage")) == (504, "1/2 a.openfaas-fn")
    assert "within 0.2 s" in answer.text


async def test_a_named_pipeline_without_a_deadline_is_as_patient_as_its_stages(gateway: Gateway) -> None:
    slow = Recorder()
    slow.hold = True
    await gateway.deploy("a.openfaas-fn", await gateway.replica(slow), timeout=0.2)
    await name_pipeline(gateway, "p", "a.openfaas-fn", "a.openfaas-fn", timeout=AS_STAGES_SAY)
    answer = await gateway.call("/function/p", b"-")
    assert (answer.status, answer.get("x-pipeline-stage")) == (504, "1/2 a.openfaas-fn")
    assert "within 0.2 s" in answer.text


async def test_an_unknown_stage_of_a_named_pipeline_is_named(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    await name_pipeline(gateway, "p", "a.openfaas-fn", "gone.openfaas-fn")
    answer = await gateway.call("/function/p", b"-")
    assert (answer.status, answer.text) == (404, "function gone.openfaas-fn is not deployed\n")


async def test_pipelines_that_lead_to_themselves_or_grow_too_long_are_refused(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    await name_pipeline(gateway, "p", "q.openfaas-fn")
    await name_pipeline(gateway, "q", "p.openfaas-fn")
    await name_pipeline(gateway, "long", *["a.openfaas-fn"] * 30)
    answer = await gateway.call("/function/p", b"-")
    assert answer.status == 400
    assert "leads to itself" in answer.text
    assert (await gateway.call("/function/long|long", b"-")).status == 400


async def test_a_function_in_place_of_a_pipeline_is_called_as_a_function(gateway: Gateway) -> None:
    await deploy_all(gateway, a=appending(b"a"))
    await name_pipeline(gateway, "p", "a.openfaas-fn", "a.openfaas-fn")
    client = await gateway.client()

    async def ask() -> Answer:
        client.send("POST", "/function/p", b"-")
        return await client.answer()

    assert (await ask()).body == b"-aa"
    await gateway.remove("p.openfaas-fn")
    assert (await ask()).status == 404
    await gateway.deploy("p.openfaas-fn", await gateway.replica(appending(b"function")))
    answer = await ask()
    assert (answer.body, answer.get("x-pipeline-timings")) == (b"-function", "")


def texts(answers: Iterable[Answer]) -> list[bytes]:
    return [answer.body for answer in answers]


async def test_many_pipelines_at_once_do_not_mix(gateway: Gateway) -> None:
    await deploy_all(gateway, a=Program(), b=echo, c=Program())
    bodies = [str(number).encode() * (number * 37 + 1) for number in range(120)]
    answers = await asyncio.gather(*(gateway.call("/function/a|b|c", body) for body in bodies))
    assert texts(answers) == bodies
