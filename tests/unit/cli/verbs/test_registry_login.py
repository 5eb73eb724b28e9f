"""`penstock registry-login`: what it writes, and for which servers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.builders.imagewriter.scripted import Request, Scripted
from tests.unit.cli.support import run_cli

RIGHT = base64.b64encode(b"ada:s3cret").decode()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def closed(request: Request) -> None:
    """A registry that knows one user."""
    if request.headers.get("Authorization") == f"Basic {RIGHT}":
        request.reply(200)
    else:
        request.reply(401, WWW_Authenticate="Basic realm=x")


def written(here: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((here / "credentials/config.json").read_text())
    return document


def test_a_login_that_works_is_written_for_its_owner_alone(here: Path) -> None:
    with Scripted(closed) as server:
        result = run_cli("registry-login", "--server", server.host, "-u", "ada", "--password-stdin", stdin="s3cret\n")
    assert (result.exit_code, result.stdout) == (0, "credentials written to credentials/config.json\n")
    assert written(here) == {"auths": {server.host: {"auth": RIGHT}}}
    assert (here / "credentials/config.json").stat().st_mode & 0o777 == 0o600


def test_a_login_that_is_refused_is_not_written(here: Path) -> None:
    with Scripted(closed) as server:
        result = run_cli("registry-login", "--server", server.host, "-u", "ada", "-s", stdin="wrong")
    assert result.exit_code == 4
    assert not (here / "credentials").exists()


def test_without_a_registry_that_answers_it_is_written_with_a_warning(here: Path) -> None:
    with Scripted(closed) as server:
        host = server.host
    result = run_cli("registry-login", "--server", f"http://{host}/", "-u", "ada", "-s", stdin="s3cret")
    assert result.exit_code == 0
    assert "could not be tried" in result.stderr
    assert list(written(here)["auths"]) == [host]


def test_other_logins_stay(here: Path) -> None:
    (here / "credentials").mkdir()
    (here / "credentials/config.json").write_text('{"auths": {"ghcr.io": {"auth": "x"}}, "other": 1}')
    with Scripted(closed) as server:
        run_cli("registry-login", "--server", server.host, "-u", "ada", "-s", stdin="s3cret")
    found = written(here)
    assert set(found["auths"]) == {"ghcr.io", server.host}
    assert found["other"] == 1


def test_the_helper_of_amazon(here: Path) -> None:
    result = run_cli("registry-login", "--ecr", "--account-id", "123456789012", "--region", "eu-west-1")
    assert result.exit_code == 0
    helpers = {"123456789012.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}
    assert written(here) == {"credsStore": "ecr-login", "credHelpers": helpers}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--server", "a b", "-u", "x"), "must be a host"),
        (("--server", "ghcr.io/path", "-u", "x"), "must be a host"),
        (("--server", "noport", "-u", "x"), "must be a host"),
        ((), "--username is missing"),
        (("-u", "a:b"), "cannot hold a colon"),
        (("--region", "x"), "go with --ecr"),
        (("--ecr",), "needs --account-id"),
    ],
    ids=["space", "path", "word", "user", "colon", "region", "account"],
)
def test_what_cannot_be(here: Path, flags: tuple[str, ...], words: str) -> None:
    result = run_cli("registry-login", *flags, "-s", stdin="x")
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (here / "credentials").exists()


def test_a_file_that_is_something_else_is_kept(here: Path) -> None:
    (here / "credentials").mkdir()
    (here / "credentials/config.json").write_text("no JSON")
    with Scripted(closed) as server:
        result = run_cli("registry-login", "--server", server.host, "-u", "ada", "-s", stdin="s3cret")
    assert result.exit_code == 2
    assert (here / "credentials/config.json").read_text() == "no JSON"
