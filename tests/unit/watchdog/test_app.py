"""The watchdog's own routes, its limit of requests, and what it shows of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.watchdog.probe import healthcheck

Start = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]


def test_healthcheck_looks_for_the_lock_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    environ = {"TMPDIR": str(tmp_path)}
    assert healthcheck(environ) == 1
    assert ".lock" in capfd.readouterr().err
    (tmp_path / ".lock").touch()
    assert healthcheck(environ) == 0


async def test_health_and_readiness_when_accepting(start: Start, tmp_path: Path) -> None:
    running = await start(fprocess="cat")
    assert (tmp_path / ".lock").exists()
    answer = await running.call("GET", "/_/health")
    assert (answer.status, answer.body) == (200, b"OK")
    assert (await running.call("HEAD", "/_/health")).status == 200
    assert (await running.call("GET", "/_/ready")).status == 200
    assert (await running.call("POST", "/_/ready")).status == 405


async def test_suppress_lock_writes_none_and_is_healthy(start: Start, tmp_path: Path) -> None:
    running = await start(fprocess="cat", suppress_lock="true")
    assert not (tmp_path / ".lock").exists()
    assert (await running.call("GET", "/_/health")).status == 200


async def test_while_draining_health_and_readiness_are_503(start: Start) -> None:
    running = await start(fprocess="cat")
    running.watchdog.health.refuse()
    assert (await running.call("GET", "/_/health")).status == 503
    answer = await running.call("GET", "/_/ready")
    assert (answer.status, answer.body) == (503, b"draining\n")


async def test_one_request_too_many_is_429_with_the_originals_words(start: Start, until: Until) -> None:
    running = await start(fprocess="sleep 600", max_inflight="1")
    _, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    answer = await running.call()
    assert (answer.status, answer.body) == (429, b"Concurrent request limit exceeded. Max concurrent requests: 1\n")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["x-openfaas-internal"] == "faas-middleware"
    assert "retry-after" not in answer.headers
    assert (await running.call("GET", "/_/health")).status == 200
    ready = await running.call("GET", "/_/ready")
    assert (ready.status, ready.body) == (429, b"")
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_ready_path_asks_the_function_uncounted(start: Start, script: Callable[[str], str]) -> None:
    running = await start(fprocess=script('test "$Http_Path" = /alive'), ready_path="/alive", max_inflight="5")
    assert (await running.call("GET", "/_/ready")).status == 200
    running = await start(fprocess=script('test "$Http_Path" != /alive'), ready_path="/alive")
    assert (await running.call("GET", "/_/ready")).status == 500
    assert b"http_requests_total{" not in (await running.call("GET", "/_/metrics")).body


async def test_requests_are_counted_and_our_own_routes_are_not(start: Start) -> None:
    running = await start(fprocess="cat")
    for target in ("/", "/_/health", "/_/ready", "/_/metrics"):
        await running.call("GET", target)
    lines = (await running.call("GET", "/_/metrics")).body.split(b"\n")
    assert b'http_requests_total{code="200",method="get"} 1' in lines
    assert b"http_requests_in_flight 0" in lines


async def test_other_paths_below_ours_belong_to_the_function(start: Start) -> None:
    running = await start(fprocess="printenv Http_Path")
    for target in ("/_/health/", "/_/other", "/_/.health"):
        assert (await running.call("GET", target)).body == target.encode() + b"\n"


async def test_debug_output_shows_fields_path_and_answer(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    running = await start(fprocess="cat", write_debug="true", debug_headers="true")
    await running.call("POST", "/x?y=1", b"shown", [("X-A", "value")])
    await running.watchdog.close()
    out, err = capfd.readouterr()
    for line in ("Query  y=1\n", "Path  /x\n"):
        assert line in err
    assert re.search(r"Duration: \d+\.\d", err)
    assert "[in] X-A=[value]\n" in out
    assert re.search(r"\[out\] X-Duration-Seconds=\[\d+\.\d{6}\]", out)
    assert "shown" in out
