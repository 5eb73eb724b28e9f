"""The flags of a remote builder, as `build`, `up` and `publish` take them, against a scripted one."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.builders.watchdogimage import machine
from penstock.cli.sealing import generate_keys, unseal
from tests.unit.cli.support import Answer, Recorded, ScriptedGateway, answer_json, refusing, run_cli

STACK = """\
functions:
  fn:
    lang: dockerfile
    handler: ./fn
    image: registry.example.com/fn:1
"""
INFO = "GET /system/info"
FUNCTIONS = "PUT /system/functions"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "fn").mkdir(parents=True)
    (folder / "fn/Dockerfile").write_text("FROM scratch\n")
    (folder / "stack.yml").write_text(STACK)
    (folder / "payload").write_text("secret\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PENSTOCK_BUILDS", str(tmp_path / "builds"))
    monkeypatch.setenv("OPENFAAS_PAYLOAD_SECRET", "payload")
    return folder


@pytest.fixture
def remote() -> Iterator[ScriptedGateway]:
    scripted = ScriptedGateway()
    scripted.on("POST /build", Answer(body=b'{"status":"success","image":"registry.example.com/fn:1"}\n'))
    yield scripted
    scripted.close()


def file_of(sent: Recorded, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(sent.body)) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def config_of(sent: Recorded) -> dict[str, object]:
    document: dict[str, object] = json.loads(file_of(sent, "com.openfaas.docker.config"))
    return document


def test_the_environment_sends_builds_there(remote: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFAAS_REMOTE_BUILDER", remote.url)
    result = run_cli("build", "--output", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["image"] == "registry.example.com/fn:1"
    assert remote.lines == ["POST /build"]


def test_a_builder_that_was_asked_for_wins(remote: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFAAS_REMOTE_BUILDER", remote.url)
    assert run_cli("build", "--builder", "native").exit_code == 1
    assert remote.requests == []


def test_up_deploys_what_was_built_there_and_pushes_nothing_itself(
    remote: ScriptedGateway, gateway: ScriptedGateway
) -> None:
    gateway.on(INFO, answer_json({"provider": {"provider": "faas-netes"}}))
    gateway.on(FUNCTIONS, Answer(202))
    result = run_cli("up", "-g", gateway.url, "--remote-builder", remote.url, "--no-wait")
    assert result.exit_code == 0, result.output
    assert "skipPush" not in config_of(remote.requests[0])
    assert gateway.lines == [INFO, FUNCTIONS]
    assert gateway.requests[1].json["image"] == "registry.example.com/fn:1"


def test_up_without_push(remote: ScriptedGateway) -> None:
    result = run_cli("up", "--remote-builder", remote.url, "--skip-push", "--skip-deploy")
    assert result.exit_code == 0, result.output
    assert config_of(remote.requests[0])["skipPush"] is True


@pytest.mark.parametrize("verb", [("publish",), ("up", "--publish", "--skip-deploy")], ids=["publish", "up"])
def test_several_platforms(remote: ScriptedGateway, verb: tuple[str, ...]) -> None:
    result = run_cli(*verb, "--remote-builder", remote.url, "--platforms", "linux/amd64,linux/arm64")
    assert result.exit_code == 0, result.output
    assert config_of(remote.requests[0])["platforms"] == ["linux/amd64", "linux/arm64"]


def test_this_machines_platform_is_said_too(remote: ScriptedGateway) -> None:
    """The builder's machine may be another."""
    result = run_cli("publish", "--remote-builder", remote.url, "--platforms", machine())
    assert result.exit_code == 0, result.output
    assert config_of(remote.requests[0])["platforms"] == [machine()]


def test_a_builder_that_was_asked_for_needs_no_gateway_unless_it_deploys(project: Path) -> None:
    with refusing() as url:
        result = run_cli("up", "-g", url, "--skip-deploy", "--builder", "native")
    assert result.exit_code == 1
    assert "is built by docker or buildah" in result.stderr
    assert "cannot reach" not in result.stderr


def test_secrets_are_opened_by_the_builder_alone(remote: ScriptedGateway, project: Path) -> None:
    private, public = generate_keys()
    (project / "token").write_bytes(b"t0ps3cret\n")
    (project / "key.pub").write_text(public + "\n")
    (project / "stack.yml").write_text(STACK + "    build_secrets: {token: token}\n")
    for key in (public, "key.pub"):
        result = run_cli("build", "--remote-builder", remote.url, "--builder-public-key", key)
        assert result.exit_code == 0, result.output
        assert b"t0ps3cret" not in remote.requests[-1].body
        sealed = file_of(remote.requests[-1], "com.openfaas.secrets")
        assert unseal(private, sealed, "sent") == {"token": b"t0ps3cret\n"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--payload-secret", ""), "needs --payload-secret"),
        (("--payload-secret", "nowhere"), "--payload-secret: the file 'nowhere' cannot be read: No such file"),
        (("--payload-secret", "empty"), "is empty"),
        (("--builder-public-key", "nowhere"), "--builder-public-key: the file 'nowhere' cannot be read"),
        (("--remote-builder", "ftp://x"), "is no URL"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_built(
    remote: ScriptedGateway, project: Path, arguments: tuple[str, ...], words: str
) -> None:
    (project / "empty").write_text("\n")
    result = run_cli("build", "--remote-builder", remote.url, *arguments, env={"OPENFAAS_PAYLOAD_SECRET": None})
    if "--payload-secret" not in arguments:
        result = run_cli("build", "--remote-builder", remote.url, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert remote.requests == []


def test_a_key_that_is_none(remote: ScriptedGateway, project: Path) -> None:
    (project / "token").touch()
    (project / "stack.yml").write_text(STACK + "    build_secrets: {token: token}\n")
    (project / "short").write_text(base64.b64encode(b"short").decode())
    result = run_cli("build", "--remote-builder", remote.url, "--builder-public-key", "short")
    assert result.exit_code == 1
    assert "has 5 bytes and not 32" in result.stderr


def test_what_a_remote_builder_cannot_do_is_said(remote: ScriptedGateway) -> None:
    result = run_cli("build", "--remote-builder", remote.url, "--no-cache", "--build-label", "a=b")
    assert result.exit_code == 0, result.output
    assert "Warning: --no-cache, --build-label: a remote builder has no way to be told" in result.stderr


def test_a_gateway_of_programs_has_no_use_for_it(remote: ScriptedGateway, gateway: ScriptedGateway) -> None:
    gateway.on(INFO, answer_json({"provider": {"provider": "penstock-process"}}))
    result = run_cli("up", "-g", gateway.url, "--remote-builder", remote.url)
    assert result.exit_code == 1
    assert "runs programs, not images: leave out --remote-builder" in result.stderr
    assert remote.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--platforms", "linux/arm64"), "--platforms: needs --publish"),
        (("--publish", "--skip-push"), "exclude each other"),
        (("--publish", "--skip-deploy", "--builder", "native"), "--publish: is for images"),
    ],
)
def test_flags_of_up_that_do_not_go_together(arguments: tuple[str, ...], words: str) -> None:
    result = run_cli("up", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


# A gateway that is not there yet


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize(
    "verb",
    [("up",), ("up", "--skip-deploy"), ("build",), ("deploy",)],
    ids=["up", "up-build-only", "build", "deploy"],
)
def test_a_gateway_that_is_just_starting_chooses_no_builder(
    gateway: ScriptedGateway, project: Path, verb: tuple[str, ...], status: int
) -> None:
    gateway.on(INFO, Answer(status, b"starting"))
    result = run_cli(*verb, "-g", gateway.url)
    assert result.exit_code == 3, result.output
    assert f"does not say what its provider is: the gateway answered {status}" in result.stderr
    assert not (project / "build").exists()
    assert gateway.lines == [INFO]


@pytest.mark.parametrize(
    ("verb", "flag", "code"),
    [
        (("up",), True, 3),
        (("up",), False, 3),
        (("up", "--skip-deploy"), False, 3),
        (("build",), True, 3),
        (("build",), False, 1),
    ],
    ids=["up-flag", "up-environment", "up-build-only", "build-flag", "build-environment"],
)
def test_a_gateway_that_was_named_and_is_not_there(project: Path, verb: tuple[str, ...], flag: bool, code: int) -> None:
    """`build` goes on where only the environment names it: here to fail, since there is no program to build with."""
    with refusing() as url:
        named = {"PATH": str(project), "OPENFAAS_URL": None if flag else url}
        result = run_cli(*verb, *(("-g", url) if flag else ()), env=named)
    assert result.exit_code == code, result.output
    assert "cannot reach a gateway" in result.stderr
    assert ("Building fn" in result.stderr) == (code == 1)
    assert not (project / "build").exists()
