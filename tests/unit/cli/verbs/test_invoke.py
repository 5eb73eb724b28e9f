"""`penstock invoke`: what its arguments and its stdin make of a request, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from penstock.cli.verbs.invoke import pipe_blocks
from tests.unit.cli.support import Answer, ScriptedGateway, run_cli
from tests.unit.cli.warm import CommandLine

DEADLINE = 60.0
Invoke = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def invoke(command_line: CommandLine) -> Invoke:
    return partial(command_line.run, "invoke")


def test_a_pipe_on_stdin_is_sent_chunked(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(200))
    invoke("f", stdin=b"data")
    assert gateway.requests[0].headers["Transfer-Encoding"] == "chunked"
    assert gateway.requests[0].body == b"data"


def test_defaults_are_those_of_faas_cli_except_for_the_namespace(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(200))
    invoke("f")
    request = gateway.requests[0]
    assert request.line == "POST /function/f"
    assert request.headers["Content-Type"] == "text/plain"
    assert "Accept-Encoding" not in request.headers


def test_every_flag_reaches_the_request(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("PUT /function/f.staging?a=1&a=x%3Dy%26z", Answer(200))
    flags = ["-m", "put", "-n", "staging", "--content-type", "image/png", "-H", "X-One: 1: 2", "-H", "X-Two:2"]
    done = invoke("f", *flags, "--query", "a=1", "--query", "a=x=y&z")
    assert done.returncode == 0
    headers = gateway.requests[0].headers
    assert (headers["Content-Type"], headers["X-One"], headers["X-Two"]) == ("image/png", "1: 2", "2")


def test_a_content_type_header_replaces_the_default(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(200))
    invoke("f", "-H", "content-type: application/json")
    assert {k.lower(): v for k, v in gateway.requests[0].headers.items()}["content-type"] == "application/json"


def test_the_signature_is_an_hmac_of_the_body(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(200))
    invoke("f", "--sign", "X-Hub-Signature-256", "--key", "k3y", stdin=b"signed")
    expected = hmac.new(b"k3y", b"signed", hashlib.sha256).hexdigest()
    assert gateway.requests[0].headers["X-Hub-Signature-256"] == f"sha256={expected}"
    assert gateway.requests[0].body == b"signed"


def test_async_uses_the_other_route_and_says_the_call_id_on_stderr(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /async-function/f", Answer(202, headers={"X-Call-Id": "abc-1"}))
    done = invoke("f", "--async", stdin=b"later")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"Function submitted asynchronously. Call id: abc-1\n"


def test_gateway_credentials_never_reach_a_function(gateway: ScriptedGateway, tmp_path: Path, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(200))
    auth = tmp_path / "home" / "auth"
    auth.mkdir(parents=True)
    (auth / "basic-auth-user").write_text("admin")
    (auth / "basic-auth-password").write_text("secret")
    assert invoke("f").returncode == 0
    assert "Authorization" not in gateway.requests[0].headers


@pytest.mark.parametrize("status", [301, 404, 429, 500, 504])
def test_any_status_but_2xx_exits_1_with_status_and_body_on_stderr(
    gateway: ScriptedGateway, status: int, invoke: Invoke
) -> None:
    gateway.on("POST /function/f", Answer(status, b"exit status 3\nwhat it wrote"))
    done = invoke("f", stdin=b"x")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == f"Server returned unexpected status code: {status}\nexit status 3\nwhat it wrote\n".encode()


def test_other_2xx_are_success(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(206, b"part"))
    done = invoke("f")
    assert (done.returncode, done.stdout) == (0, b"part")


def test_head_has_no_body(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("HEAD /function/f", Answer(200, b"unseen"))
    done = invoke("f", "-m", "HEAD")
    assert (done.returncode, done.stdout) == (0, b"")


def test_an_answer_cut_short_exits_1_and_says_so_after_what_came(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(200, b"half", cut=True))
    done = invoke("f")
    assert (done.returncode, done.stdout) == (1, b"half")
    assert b"in the middle of its answer" in done.stderr


def test_a_compressed_answer_passes_untouched(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(200, b"\x1f\x8bnot really", {"Content-Encoding": "gzip"}))
    assert invoke("f").stdout == b"\x1f\x8bnot really"


@pytest.mark.parametrize(
    "args",
    [
        ("f", "-m", "GET IT"),
        ("f", "-m", ""),
        ("f", "-H", "no separator"),
        ("f", "-H", "Bad Name: x"),
        ("f", "-H", "X: a\r\nEvil: b"),
        ("f", "-H", "Content-Length: 5"),
        ("f", "-H", "Transfer-Encoding: chunked"),
        ("f", "--content-type", "a\nb"),
        ("f", "--query", "novalue"),
        ("f", "--sign", "X-Sig"),
        ("f", "--key", "k"),
        ("f", "--async", "-m", "GET"),
        ("..",),
        ("",),
        ("a/b",),
        ("f", "-n", "a/../b"),
    ],
)
def test_bad_arguments_exit_2_before_any_request(gateway: ScriptedGateway, args: tuple[str, ...]) -> None:
    result = run_cli("invoke", *args)
    assert (result.exit_code, gateway.requests) == (2, [])


def test_reading_a_pipe_leaves_its_flags_alone() -> None:
    read, write = os.pipe()
    os.write(write, b"block")
    os.close(write)

    async def gather() -> bytes:
        return b"".join([block async for block in pipe_blocks(read)])

    assert asyncio.run(gather()) == b"block"
    assert os.get_blocking(read)
    os.close(read)
