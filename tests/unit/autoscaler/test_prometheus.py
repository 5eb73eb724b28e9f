"""Loads that a Prometheus knows, from a real server that may answer anything."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from penstock.autoscaler import prometheus
from penstock.autoscaler.peers import new_session
from penstock.autoscaler.prometheus import PrometheusLoads
from penstock.core.scalelabels import Scaling
from penstock.testing.clock import FakeClock

KEY = "words.openfaas-fn"
DEADLINE = 20.0

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def success(kind: str, result: Any) -> str:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


def sample(value: str, **metric: str) -> dict[str, Any]:
    return {"metric": metric, "value": [1.5, value]}


class Server:
    """Answers everything in the same way until it is told another."""

    def __init__(self) -> None:
        self.status = 200
        self.body: str | bytes = success("vector", [])
        self.headers: dict[str, str] = {}
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.queries: list[str] = []
        self.base = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(request.query["query"])
        await self.go_on.wait()
        body = self.body.encode() if isinstance(self.body, str) else self.body
        return web.Response(status=self.status, body=body, headers=self.headers)

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/prefix/api/v1/query", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            self.base = f"http://127.0.0.1:{runner.addresses[0][1]}/prefix/"
            yield
        finally:
            self.go_on.set()
            await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with server.serving():
        yield server


class Asking:
    """Loads that are asked for one round at a time."""

    def __init__(self, url: str, wanted: dict[str, Scaling]) -> None:
        self.clock = FakeClock()
        self.sessions: list[aiohttp.ClientSession] = []
        self.loads = PrometheusLoads(url, self.clock, self._session)
        self.loads.watch(wanted)
        self.task = asyncio.create_task(self.loads.run())

    def _session(self) -> aiohttp.ClientSession:
        self.sessions.append(new_session())
        return self.sessions[-1]

    async def pause(self) -> None:
        """Until the round under way is over."""
        async with asyncio.timeout(DEADLINE):
            while not self.clock.sleepers and not self.task.done():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        assert all(session.closed for session in self.sessions)


@asynccontextmanager
async def asking(url: str, wanted: dict[str, Scaling] | None = None) -> AsyncIterator[Asking]:
    asking = Asking(url, {KEY: Scaling(kind="query", query="up")} if wanted is None else wanted)
    try:
        await asking.pause()
        yield asking
    finally:
        await asking.close()


@pytest.mark.parametrize(
    ("kind", "result", "load"),
    [
        ("scalar", [1.5, "7.25"], 7.25),
        ("vector", [sample("3")], 3.0),
        ("vector", [sample("3", pod="a"), sample("4.5", pod="b")], 7.5),
        ("vector", [sample("0")], 0.0),
    ],
)
async def test_an_expression_is_a_sample_or_a_vector_that_is_summed(
    server: Server, kind: str, result: Any, load: float
) -> None:
    server.body = success(kind, result)
    async with asking(server.base) as one:
        assert (one.loads.value(KEY), one.loads.why(KEY), one.loads.fault) == (load, "", "")
    assert server.queries == ["up"]


async def test_the_name_of_the_function_takes_its_place_in_the_expression(server: Server) -> None:
    wanted = {KEY: Scaling(kind="query", query='sum(x{a="{{function}}",b="{{function}}"} % 2)')}
    async with asking(server.base, wanted):
        assert server.queries == [f'sum(x{{a="{KEY}",b="{KEY}"}} % 2)']


async def test_recorded_series_of_all_functions_are_one_question(server: Server) -> None:
    server.body = success(
        "vector",
        [
            sample("4", function_name="a.openfaas-fn", scaling_type="jobs"),
            sample("5", function_name="a.openfaas-fn", scaling_type="jobs"),
            sample("6", function_name="b", scaling_type="my.rule"),
            sample("7", function_name="b", scaling_type="jobs"),
            sample("8", function_name="c.dev", scaling_type="jobs"),
            sample("what", function_name="d.dev", scaling_type="jobs"),
            sample("9"),
        ],
    )
    words = {"a.openfaas-fn": "jobs", "b.openfaas-fn": "my.rule", "d.dev": "jobs", "e.dev": "jobs"}
    async with asking(server.base, {key: Scaling(kind=kind) for key, kind in words.items()}) as one:
        assert [one.loads.value(key) for key in (*words, "c.dev")] == [9.0, 6.0, None, None, None]
        assert "no sample" in one.loads.why("e.dev")
    assert server.queries == ['job:function_current_load:sum{scaling_type=~"jobs|my\\\\.rule"}']


async def test_one_word_is_asked_for_as_it_is(server: Server) -> None:
    async with asking(server.base, {KEY: Scaling(kind="jobs")}):
        assert server.queries == ['job:function_current_load:sum{scaling_type="jobs"}']


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (success("vector", []), "no sample"),
        (success("scalar", [1, "NaN"]), "nan"),
        (success("vector", [sample("+Inf"), sample("1")]), "inf"),
        (success("vector", [sample("1"), sample("x" * 1000)]), "nan"),
        (success("string", [1, "7"]), "'string'"),
        (success("matrix", []), "'matrix'"),
        (success("scalar", {"a": 1}), "another form"),
        (success("vector", [1, 2]), "another form"),
        (success("vector", [{"metric": {"a": 1}, "value": [1, "2"]}]), "another form"),
        (success("scalar", [1, 7]), "another form"),
        (
            json.dumps({"status": "error", "error": "parse error\n" + "x" * 999}),
            "refused the expression: 'parse error\\\\n",
        ),
    ],
)
async def test_an_answer_without_a_number_is_an_unknown_load_and_no_fault(server: Server, body: str, why: str) -> None:
    server.body = body
    async with asking(server.base) as one:
        assert (one.loads.value(KEY), one.loads.fault) == (None, "")
        assert why.replace("\\\\", "\\") in one.loads.why(KEY)
        assert len(one.loads.why(KEY)) < 300


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"", {}),
        (200, b"<html>", {}),
        (200, b"\xff\xfe", {}),
        (200, b"[" * 100_000, {}),
        (200, b'{"status":"success"}', {}),
        (200, gzip.compress(success("scalar", [1, "7"]).encode(), mtime=0), {"Content-Encoding": "gzip"}),
        (301, b"", {"Location": "/other"}),
        (401, b'{"status":"error","error":"who are you?"}', {}),
        (502, b"bad gateway", {}),
    ],
)
async def test_what_no_prometheus_answers_is_a_fault(
    server: Server, status: int, body: bytes, headers: dict[str, str]
) -> None:
    server.status, server.body, server.headers = status, body, headers
    async with asking(server.base) as one:
        assert one.loads.value(KEY) is None
        assert f"cannot be asked since 2026-01-01T00:00:00+00:00: it answered {status}" in one.loads.fault
        assert one.loads.why(KEY) == one.loads.fault


async def test_an_answer_without_end_is_not_read_to_its_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "LARGEST", 1000)
    server.body = " " * 2000 + success("scalar", [1, "7"])
    async with asking(server.base) as one:
        assert one.loads.value(KEY) is None
        assert "longer than 1000 bytes" in one.loads.why(KEY)


async def test_one_that_does_not_answer_is_a_fault(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "TIMEOUT", 0.05)
    server.go_on.clear()
    many = {f"f{number}.dev": Scaling(kind="query", query="up") for number in range(100)}
    async with asking(server.base, many) as one:
        assert "no answer in 0.05 s" in one.loads.fault
    assert len(server.queries) <= prometheus.AT_ONCE


async def test_an_unreachable_one_is_asked_again_ever_more_seldom_and_then_believed_again(server: Server) -> None:
    down = Server()
    async with down.serving():
        pass
    port = int(down.base.split(":")[2].split("/")[0])
    async with asking(down.base.replace("http://", "http://me:secret@")) as one:
        since = one.loads.fault
        assert f"Prometheus at http://127.0.0.1:{port}/prefix/api/v1/query cannot be asked since" in since
        assert "secret" not in since
        for pause in (5, 10, 20, 40, 60, 60):
            await one.clock.advance(pause - 1)
            assert one.clock.sleepers == 1
            await one.clock.advance(1)
            await one.pause()
            assert one.loads.fault == since
        async with down.serving(port):
            down.body = success("scalar", [1, "7"])
            await one.clock.advance(60)
            await one.pause()
            assert (one.loads.value(KEY), one.loads.fault) == (7.0, "")


async def test_a_load_is_forgotten_when_prometheus_goes_or_nobody_asks_for_it(server: Server) -> None:
    server.body = success("scalar", [1, "7"])
    async with asking(server.base) as one:
        server.status, server.body = 502, "gone"
        assert one.loads.value(KEY) == 7.0
        await one.clock.advance(5)
        await one.pause()
        assert one.loads.value(KEY) is None
    async with asking(server.base) as one:
        one.loads.watch({})
        assert one.loads.value(KEY) is None


async def test_an_old_answer_does_not_count() -> None:
    server = Server()
    server.body = success("scalar", [1, "7"])
    async with server.serving(), asking(server.base) as one:
        one.task.cancel()
        assert one.loads.value(KEY) == 7.0
        await one.clock.advance(15.1)
        assert one.loads.value(KEY) is None


async def test_without_an_address_the_fault_names_the_setting() -> None:
    async with asking("") as one:
        assert one.loads.value(KEY) is None
        assert "prometheus_url" in one.loads.why(KEY)
        assert one.sessions == []


async def test_a_defect_in_one_round_does_not_end_the_next_ones(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.body = success("scalar", [1, "7"])
    works = PrometheusLoads._round
    rounds = 0

    async def fails_first(self: PrometheusLoads, *arguments: Any) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise RuntimeError("a defect")
        await works(self, *arguments)

    monkeypatch.setattr(PrometheusLoads, "_round", fails_first)
    async with asking(server.base) as one:
        assert one.loads.value(KEY) is None
        assert "a defect" in caplog.text
        await one.clock.advance(prometheus.EVERY)
        await one.pause()
        async with asyncio.timeout(DEADLINE):
            while one.loads.value(KEY) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert one.loads.value(KEY) == 7
