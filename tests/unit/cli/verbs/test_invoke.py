"""`penstock invoke`: what its arguments and its stdin make of a request, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from penstock.cli.requestbody import KEPT, pipe_blocks
from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli
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


EXCHANGE = "POST /oauth/token"
CHALLENGE = {"WWW-Authenticate": "Bearer realm=IAM function invoke"}


def saved_login(tmp_path: Path, gateway: ScriptedGateway, kind: str = "oauth2") -> None:
    """A login as faas-cli leaves it, of that kind."""
    folder = tmp_path / "user" / ".openfaas"
    folder.mkdir(parents=True)
    folder.joinpath("config.yml").write_text(f"auths:\n- gateway: {gateway.url}\n  auth: {kind}\n  token: l0gin\n")


def test_auth_exchanges_the_logins_token_for_one_of_the_function(
    gateway: ScriptedGateway, tmp_path: Path, invoke: Invoke
) -> None:
    saved_login(tmp_path, gateway)
    gateway.on(EXCHANGE, answer_json({"access_token": "f0r-f", "token_type": "Bearer", "expires_in": 60}))
    gateway.on("POST /function/f.staging", Answer(200, b"done"))
    done = invoke("f", "--auth", "-n", "staging", stdin=b"words")
    assert (done.returncode, done.stdout) == (0, b"done")
    asked, called = gateway.requests
    assert "Authorization" not in asked.headers
    assert dict(parse_qsl(asked.body.decode())) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "l0gin",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "audience": "staging:f",
        "scope": "function",
    }
    assert (called.headers["Authorization"], called.body) == ("Bearer f0r-f", b"words")


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_function_that_asks_for_a_token_is_called_once_more_with_one(
    gateway: ScriptedGateway, tmp_path: Path, kind: str
) -> None:
    gateway.on(EXCHANGE, answer_json({"access_token": "f0r-f"}))
    gateway.on("POST /function/f", Answer(401, b"no", CHALLENGE), Answer(200, b"done"))
    words = b"words" * 1000
    command = [sys.executable, "-m", "penstock", "invoke", "f", "--token", "g1ven"]
    if kind == "file":
        (tmp_path / "body").write_bytes(b"skipped" + words)
        with (tmp_path / "body").open("rb") as body:
            os.lseek(body.fileno(), 7, os.SEEK_SET)
            done = subprocess.run(command, stdin=body, capture_output=True, check=False)
    else:
        done = subprocess.run(command, input=words, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done", b"")
    assert [request.line for request in gateway.requests] == ["POST /function/f", EXCHANGE, "POST /function/f"]
    assert gateway.requests[0].body == gateway.requests[2].body == words
    assert dict(parse_qsl(gateway.requests[1].body.decode()))["audience"] == "openfaas-fn:f"


def test_a_body_too_long_to_be_remembered_says_what_to_do(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(401, b"no token", CHALLENGE))
    command = [sys.executable, "-m", "penstock", "invoke", "f", "--token", "g1ven"]
    done = subprocess.run(command, input=bytes(KEPT + 1), capture_output=True, check=False)
    assert done.returncode == 1
    assert b"call it with --auth" in done.stderr
    assert b"no token" in done.stderr
    assert len(gateway.requests) == 1


def test_a_second_refusal_and_one_of_another_realm_are_shown(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on(EXCHANGE, answer_json({"access_token": "f0r-f"}))
    gateway.on("POST /function/f", Answer(401, b"still not", CHALLENGE))
    done = invoke("f", "-k", "g1ven")
    assert done.returncode == 1
    assert done.stderr == b"Server returned unexpected status code: 401\nstill not\n"
    assert len(gateway.requests) == 3
    gateway.requests.clear()
    gateway.on("POST /function/own", Answer(401, b"mine", {"WWW-Authenticate": 'Basic realm="Restricted"'}))
    assert invoke("own", "-k", "g1ven").returncode == 1
    gateway.on("POST /function/header", Answer(401, b"mine", CHALLENGE))
    assert invoke("header", "-k", "g1ven", "-H", "Authorization: Bearer own").returncode == 1
    assert [request.line for request in gateway.requests] == ["POST /function/own", "POST /function/header"]


@pytest.mark.parametrize("login", ["basic", "none"])
def test_without_a_token_to_exchange_the_exit_code_is_that_of_a_missing_login(
    gateway: ScriptedGateway, tmp_path: Path, login: str, invoke: Invoke
) -> None:
    if login == "basic":
        saved_login(tmp_path, gateway, "basic")
    gateway.on("POST /function/f", Answer(401, b"no", CHALLENGE))
    for flags in ((), ("--auth",)):
        done = invoke("f", *flags)
        assert done.returncode == 4
        assert b"give one by --token" in done.stderr
    assert gateway.lines == ["POST /function/f"]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (Answer(404), 1, b"exchanges no tokens"),
        (Answer(400, b'{"error": "invalid_grant", "error_description": "too old"}'), 4, b"invalid_grant: too old"),
        (Answer(401, b"nobody"), 4, b"nobody"),
        (Answer(500, b"broken"), 1, b"500"),
        (Answer(200, b"<html>"), 1, b"not what was expected"),
        (Answer(200, b"{}"), 1, b"no token"),
        (Answer(200, b'{"access_token": "a\\nb"}'), 1, b"no token"),
    ],
    ids=["absent", "invalid", "unauthorized", "broken", "html", "empty", "line"],
)
def test_an_exchange_that_fails_is_told(
    gateway: ScriptedGateway, answer: Answer, code: int, words: bytes, invoke: Invoke
) -> None:
    gateway.on(EXCHANGE, answer)
    done = invoke("f", "--auth", "--token", "g1ven")
    assert done.returncode == code
    assert words in done.stderr
    assert b"g1ven" not in done.stderr
    assert gateway.lines == [EXCHANGE]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("sort|uniq",), "POST /function/sort%7Cuniq"),
        (("sort | uniq | wc",), "POST /function/sort%7Cuniq%7Cwc"),
        (
            ("sort/a b?c=d&e=%2F|uniq.dev".replace(" ", "%20"),),
            "POST /function/sort%2Fa%2520b%3Fc%3Dd%26e%3D%252F%7Cuniq.dev",
        ),
        (("sort/x|uniq.dev", "-n", "ns"), "POST /function/sort.ns%2Fx%7Cuniq.dev"),
        (("sort|uniq", "--query", "a=b"), "POST /function/sort%7Cuniq?a=b"),
    ],
)
def test_a_pipeline_is_one_segment_of_the_path(
    gateway: ScriptedGateway, invoke: Invoke, args: tuple[str, ...], line: str
) -> None:
    gateway.on(line, Answer(200, b"done"))
    assert invoke(*args, stdin=b"data").stdout == b"done"
    assert gateway.lines == [line]


@pytest.mark.parametrize("args", [("sort|",), ("|",), ("sort|wc -l",), ("a/../b|c d",), ("a|b", "--auth"), ("a|ü",)])
def test_a_pipeline_that_cannot_be_read_exits_2_before_any_request(
    gateway: ScriptedGateway, invoke: Invoke, args: tuple[str, ...]
) -> None:
    assert invoke(*args).returncode == 2
    assert gateway.lines == []


# Objects of a store.


def test_objects_take_the_place_of_stdin_and_of_the_answer(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", answer_json({"size": 3}, 201))
    done = invoke("f", "--input-object", "s3://inbox/a b", "--output-object", "s3://outbox/é", stdin=b"not this")
    assert (done.returncode, done.stdout) == (0, b'{"size": 3}')
    headers = gateway.requests[0].headers
    assert (headers["X-Input-Object"], headers["X-Output-Object"]) == ("s3://inbox/a%20b", "s3://outbox/%C3%A9")
    assert gateway.requests[0].body == b""
    assert "Content-Type" not in headers


def test_an_output_objects_type_is_not_that_of_a_text_unless_the_caller_says_so(
    gateway: ScriptedGateway, invoke: Invoke
) -> None:
    gateway.on("POST /function/f", Answer(201))
    invoke("f", "--output-object", "s3://outbox/a", stdin=b"\x89PNG")
    assert "Content-Type" not in gateway.requests[0].headers


def test_the_callers_own_type_and_token_are_kept(gateway: ScriptedGateway, invoke: Invoke) -> None:
    gateway.on("POST /function/f", Answer(200))
    invoke(
        "f",
        "--input-object",
        "s3://inbox/a",
        "--content-type",
        "text/csv",
        "-H",
        "Authorization: Bearer own",
        stdin=b"",
    )
    headers = gateway.requests[0].headers
    assert (headers["Content-Type"], headers["Authorization"]) == ("text/csv", "Bearer own")


def test_what_is_no_object_is_refused_before_anything_is_sent(gateway: ScriptedGateway, invoke: Invoke) -> None:
    for flags in (
        ["--input-object", "in/a"],
        ["--output-object", "s3://out"],
        ["--input-object", "s3://inbox/a", "--auth"],
    ):
        assert invoke("f", *flags, stdin=b"").returncode == 2
    assert gateway.requests == []
