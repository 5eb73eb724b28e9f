"""Calls over real connections, to a server that answers as a gateway might."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from penstock.storage.delivery import Outcome
from penstock.storage.gatewaycall import GatewayCaller

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gateway:
    """Answers as the test's `handler` says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.handler: Handler = self.well
        self.port = 0

    async def well(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.handler(request)

    def caller(self, longest: float = 60.0, authorization: str = "Basic eA==") -> GatewayCaller:
        return GatewayCaller(f"http://127.0.0.1:{self.port}", authorization, lambda _: longest)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", gateway.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    gateway.port = runner.addresses[0][1]
    yield gateway
    await runner.cleanup()


async def test_a_call_is_a_post_to_the_function_with_the_headers_and_the_credentials(gateway: Gateway) -> None:
    async with gateway.caller() as caller:
        outcome = await caller.call("cat.openfaas-fn", {"X-Input-Object": "s3://photos/a%20b%2F%25"})
    assert outcome == Outcome(200, "200: ok")
    [request] = gateway.requests
    assert (request.method, request.raw_path) == ("POST", "/function/cat.openfaas-fn")
    assert request.headers["X-Input-Object"] == "s3://photos/a%20b%2F%25"
    assert request.headers["Authorization"] == "Basic eA=="
    assert request.headers["Accept-Encoding"] == "identity"
    assert "Content-Type" not in request.headers, "the object's own type is what counts"


async def test_where_nothing_is_guarded_no_credentials_are_sent(gateway: Gateway) -> None:
    async with gateway.caller(authorization="") as caller:
        await caller.call("cat.openfaas-fn", {})
    assert "Authorization" not in gateway.requests[0].headers


async def test_an_error_tells_its_first_words_and_when_to_come_again(gateway: Gateway) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, text="no slot " + "x" * 1_000_000, headers={"Retry-After": "7"})

    gateway.handler = busy
    async with gateway.caller() as caller:
        outcome = await caller.call("cat.openfaas-fn", {})
    assert (outcome.status, outcome.retry_after) == (429, 7.0)
    assert outcome.reason.startswith("429: no slot xxx")
    assert len(outcome.reason) < 300


@pytest.mark.parametrize("wish", ["", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 40, "\u0667"])
async def test_a_wish_that_is_no_number_of_seconds_is_none(gateway: Gateway, wish: str) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": wish})

    gateway.handler = busy
    async with gateway.caller() as caller:
        assert await caller.call("cat.openfaas-fn", {}) == Outcome(503, "503")


async def test_an_answer_is_read_to_its_end_and_a_redirection_is_not_followed(gateway: Gateway) -> None:
    written = asyncio.Event()

    async def long(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=302, headers={"Location": "/elsewhere"})
        await answer.prepare(request)
        for _ in range(64):
            await answer.write(b"x" * 65536)
        written.set()
        return answer

    gateway.handler = long
    async with gateway.caller() as caller:
        assert (await caller.call("cat.openfaas-fn", {})).status == 302
    assert written.is_set()
    assert len(gateway.requests) == 1


async def test_no_answer_in_time_is_a_failed_attempt(gateway: Gateway) -> None:
    forever = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await forever.wait()
        return web.Response()

    gateway.handler = hang
    async with gateway.caller(longest=0.2) as caller:
        outcome = await caller.call("cat.openfaas-fn", {})
    forever.set()
    assert outcome == Outcome(0, "no answer within 0.2 s")


async def test_a_cut_answer_is_a_failed_attempt(gateway: Gateway) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"half")
        assert request.transport
        request.transport.abort()
        return answer

    gateway.handler = cut
    async with gateway.caller() as caller:
        outcome = await caller.call("cat.openfaas-fn", {})
    assert outcome.status == 0
    assert outcome.reached
    assert outcome.reason.startswith("the call was cut")


async def test_where_nobody_listens_no_function_was_reached() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with GatewayCaller(f"http://127.0.0.1:{closed.getsockname()[1]}", "", lambda _: 0.0) as caller:
            outcome = await caller.call("cat.openfaas-fn", {})
    assert not outcome.reached
    assert outcome.reason.startswith("no gateway worker answers")


async def test_a_header_that_would_break_the_request_is_never_sent(gateway: Gateway) -> None:
    async with gateway.caller() as caller:
        outcome = await caller.call("cat.openfaas-fn", {"X-Object-Key": "a\r\nX-Evil: 1"})
    assert outcome.status == 0
    assert not gateway.requests
