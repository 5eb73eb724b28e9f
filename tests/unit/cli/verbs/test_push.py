"""`penstock push` and `publish`: which images, in which order, and what a failure says. Docker is a script that takes notes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.cli.support import run_cli

STACK = """version: 1.0
provider: {name: openfaas}
functions:
  one: {lang: dockerfile, handler: ./one, image: registry.example.com/one:1}
  two: {lang: dockerfile, handler: ./one, image: me/two}
  left: {lang: dockerfile, handler: ./one, image: me/left, skip_build: true}
  given: {image: me/given}
"""

DOCKER = """#!/bin/sh
echo "$@" >> "$NOTES"
case "$*" in
*"image inspect"*) echo sha256:1 ;;
"push me/two"*) echo "denied: no such account"; exit 1 ;;
"buildx version") exit "$BUILDX" ;;
esac
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the docker of this test writes what it was told."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stack.yml").write_text(STACK)
    (tmp_path / "one").mkdir()
    (tmp_path / "one/Dockerfile").write_text("FROM scratch\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("BUILDX", "0")
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "notes"


def told(notes: Path) -> list[str]:
    """What docker was asked to do, without questions."""
    questions = ("version", "image inspect", "buildx inspect", "buildx version")
    return [line for line in notes.read_text().splitlines() if not line.startswith(questions)]


def test_what_was_built_is_pushed(notes: Path) -> None:
    result = run_cli("push", "--filter", "one")
    assert (result.exit_code, result.stdout) == (0, "registry.example.com/one:1\n")
    assert told(notes) == ["push registry.example.com/one:1"]


def test_each_is_tried_and_failures_are_named(notes: Path) -> None:
    result = run_cli("push")
    assert result.exit_code == 1
    assert result.stdout == "registry.example.com/one:1\n"
    assert "denied: no such account" in result.stderr
    assert "Error: 1 of 2 pushes failed: two; pushed: one" in result.stderr
    assert "left is not pushed: skip_build says so" in result.stderr
    assert "given is not pushed: it has no lang" in result.stderr


def test_an_image_that_belongs_nowhere_is_refused_before_anything_is_sent(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "stack.yml").write_text(STACK.replace("me/two", "two"))
    result = run_cli("push")
    assert result.exit_code == 2
    assert "stack.yml:5" in result.stderr
    assert "'two' names neither a registry nor an account" in result.stderr
    assert not notes.exists()


def test_publish_builds_and_pushes_under_all_tags(notes: Path) -> None:
    result = run_cli("publish", "--filter", "one", "--extra-tag", "stable")
    assert result.exit_code == 0, result.stderr
    build = "build --build-arg ADDITIONAL_PACKAGE= --force-rm --tag registry.example.com/one:{} ."
    assert told(notes) == [
        build.format("1"),
        build.format("stable"),
        "push registry.example.com/one:1",
        "push registry.example.com/one:stable",
    ]


def test_several_platforms_are_built_by_buildx(notes: Path) -> None:
    result = run_cli("publish", "--filter", "one", "--platforms", "linux/amd64,linux/arm64")
    assert result.exit_code == 0, result.stderr
    [line] = told(notes)
    assert line == (
        "buildx build --builder penstock --build-arg ADDITIONAL_PACKAGE= --platform linux/amd64,linux/arm64"
        " --tag registry.example.com/one:1 --push ."
    )


def test_several_platforms_without_buildx(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDX", "1")
    result = run_cli("publish", "--filter", "one", "--platforms", "linux/amd64,linux/arm64")
    assert result.exit_code == 1
    assert "install docker-buildx" in result.stderr


def test_a_native_build_cannot_be_published(notes: Path) -> None:
    assert run_cli("publish", "--builder", "native").exit_code == 2
