"""Which gateway a verb speaks to when a stack file or the verb's group says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stack_file(here: Path, gateway: str, name: str = "stack.yml") -> None:
    (here / name).write_text(f"provider:\n  name: openfaas\n  gateway: {gateway}\nfunctions:\n  a: {{image: a}}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("list",), "GET /system/functions"),
        (("describe", "a"), "GET /system/function/a?usage=1"),
        (("logs", "a", "--no-tail"), "GET /system/logs?name=a&follow=false&tail=-1"),
        (("version",), "GET /system/info"),
    ],
    ids=["list", "describe", "logs", "version"],
)
@pytest.mark.parametrize("name", ["stack.yml", "other.yml"])
def test_reading_verbs_ask_the_gateway_of_the_stack_file(
    gateway: ScriptedGateway,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: tuple[str, ...],
    line: str,
) -> None:
    stack_file(here, gateway.url, name)
    monkeypatch.setenv("OPENFAAS_URL", NOWHERE)
    monkeypatch.delenv("PENSTOCK_URL")
    run_cli(*arguments, *(("-f", name) if name == "other.yml" else ()))
    assert gateway.lines[:1] == [line]


def test_the_flag_wins_over_the_file_and_the_file_is_not_read(gateway: ScriptedGateway, here: Path) -> None:
    (here / "stack.yml").write_text("functions: [")
    gateway.on("GET /system/functions", answer_json([]))
    result = run_cli("list", "-g", gateway.url)
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_default_gateway_in_a_file_leaves_it_to_the_environment(gateway: ScriptedGateway, here: Path) -> None:
    stack_file(here, "http://127.0.0.1:8080")
    gateway.on("GET /system/functions", answer_json([]))
    assert run_cli("list").exit_code == 0


def test_a_file_here_that_is_something_else_is_a_warning_and_a_named_one_an_error(
    gateway: ScriptedGateway, here: Path
) -> None:
    (here / "stack.yaml").write_text("functions: [")
    gateway.on("GET /system/functions", answer_json([]))
    result = run_cli("list")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: ") and "stack.yaml" in result.stderr
    assert run_cli("list", "-f", "stack.yaml").exit_code == 2
    assert run_cli("list", "-f", "nosuch.yml").exit_code == 1


def test_secrets_and_namespaces_leave_the_file_alone(gateway: ScriptedGateway, here: Path) -> None:
    stack_file(here, NOWHERE)
    gateway.on("GET /system/namespaces", answer_json(["openfaas-fn"]))
    gateway.on("GET /system/secrets", answer_json([]))
    assert run_cli("namespace", "list").exit_code == 0
    assert run_cli("secret", "list").exit_code == 0


def test_a_group_passes_its_gateway_and_token_on(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_URL", NOWHERE)
    gateway.on("GET /system/namespaces", Answer(200, b"[]"))
    assert run_cli("namespace", "-g", gateway.url, "-k", "abc", "--tls-no-verify", "list").exit_code == 0
    assert run_cli("ns", "-g", NOWHERE, "-k", "abc", "list", "-g", gateway.url, "-k", "def").exit_code == 0
    assert [request.headers["Authorization"] for request in gateway.requests] == ["Bearer abc", "Bearer def"]
