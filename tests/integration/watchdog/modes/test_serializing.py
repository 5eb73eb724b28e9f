"""The serializing mode with real programs: the facts in which it differs from classic."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Awaitable[Any]]
Script = Callable[[str], str]
Until = Callable[[Callable[[], object]], Awaitable[None]]

BINARY = "application/octet-stream"


async def test_success_is_stdout_as_it_is_with_the_time_it_took(start: Start) -> None:
    running = await start(fprocess="cat", mode="serializing")
    answer = await running.call(body=b"<html>", headers=[("Content-Type", "text/html")])
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"<html>", BINARY)
    assert float(answer.headers["x-duration-seconds"]) > 0


async def test_a_configured_content_type_is_used_for_failures_too(start: Start) -> None:
    running = await start(fprocess="cat", mode="serializing", content_type="image/png")
    assert (await running.call(body=b"x")).headers["content-type"] == "image/png"
    failing = await start(fprocess="false", mode="serializing", content_type="image/png")
    assert (await failing.call(body=b"x")).headers["content-type"] == "image/png"


async def test_a_failure_is_its_reason_alone_and_the_output_is_dropped(
    start: Start, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(fprocess=script("echo out; echo oops >&2; exit 3"), mode="serializing")
    answer = await running.call()
    assert (answer.status, answer.body, answer.headers["content-type"]) == (500, b"exit status 3", BINARY)
    assert "x-openfaas-internal" not in answer.headers
    assert "stderr: oops" in capfd.readouterr().err


async def test_a_large_output_of_a_failure_is_dropped_and_leaves_nothing(
    start: Start, script: Script, descriptors: Callable[[], set[str]]
) -> None:
    running = await start(fprocess=script("head -c 9000000 /dev/zero; exit 9"), mode="serializing")
    before = descriptors()
    assert (await running.call()).body == b"exit status 9"
    assert {entry for entry in descriptors() if "deleted" in entry} <= before


async def test_a_timeout_is_500_in_the_words_of_the_original(start: Start) -> None:
    answer = await (await start(fprocess="sleep 600", mode="serializing", exec_timeout="100ms")).call()
    assert (answer.status, answer.body) == (500, b"signal: killed")
    assert answer.headers["x-openfaas-internal"] == "penstock-watchdog"


async def test_a_missing_program_is_500_and_named(start: Start) -> None:
    answer = await (await start(fprocess="no-such-program", mode="serializing", PATH="/nowhere")).call(body=b"x")
    assert (answer.status, answer.body) == (500, b"program 'no-such-program' was not found in PATH=/nowhere")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "FOO"])
async def test_every_method_reaches_the_program(start: Start, method: str, tmp_path: Path) -> None:
    running = await start(fprocess=f"cp /proc/self/environ {tmp_path}/seen", mode="serializing")
    assert (await running.call(method)).status == 200
    assert f"Http_Method={method}".encode() in (tmp_path / "seen").read_bytes().split(b"\0")


async def test_what_only_classic_understands_is_not_heeded(start: Start, script: Script) -> None:
    running = await start(
        fprocess=script("cat; echo oops >&2"), mode="serializing", combine_output="true", marshal_request="true"
    )
    assert (await running.call(body=b"raw")).body == b"raw"


async def test_a_program_that_does_not_read_a_large_body_is_no_error(start: Start) -> None:
    answer = await (await start(fprocess="echo hi", mode="serializing")).call(body=os.urandom(3 << 20))
    assert (answer.status, answer.body) == (200, b"hi\n")
