"""The remote builder, against a scripted one: what it is sent, and what is made of its answers."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import re
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.builders import remote
from penstock.builders.model import BuildRequest
from penstock.builders.remote import Remote, RemoteBuilder
from penstock.errors import BuildFailed, InvalidInput, NotSupported, PenstockError, Unauthorized
from penstock.stack.model import Position, StackFunction
from tests.unit.cli.support import Answer, Recorded, ScriptedGateway, answer_json, refusing

SECRET = b"known to both"
BUILD = "POST /build"
DONE = {"status": "success", "image": "registry.example.com/fn:1"}


def answer_lines(*lines: object) -> Answer:
    return Answer(body=b"".join(json.dumps(line).encode() + b"\n" for line in lines))


@pytest.fixture
def server() -> Iterator[ScriptedGateway]:
    scripted = ScriptedGateway()
    scripted.on(BUILD, answer_lines(DONE))
    yield scripted
    scripted.close()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "fn/bin").mkdir(parents=True)
    (folder / "fn/Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (folder / "fn/bin/run").write_text("#!/bin/sh\n")
    (folder / "fn/bin/run").chmod(0o755)
    (folder / "fn/link").symlink_to("bin/run")
    monkeypatch.chdir(folder)
    return folder


def seal(key: str, secrets: Mapping[str, bytes]) -> bytes:
    """A seal that keeps nothing secret."""
    return json.dumps({"for": key, **{name: value.decode() for name, value in secrets.items()}}).encode()


def builder(server: ScriptedGateway | str, here: Path, **fields: Any) -> RemoteBuilder:
    url = server if isinstance(server, str) else server.url
    environ = {**os.environ, "PENSTOCK_BUILDS": str(here.parent / "builds")}
    return RemoteBuilder(environ, Remote(url=url, secret=SECRET, **fields), seal)


def request(**fields: Any) -> BuildRequest:
    function = StackFunction(
        name="fn", where=Position("stack.yml", 3), lang="dockerfile", handler="fn", **fields.pop("of", {})
    )
    return BuildRequest(function=function, template=None, image="registry.example.com/fn:1", **fields)


def unpacked(sent: Recorded) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(sent.body)) as archive:
        return {member.name: member for member in archive.getmembers()}


def held(sent: Recorded, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(sent.body)) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def test_a_signed_tar_of_the_context_is_sent(server: ScriptedGateway, here: Path) -> None:
    built = builder(server, here).build(request(build_args={"A": "1", "B": "", "ADDITIONAL_PACKAGE": ""}), print)
    assert (built.image, built.cached) == ("registry.example.com/fn:1", False)
    [sent] = server.requests
    assert sent.line == BUILD
    assert sent.headers["X-Build-Signature"] == "sha256=" + hmac.new(SECRET, sent.body, hashlib.sha256).hexdigest()
    assert sent.headers["Content-Type"] == "application/octet-stream"
    assert sent.headers["Accept"] == "application/x-ndjson"
    members = unpacked(sent)
    assert set(members) == {
        "context", "context/Dockerfile", "context/bin", "context/bin/run", "context/link", "com.openfaas.docker.config",
    }  # fmt: skip
    assert members["context/bin/run"].mode == 0o755
    assert members["context/link"].linkname == "bin/run"
    assert held(sent, "context/Dockerfile") == b"FROM scratch\nCOPY . /\n"
    config = json.loads(held(sent, "com.openfaas.docker.config"))
    assert config == {"image": "registry.example.com/fn:1", "buildArgs": {"A": "1", "B": ""}}
    assert list((here.parent / "builds").rglob("*.tar")) == []


def test_the_same_context_is_the_same_request(server: ScriptedGateway, here: Path) -> None:
    for _ in range(2):
        builder(server, here).build(request(), print)
    assert server.requests[0].body == server.requests[1].body


def test_platforms_and_no_push_are_said(server: ScriptedGateway, here: Path) -> None:
    builder(server, here, push=False).build(request(platforms=("linux/amd64", "linux/arm64")), print)
    config = json.loads(held(server.requests[0], "com.openfaas.docker.config"))
    assert (config["platforms"], config["skipPush"]) == (["linux/amd64", "linux/arm64"], True)


def test_publishing_builds_under_each_name(server: ScriptedGateway, here: Path) -> None:
    builder(server, here).publish(request(), ["a/b:1", "a/b:2"], print)
    configs = [json.loads(held(sent, "com.openfaas.docker.config")) for sent in server.requests]
    assert [config["image"] for config in configs] == ["a/b:1", "a/b:2"]


@pytest.mark.parametrize("given", ["", "own-key"])
def test_secrets_are_sealed_for_the_builders_key(server: ScriptedGateway, here: Path, given: str) -> None:
    server.on("GET /publickey", answer_json({"key_id": "asked-fo", "algorithm": "nacl/box", "public_key": "asked-for"}))
    (here / "token").write_text("t0ps3cret")
    wanted = request(of={"build_secrets": {"token": here / "token"}})
    builder(server, here, public_key=given).build(wanted, print)
    sent = server.requests[-1]
    assert json.loads(held(sent, "com.openfaas.secrets")) == {"for": given or "asked-for", "token": "t0ps3cret"}
    assert server.lines == ([] if given else ["GET /publickey"]) + [BUILD]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(404), "answered 404"),
        (Answer(body=b"no json"), "give it by --builder-public-key"),
        (answer_json({"algorithm": "rsa", "public_key": "x"}), "sealed by nacl/box alone"),
    ],
    ids=["none", "garbage", "other"],
)
def test_a_key_that_cannot_be_used(server: ScriptedGateway, here: Path, answer: Answer, words: str) -> None:
    server.on("GET /publickey", answer)
    (here / "token").touch()
    with pytest.raises(PenstockError, match=words):
        builder(server, here).build(request(of={"build_secrets": {"token": here / "token"}}), print)
    assert server.lines == ["GET /publickey"]


def test_the_log_is_told_line_by_line(server: ScriptedGateway, here: Path) -> None:
    lines = ({"status": "in_progress", "log": ["step 1\n", "\n"]}, {"status": "in_progress", "log": ["step 2"]}, DONE)
    server.on(BUILD, answer_lines(*lines))
    told: list[str] = []
    builder(server, here).build(request(), told.append)
    assert told[1:] == ["step 1", "step 2"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            answer_lines({"status": "in_progress", "log": ["gcc: no"]}, {"status": "failed", "error": "exit 1"}),
            "the build failed: exit 1",
        ),
        (answer_lines({"status": "in_progress", "log": ["gcc: no"]}), "ended before the build did"),
        (
            Answer(body=b'{"status": "in_progress", "log": ["gcc: no"]}\n<html>'),
            "not what was expected .*'<html>'",
        ),
        (
            Answer(body=b'{"status": "in_progress", "log": ["gcc: no"]}\n', cut=True),
            "ended before the build did|cut off",
        ),
    ],
    ids=["failed", "no-end", "garbage", "cut"],
)
def test_builds_that_fail_show_the_log(server: ScriptedGateway, here: Path, answer: Answer, words: str) -> None:
    server.on(BUILD, answer)
    with pytest.raises(BuildFailed, match=words) as caught:
        builder(server, here).build(request(), print)
    assert caught.value.words == "gcc: no\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"status": "failed", "error": "\x1b[31mred\x9b2J"}, "the build failed: \ufffd\\[31mred\ufffd2J$"),
        ({"status": "failed", "error": "x" * 5000}, "the build failed: x{1000}$"),
        ({"status": "success", "image": "a\x1b[31m"}, r"'a\\x1b\[31m', which is no name of an image"),
        ({"status": "success", "image": "--help"}, "which is no name of an image"),
        ({"status": "success", "image": "a" * 5000}, "'a{200}', which is no name of an image"),
    ],
    ids=["steering", "long", "image-steering", "image-option", "image-long"],
)
def test_hostile_answers(server: ScriptedGateway, here: Path, line: dict[str, str], words: str) -> None:
    server.on(BUILD, answer_lines(line))
    with pytest.raises(BuildFailed, match=words):
        builder(server, here).build(request(), print)


def test_a_line_without_end_is_cut(server: ScriptedGateway, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_LINE", 1 << 20)
    server.on(BUILD, Answer(body=b" " * (2 << 20)))
    with pytest.raises(BuildFailed, match="a line of more than 1 MiB"):
        builder(server, here).build(request(), print)


def test_a_refusal_does_not_steer_the_terminal(server: ScriptedGateway, here: Path) -> None:
    server.on(BUILD, Answer(500, b"\x1b[31mred"))
    with pytest.raises(BuildFailed, match=re.escape("\ufffd[31mred")):
        builder(server, here).build(request(), print)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, Unauthorized, "--payload-secret"),
        (403, Unauthorized, "bad signature"),
        (500, BuildFailed, "answered 500"),
        (302, BuildFailed, "answered 302"),
    ],
)
def test_refusals(server: ScriptedGateway, here: Path, status: int, kind: type[PenstockError], words: str) -> None:
    server.on(BUILD, Answer(status, b"bad signature"))
    with pytest.raises(kind, match=words):
        builder(server, here).build(request(), print)


def test_nobody_there(here: Path) -> None:
    with refusing() as url, pytest.raises(BuildFailed, match="cannot be reached"):
        builder(url, here).build(request(), print)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.com", "is no URL"),
        ("http://", "is no URL"),
        ("http://h:99999", "is no URL"),
        ("http://h/\n", "is no URL"),
        ("http://user:password@example.com", "no user or password"),
    ],
)
def test_urls_that_cannot_be_meant(here: Path, url: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        builder(url, here)
    assert "password@" not in str(caught.value)


def test_the_watchdog_of_this_machine_alone_is_of_no_use(server: ScriptedGateway, here: Path) -> None:
    (here / "fn/Dockerfile").write_text("ARG WATCHDOG=x\nFROM ${WATCHDOG}\n")
    with pytest.raises(NotSupported, match="--build-arg WATCHDOG="):
        builder(server, here).build(request(), print)
    builder(server, here).build(request(build_args={"WATCHDOG": "registry.example.com/w"}), print)
    assert server.lines == [BUILD]


def test_cancelling_ends_a_build_that_goes_on(here: Path) -> None:
    """A builder that reads everything and never answers."""
    faults: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        remote = builder(f"http://127.0.0.1:{listening.getsockname()[1]}", here)

        def build() -> None:
            try:
                remote.build(request(), print)
            except BuildFailed as error:
                faults.append(error)

        thread = threading.Thread(target=build)
        thread.start()
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(16)
            remote.cancel()
            thread.join(60)
    assert not thread.is_alive()
    assert [str(fault) for fault in faults] == ["the build was cancelled"]
    with pytest.raises(BuildFailed, match="was cancelled"):
        remote.build(request(), print)
