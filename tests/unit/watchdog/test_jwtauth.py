"""Tokens: which ones reach the function, and what hostile ones get."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from penstock.errors import SettingsError
from penstock.watchdog import jwtauth
from penstock.watchdog.jwtauth import Issuer, Key, Refused, bearer, matches, permits, public_key, verify
from penstock.watchdog.logs import Log
from penstock.watchdog.settings import load_settings
from tests.watchdogs import DEADLINE

Start = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def jwk(algorithm: Any, key: Any, kid: str, **more: str) -> dict[str, Any]:
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, **more}


class Authority:
    """An issuer of tokens on a loopback port. `keys` may be changed at any time; `answers` counts discoveries."""

    def __init__(self) -> None:
        self.keys = [
            jwk(RSAAlgorithm, RSA, "rsa", use="sig", alg="RS256"),
            jwk(ECAlgorithm, EC, "ec"),
            jwk(OKPAlgorithm, ED, "ed"),
        ]
        self.url = ""
        self.answers = 0
        self.failing = False
        self.chunked = False
        self.discovery: dict[str, Any] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def issuer(self) -> str:
        return self.url + "/issuer"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        await self.gate.wait()
        document: dict[str, Any] = {"keys": self.keys}
        if target == "/.well-known/openid-configuration":
            self.answers += 1
            document = {"issuer": self.issuer, "jwks_uri": self.url + "/keys", **self.discovery}
        data = json.dumps(document).encode()
        status = b"503 Busy" if self.failing else b"200 OK"
        if self.chunked:
            writer.write(b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
        else:
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data))
        writer.close()

    def token(self, key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa", **claims: Any) -> str:
        claims = {
            "iss": self.issuer,
            "aud": self.issuer,
            "exp": int(time.time()) + 60,
            "function": {"permissions": ["*"]},
            **claims,
        }
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, key, algorithm, headers={"kid": kid} if kid is not None else None)


@pytest.fixture
async def authority() -> AsyncIterator[Authority]:
    one = Authority()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield one
    one.gate.set()
    server.close()


@pytest.fixture
async def guarded(start: Start, authority: Authority, until: Until) -> Callable[..., Awaitable[Any]]:
    """Starts a watchdog that asks the authority, and waits until it can check tokens."""

    async def begin(wait: bool = True, **variables: str) -> Any:
        variables = {"fprocess": "printenv", "OPENFAAS_NAME": "env", "OPENFAAS_NAMESPACE": "fn", **variables}
        running = await start(jwt_auth="true", jwt_authority=authority.url, **variables)
        if wait:
            await until(lambda: not running.watchdog._guard.unready())
        return running

    return begin


async def ask(running: Any, token: str | bytes = "", method: str = "GET", target: str = "/") -> Any:
    shown = token if isinstance(token, str) else token.decode("latin-1")
    return await running.call(method, target, headers=[("Authorization", f"Bearer {shown}")] if shown else [])


async def test_a_good_token_reaches_the_function_which_is_told_how_long_it_took(
    guarded: Any, authority: Authority
) -> None:
    running = await guarded()
    fields = [("Authorization", f"Bearer {authority.token()}"), ("X-Auth-Seconds", "made up"), ("X-Mine", "1")]
    answer = await running.call("POST", "/", b"body", fields)
    lines = answer.body.decode().splitlines()
    (seconds,) = [line for line in lines if line.startswith("Http_X_Auth_Seconds=")]
    assert answer.status == 200
    assert 0 < float(seconds.partition("=")[2]) < DEADLINE
    assert "Http_X_Mine=1" in lines


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")],
)
async def test_keys_of_every_kind(guarded: Any, authority: Authority, key: Any, algorithm: str, kid: str) -> None:
    authority.chunked = True
    running = await guarded()
    assert (await ask(running, authority.token(key, algorithm, kid))).status == 200


async def test_no_token_is_401_with_the_originals_fields(guarded: Any) -> None:
    answer = await ask(await guarded())
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer realm=IAM function invoke"
    assert answer.headers["x-openfaas-internal"] == "faas-middleware"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body == b"a bearer token is required in the Authorization field\n"


async def test_a_token_without_permission_is_403(guarded: Any, authority: Authority) -> None:
    answer = await ask(await guarded(), authority.token(function={"permissions": ["fn:other"]}))
    assert (answer.status, answer.body) == (403, b"the token does not permit fn:env\n")
    assert answer.headers["x-openfaas-internal"] == "faas-middleware"
    assert "www-authenticate" not in answer.headers


async def test_refused_calls_are_counted_and_release_their_slot(guarded: Any, authority: Authority) -> None:
    running = await guarded(mode="streaming", max_inflight="1")
    assert (await ask(running)).status == 401
    assert (await ask(running, authority.token(function=None))).status == 403
    assert (await ask(running, authority.token())).status == 200
    lines = (await running.call("GET", "/_/metrics")).body.split(b"\n")
    for code in (b"200", b"401", b"403"):
        assert b'http_requests_total{code="%b",method="get"} 1' % code in lines


async def test_health_readiness_and_metrics_need_no_token(guarded: Any) -> None:
    running = await guarded(ready_path="/x")
    for target in ("/_/health", "/_/ready", "/_/metrics"):
        assert (await ask(running, target=target)).status == 200


@pytest.mark.parametrize(("mode", "status"), [("classic", 401), ("serializing", 429), ("streaming", 429)])
async def test_classic_asks_for_the_token_before_the_slot_and_the_others_after_it(
    guarded: Any, authority: Authority, until: Until, mode: str, status: int
) -> None:
    running = await guarded(fprocess="sleep 600", mode=mode, max_inflight="1")
    _, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % authority.token().encode())
    await until(lambda: running.watchdog.limiter.inflight == 1)
    assert (await ask(running)).status == status
    assert (await ask(running, authority.token())).status == 429
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_why_a_token_was_refused_is_logged_on_request_only(
    guarded: Any, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    token = authority.token(function=None)
    await ask(await guarded(), token)
    assert "[JWT Auth]" not in capfd.readouterr().err
    await ask(await guarded(jwt_auth_debug="true"), token, target="/path?secret")
    logged = capfd.readouterr().err
    assert "[JWT Auth] GET /path - 403: the token does not permit fn:env" in logged
    assert token not in logged
    assert "secret" not in logged


# The issuer


async def test_until_the_issuer_is_known_the_replica_is_not_ready_and_says_why(
    guarded: Any, authority: Authority, until: Until
) -> None:
    authority.failing = True
    running = await guarded(wait=False)
    await until(lambda: "503" in running.watchdog._guard.unready())
    ready, answer = await running.call("GET", "/_/ready"), await ask(running, authority.token())
    assert (ready.status, answer.status, answer.headers["retry-after"]) == (503, 503, "1")
    assert b"tokens cannot be checked: http://127.0.0.1" in ready.body
    assert answer.body == b"tokens cannot be checked yet\n"
    assert (await running.call("GET", "/_/health")).status == 200
    authority.failing = False
    await until(lambda: not running.watchdog._guard.unready())
    assert (await ask(running, authority.token())).status == 200


async def test_a_new_key_is_fetched_when_a_token_names_it(
    guarded: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwtauth, "REFRESH_GAP", 0.0)
    running = await guarded()
    authority.keys = [jwk(RSAAlgorithm, OTHER, "new")]
    assert (await ask(running, authority.token(OTHER, kid="new"))).status == 200
    assert authority.answers == 2
    assert (await ask(running, authority.token())).status == 401  # its key was withdrawn
    assert authority.answers == 3


async def test_unknown_keys_do_not_flood_the_issuer(
    guarded: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwtauth, "REFRESH_GAP", 600.0)
    running = await guarded()
    for number in range(20):
        answer = await ask(running, authority.token(OTHER, kid=f"unknown-{number}"))
        assert (answer.status, answer.body) == (401, b"the token's key is not one of its issuer's\n")
    assert authority.answers == 1


async def test_a_client_that_leaves_while_its_key_is_fetched_is_forgotten(
    guarded: Any, authority: Authority, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwtauth, "REFRESH_GAP", 0.0)
    running = await guarded(mode="streaming")
    authority.gate.clear()
    _, writer = await running.connect()
    token = authority.token(OTHER, kid="unknown").encode()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % token)
    await until(lambda: running.watchdog._guard._parked)
    assert (await ask(running, authority.token())).status == 200  # others do not wait
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)
    authority.gate.set()
    await until(lambda: not running.watchdog._guard._parked)


async def test_keys_known_so_far_are_kept_when_the_issuer_fails(
    guarded: Any, authority: Authority, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwtauth, "REFRESH_GAP", 0.0)
    running = await guarded()
    authority.failing = True
    assert (await ask(running, authority.token(OTHER, kid="unknown"))).status == 401
    assert (await ask(running, authority.token())).status == 200
    assert not running.watchdog._guard.unready()


@pytest.mark.parametrize(
    "discovery",
    [{"issuer": 5}, {"jwks_uri": None}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": "http://user:pw@127.0.0.1/"}],
)
async def test_a_discovery_document_that_makes_no_sense_is_refused(
    guarded: Any, authority: Authority, until: Until, discovery: dict[str, Any]
) -> None:
    authority.discovery = discovery
    running = await guarded(wait=False)
    await until(lambda: "has not answered yet" not in running.watchdog._guard.unready())
    assert (await ask(running, authority.token())).status == 503


async def test_the_namespace_must_be_told(
    guarded: Any, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwtauth, "NAMESPACE_FILE", str(tmp_path / "namespace"))
    with pytest.raises(SettingsError, match="OPENFAAS_NAMESPACE"):
        await guarded(OPENFAAS_NAMESPACE="")
    (tmp_path / "namespace").write_text("cluster\n")
    running = await guarded(OPENFAAS_NAMESPACE="")
    token = authority.token(function={"permissions": ["cluster:env"]})
    assert (await ask(running, token)).status == 200


async def test_where_the_issuer_is_said_to_be() -> None:
    def place(**variables: str) -> str:
        environ = {"fprocess": "cat", "OPENFAAS_NAME": "env", "OPENFAAS_NAMESPACE": "fn", "jwt_auth": "1", **variables}
        return jwtauth.Guard(load_settings(environ), Log(asyncio.get_running_loop()))._discovery

    assert place() == "http://gateway.openfaas:8080/.well-known/openid-configuration"
    assert place(jwt_auth_local="true") == "http://127.0.0.1:8000/.well-known/openid-configuration"
    assert place(jwt_authority="https://id.test/") == "https://id.test/.well-known/openid-configuration"


async def test_a_verified_token_is_remembered_until_it_expires(
    guarded: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await guarded()
    token = authority.token()
    checked: list[bytes] = []

    def counting(token: bytes, issuer: Issuer) -> dict[str, Any]:
        checked.append(token)
        return verify(token, issuer)

    monkeypatch.setattr(jwtauth, "verify", counting)
    for _ in range(3):
        assert (await ask(running, token)).status == 200
    assert len(checked) == 1
    remembered = running.watchdog._guard._remembered
    assert remembered[token.encode()] <= time.time() + 60
    remembered[token.encode()] = time.time() - 1
    assert (await ask(running, token)).status == 200
    assert len(checked) == 2


async def test_what_is_remembered_is_bounded(
    guarded: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwtauth, "REMEMBERED", 3)
    running = await guarded(mode="static", static_path="/")
    for number in range(6):
        assert (await ask(running, authority.token(jti=str(number)), target="/proc/self/status")).status == 200
    long = authority.token(padding="x" * 5000)
    assert (await ask(running, long, target="/proc/self/status")).status == 200
    assert len(running.watchdog._guard._remembered) == 3
    assert long.encode() not in running.watchdog._guard._remembered


async def test_workers_ask_for_tokens_too(launch: Any, authority: Authority, until: Until, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def handle(event, context):\n    return event.headers['X-Auth-Seconds']\n")
    launch(
        mode="python",
        handler=f"{tmp_path}/shop.py",
        jwt_auth="true",
        jwt_authority=authority.url,
        OPENFAAS_NAME="env",
        OPENFAAS_NAMESPACE="fn",
    )

    async def status(target: str, fields: str = "") -> bytes:
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/w.sock")
        writer.write(f"GET {target} HTTP/1.0\r\n{fields}\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return answer.split(b" ")[1]

    await until((tmp_path / ".lock").exists)
    async with asyncio.timeout(DEADLINE):
        while await status("/_/ready") != b"200":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await status("/") == b"401"
    assert await status("/", f"Authorization: Bearer {authority.token()}\r\n") == b"200"


# Hostile tokens


def part(document: Any) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def hmac_with_the_public_key(claims: dict[str, Any], kid: str) -> str:
    import hashlib
    import hmac

    text = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{part(claims)}"
    return f"{text}.{part(hmac.new(pem(RSA), text.encode(), hashlib.sha256).digest())}"


HOSTILE: dict[str, Callable[[Authority], str]] = {
    "garbage": lambda one: "garbage",
    "empty parts": lambda one: "..",
    "bytes that are no text": lambda one: "\xff\xfe.\xff.\xff",
    "a header that is no JSON": lambda one: f"{part(b'{')}.{part({})}.x",
    "a header that is nested without end": lambda one: f"{part(b'[' * 9000)}.x.x",
    "a header that is a list": lambda one: f"{part([1])}.{part({})}.x",
    "a header with a very long number": lambda one: part(b'{"kid": ' + b"9" * 6000 + b"}") + ".x.x",
    "a kid that is a list": lambda one: f"{part({'alg': 'RS256', 'kid': ['rsa']})}.{part({})}.x",
    "no kid": lambda one: one.token(kid=None),
    "alg none": lambda one: (
        f"{part({'alg': 'none', 'kid': 'rsa'})}.{part({'iss': one.issuer, 'aud': one.issuer, 'function': {'permissions': ['*']}})}."
    ),
    "alg None in capitals": lambda one: f"{part({'alg': 'NONE', 'kid': 'rsa'})}.{part({'iss': one.issuer})}.",
    "the public key as a shared secret": lambda one: hmac_with_the_public_key(
        {"iss": one.issuer, "aud": one.issuer, "function": {"permissions": ["*"]}}, "rsa"
    ),
    "another key under a known kid": lambda one: one.token(OTHER),
    "another algorithm than the key's": lambda one: one.token(algorithm="RS512"),
    "another kind of key": lambda one: one.token(EC, "ES256", "rsa"),
    "claims that were changed": lambda one: ".".join(
        (one.token().split(".")[0], part({"iss": one.issuer, "aud": one.issuer}), one.token().split(".")[2])
    ),
    "another issuer": lambda one: one.token(iss="http://elsewhere"),
    "no issuer": lambda one: one.token(iss=None),
    "another audience": lambda one: one.token(aud="http://elsewhere"),
    "no audience": lambda one: one.token(aud=None),
    "an audience of no known type": lambda one: one.token(aud={"a": 1}),
    "expired": lambda one: one.token(exp=int(time.time()) - 5),
    "an expiry that is no number": lambda one: one.token(exp="never"),
    "an expiry beyond numbers": lambda one: one.token(exp=float("inf")),
    "not yet valid": lambda one: one.token(nbf=int(time.time()) + 60),
    "critical extensions": lambda one: jwt.encode(
        {"iss": one.issuer, "aud": one.issuer}, RSA, "RS256", headers={"kid": "rsa", "crit": ["x"], "x": 1}
    ),
    "huge": lambda one: one.token(padding="x" * 20000),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_token_is_401(guarded: Any, authority: Authority, name: str) -> None:
    running = await guarded()
    answer = await ask(running, HOSTILE[name](authority))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer realm=IAM function invoke")
    assert (await ask(running, authority.token())).status == 200


async def test_clocks_may_differ_by_a_second(guarded: Any, authority: Authority) -> None:
    running = await guarded()
    assert (await ask(running, authority.token(iat=int(time.time()) + 600))).status == 200  # as the original
    assert (await ask(running, authority.token(exp=time.time() + 60, nbf=int(time.time()) + 1))).status == 200


@pytest.mark.parametrize("value", [b"Basic abc", b"Bearer", b"Bearer  ", b"", b"Token x", None])
def test_what_is_no_bearer_token_is_refused(value: bytes | None) -> None:
    with pytest.raises(Refused):
        bearer(value)


def test_the_scheme_is_read_in_any_case() -> None:
    assert bearer(b"bearer abc") == b"abc"


# Permissions


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("*", True),
        ("fn:env", True),
        ("fn:*", True),
        ("*:env", True),
        ("f*n:e*v", True),
        ("**", True),
        ("fn:env*", True),
        ("", False),
        ("fn:en", False),
        ("n:env", False),
        ("fn:env2", False),
        ("other:*", False),
        ("fn:.nv", False),
        ("fn.*", False),
        ("(fn|x):env", False),
        ("[f]n:env", False),
        ("fn:env*env", False),
    ],
)
def test_patterns_are_stars_and_nothing_else(pattern: str, matching: bool) -> None:
    assert matches(pattern, "fn:env") is matching


def test_no_pattern_is_slow() -> None:
    began = time.monotonic()
    assert not matches("*a" * 20000 + "b", "a" * 20000)
    assert not matches("(a+)+$" * 1000, "a" * 20000 + "!")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "claim",
    [
        None,
        "*",
        [],
        ["*"],
        {},
        {"permissions": None},
        {"permissions": "*"},
        {"permissions": []},
        {"permissions": {"*": 1}},
        {"permissions": [None, 1, ["*"]]},
        {"permissions": ["*"], "audience": ["fn:other"]},
        {"permissions": ["*"], "audience": "fn:env"},
        {"permissions": ["*"], "audience": [None]},
        {"permissions": True},
    ],
)
def test_a_claim_of_the_wrong_shape_permits_nothing(claim: Any) -> None:
    assert not permits(claim, "fn:env")


@pytest.mark.parametrize("audience", [None, [], ["fn:*"], ["other:x", "fn:env"]])
def test_an_empty_audience_is_any(audience: Any) -> None:
    assert permits({"permissions": ["fn:env"], "audience": audience}, "fn:env")


# Keys


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "key",
        {},
        {"kid": "a"},
        {"kid": "a", "kty": "oct", "k": "c2VjcmV0"},
        {"kid": "a", "kty": "RSA", "n": "!", "e": "AQAB"},
        {"kid": "a", "kty": "EC", "crv": "P-192", "x": "", "y": ""},
        {"kid": 5, **jwk(RSAAlgorithm, RSA, "x")} | {"kid": 5},
        jwk(RSAAlgorithm, RSA, "a", use="enc"),
        jwk(RSAAlgorithm, RSA, "a", alg="HS256"),
        jwk(RSAAlgorithm, RSA, "a", alg="none"),
    ],
)
def test_what_is_no_public_key_for_signatures_is_not_used(entry: Any) -> None:
    assert public_key(entry) is None


def test_a_private_key_that_somebody_publishes_is_used_as_its_public_one() -> None:
    key = public_key({**json.loads(RSAAlgorithm.to_jwk(RSA)), "kid": "a"})
    assert isinstance(key, Key)
    assert isinstance(key.key, rsa.RSAPublicKey)


def test_without_the_library_the_start_fails_with_the_line_that_installs_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.modules['jwt'] = None\n"
        "from penstock.watchdog.app import run; sys.exit(run(os.environ, 'unix:' + sys.argv[1]))"
    )
    environ = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path), "fprocess": "cat", "jwt_auth": "true"}
    environ |= {"OPENFAAS_NAME": "env", "OPENFAAS_NAMESPACE": "fn"}
    command = [sys.executable, "-c", code, f"{tmp_path}/w.sock"]
    ended = subprocess.run(command, env=environ, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert b"pip install 'pyjwt[crypto]'" in ended.stderr
