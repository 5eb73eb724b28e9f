"""`penstock template`: lists, and the store; repositories are for the integration tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.stack import fetch
from tests.unit.cli.support import run_cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("OPENFAAS_TEMPLATE_URL", raising=False)
    store = tmp_path / "store.json"
    store.write_text(
        json.dumps(
            [
                {"template": "cobol", "platform": "x86_64", "language": "COBOL", "source": "https://example.com/c", "repo": "kim"},
                {"template": "ada", "platform": "x86_64", "source": "https://example.com/a", "official": "true", "recommended": True},
                {"template": "basic", "platform": "armhf", "source": "https://example.com/b"},
            ]
        )
    )  # fmt: skip
    monkeypatch.setenv("OPENFAAS_TEMPLATE_STORE_URL", str(store))
    return folder


def names(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines()[1:]]


def test_list_has_our_own_and_those_of_the_folder_which_come_first(here: Path) -> None:
    for name in ("ada", "node"):
        (here / "template" / name).mkdir(parents=True)
        (here / "template" / name / "template.yml").write_text(f"language: Their {name}\n")
    lines = run_cli("template", "list").stdout.splitlines()
    assert names("\n".join(lines)) == sorted(names("\n".join(lines)))
    assert [line.split() for line in lines if line.startswith(("ada", "node"))] == [
        ["ada", "./template", "Their", "ada"],
        ["node", "./template", "Their", "node"],
    ]
    listed = {one["name"]: one["from"] for one in json.loads(run_cli("template", "ls", "--json").stdout)}
    assert (listed["node"], listed["python3-http"]) == ("./template", "penstock")


def test_the_store_is_listed_by_platform_and_order() -> None:
    assert names(run_cli("template", "store", "list").stdout) == ["ada", "cobol"]
    assert names(run_cli("template", "store", "ls", "--platform", "ARMHF").stdout) == ["basic"]
    assert names(run_cli("template", "store", "list", "--official").stdout) == ["ada"]
    assert names(run_cli("template", "store", "list", "-r", "-v").stdout) == ["ada"]
    assert [one["template"] for one in json.loads(run_cli("template", "store", "list", "-j").stdout)] == [
        "ada",
        "cobol",
    ]


def test_columns_hold_what_they_say() -> None:
    headings, ada, _ = run_cli("template", "store", "list").stdout.splitlines()
    assert [word.strip() for word in headings.split("\t")] == ["NAME", "RECOMMENDED", "DESCRIPTION", "SOURCE"]
    assert [word.strip() for word in ada.split("\t")] == ["ada", "[x]", "", "https://example.com/a"]


def test_one_of_the_store_is_described() -> None:
    result = run_cli("template", "store", "inspect", "kim/cobol")
    assert "Language:    COBOL" in result.stdout
    assert json.loads(run_cli("template", "store", "describe", "cobol", "--output", "json").stdout)["repo"] == "kim"
    missing = run_cli("template", "store", "describe", "fortran")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "template 'fortran' is not in the store" in missing.stderr


def test_offline_our_own_are_shown_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> bytes:
        raise PenstockError(f"{url}: cannot be read: no network")

    monkeypatch.setattr(fetch, "download", refuse)
    monkeypatch.delenv("OPENFAAS_TEMPLATE_STORE_URL")
    result = run_cli("template", "store", "list")
    assert "python3-http" in names(result.stdout)
    assert "no network. These are the templates that are shipped with Penstock." in result.stderr
    pulled = run_cli("template", "store", "pull", "go")
    assert (pulled.exit_code, pulled.stdout) == (0, "")
    assert "go is shipped with Penstock; there is nothing to pull" in pulled.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pull", "--", "--upload-pack=x"), "is no URL of a git repository"),
        (("pull", "ext::sh -c id"), "is no URL of a git repository"),
        (("pull", "https://example.com/x#--upload-pack=x"), "names no branch"),
        (("pull", "-f", "stack.yaml"), "--yaml belongs to"),
        (("store", "pull", "ada@--x"), "names no branch"),
    ],
)
def test_what_cannot_be_pulled_exits_2(arguments: tuple[str, ...], words: str) -> None:
    result = run_cli("template", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
