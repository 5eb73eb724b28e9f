"""`penstock new`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.cli.support import run_cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("OPENFAAS_PREFIX", raising=False)
    monkeypatch.setenv("OPENFAAS_TEMPLATE_STORE_URL", str(tmp_path / "store.json"))
    (tmp_path / "store.json").write_text("[]")
    return folder


def test_says_what_was_made_on_stdout_and_what_to_do_on_stderr(here: Path) -> None:
    result = run_cli("new", "hello", "--lang", "python3-http")
    assert (result.exit_code, result.stdout) == (
        0,
        "Function created in folder: ./hello\nStack file written: stack.yaml\n",
    )
    assert "handler.py has your function" in result.stderr
    assert "penstock up    builds" in result.stderr
    assert (here / "hello/handler.py").is_file()


def test_quietly(here: Path) -> None:
    (here / "my.yml").write_text("functions:\n")
    result = run_cli("new", "words", "--lang", "cli", "-a", "my.yml", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Stack file extended: my.yml\n", "")


def test_for_scripts(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFAAS_PREFIX", "kim")
    result = run_cli("new", "hello", "--lang", "Dockerfile", "-f", "my.yaml", "-q", "--json")
    assert json.loads(result.stdout) == {
        "name": "hello", "lang": "dockerfile", "handler": "./hello", "image": "kim/hello:latest", "file": "my.yaml",
    }  # fmt: skip
    flag = run_cli("new", "other", "--lang", "bash", "-a", "my.yaml", "-q", "--json", "--prefix", "lee")
    assert json.loads(flag.stdout)["image"] == "lee/other:latest"


def test_all_flags_reach_the_file(here: Path) -> None:
    flags = ("--memory-limit", "1g", "--cpu-limit", "2", "--memory-request", "64Mi", "--cpu-request", "100m")
    result = run_cli(
        "new", "hello", "--lang", "go", *flags, "--gateway", "https://example.com", "--handler", "src", "-q"
    )
    assert result.exit_code == 0, result.stderr
    text = (here / "stack.yaml").read_text()
    assert "gateway: https://example.com" in text.replace('"', "")
    assert [word in text for word in ("1g", "64Mi", "100m", "./src")] == [True] * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument 'NAME'"),
        (("hello",), "Missing option '--lang'"),
        (("hello", "--lang", "go", "-a", "a.yml", "-f", "b.yml"), "name two stack files"),
        (("../hello", "--lang", "go"), "NAME: ('../hello') is invalid, must be a valid DNS entry"),
        (("hello", "--lang", "../go"), "is no name of a template"),
    ],
)
def test_what_cannot_be_begun_exits_2(here: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run_cli("new", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert os.listdir(here) == []


def test_a_template_that_nobody_has_exits_1(here: Path) -> None:
    result = run_cli("new", "hello", "--lang", "cobol")
    assert result.exit_code == 1
    assert "template 'cobol' is not in the store" in result.stderr
    assert os.listdir(here) == []


def test_the_list_is_that_of_templates() -> None:
    assert run_cli("new", "--list").stdout == run_cli("template", "list").stdout
