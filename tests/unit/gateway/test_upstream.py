"""What is no function goes to control, and control may be away."""

from __future__ import annotations

import asyncio

import pytest

from penstock.wire.exchange import Exchange
from tests.unit.gateway.support import Gateway, Recorder


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/system/functions?namespace=x&y=%2F",
        "/ui/",
        "/function",
        "/functions/x",
        "/Function/x",
        "//function/x",
        "/system//../a%2Fb",
        "/async-function/x",
        "*",
    ],
)
async def test_paths_beside_the_function_branch_reach_control_as_they_are(gateway: Gateway, target: str) -> None:
    control = Recorder(status=207, body=b"from control")
    await gateway.control_api(control)
    answer = await gateway.call(target, method="OPTIONS" if target == "*" else "GET")
    assert (answer.status, answer.body) == (207, b"from control")
    assert control.targets == [target.encode()]


async def test_credentials_method_and_body_reach_control(gateway: Gateway) -> None:
    bodies: list[bytes] = []

    def control(exchange: Exchange) -> None:
        async def answer() -> None:
            bodies.append(await exchange.read())
            exchange.respond(202, [(b"X-Method", exchange.request.method)])

        tasks.append(asyncio.create_task(answer()))

    tasks: list[asyncio.Task[None]] = []
    await gateway.control_api(control)
    headers = [("Authorization", "Basic abc"), ("Content-Type", "application/json")]
    answer = await gateway.call("/system/functions", b'{"service":"x"}', method="PUT", headers=headers)
    assert (answer.status, answer.get("x-method")) == (202, "PUT")
    assert bodies == [b'{"service":"x"}']


async def test_nothing_of_the_functions_branch_is_added_for_control(gateway: Gateway) -> None:
    control = Recorder()
    await gateway.control_api(control)
    answer = await gateway.call("/system/info", headers=[("Connection", "x-private"), ("X-Private", "1")])
    names = {name for name, _ in control.exchanges[0].request.fields}
    assert names == {b"host"}
    assert not answer.all("x-call-id")


async def test_without_control_the_answer_is_503(gateway: Gateway) -> None:
    answer = await gateway.call("/system/info")
    assert (answer.status, answer.get("retry-after")) == (503, "1")
    assert answer.get("x-openfaas-internal") == "gateway"
    assert "control process does not answer" in answer.text


async def test_a_body_sent_to_an_absent_control_does_not_hurt_the_connection(gateway: Gateway) -> None:
    client = await gateway.client()
    client.send("POST", "/system/functions", b"x" * 100_000)
    assert (await client.answer()).status == 503


async def test_control_that_ends_in_the_middle_of_an_answer_cuts_it(gateway: Gateway) -> None:
    def control(exchange: Exchange) -> None:
        exchange.start(200)
        exchange.write(b"line\n")
        exchange.abort()

    await gateway.control_api(control)
    answer = await gateway.call("/system/logs?name=x")
    assert (answer.status, answer.body, answer.complete) == (200, b"line\n", False)


async def test_control_answers_again_after_it_came_back(gateway: Gateway) -> None:
    assert (await gateway.call("/system/info")).status == 503
    await gateway.control_api(Recorder())
    assert (await gateway.call("/system/info")).status == 200


async def test_a_dropped_read_is_tried_once_more_and_a_dropped_deploy_is_not(gateway: Gateway) -> None:
    methods: list[bytes] = []

    def control(exchange: Exchange) -> None:
        methods.append(exchange.request.method)
        exchange.abort()

    await gateway.control_api(control)
    assert (await gateway.call("/system/info")).status == 503
    assert (await gateway.call("/system/functions", b"{}")).status == 503
    assert methods == [b"GET", b"GET", b"POST"]


async def test_functions_are_served_while_control_is_away(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    assert (await gateway.call("/system/info")).status == 503
    assert (await gateway.call("/function/x")).status == 200
