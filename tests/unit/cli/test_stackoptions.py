"""Which stack file, which functions of it, and which gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.config import basic_token, config_path, save_login
from tests.unit.cli.support import ScriptedGateway, answer_json, run_cli

DEPLOYED = answer_json({"name": "a", "image": "a:latest", "replicas": 1, "availableReplicas": 1})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def write(gateway: str, name: str = "stack.yml") -> None:
    Path(name).write_text(f"provider:\n  name: openfaas\n  gateway: {gateway}\nfunctions:\n  a: {{image: a}}\n")


def asked(gateway: ScriptedGateway) -> bool:
    gateway.on("GET /system/function/a", DEPLOYED)
    result = run_cli("diff")
    return result.exit_code == 0 and "GET /system/function/a" in gateway.lines


def test_the_gateway_of_the_file_wins_over_the_environment(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(gateway.url)
    monkeypatch.setenv("PENSTOCK_URL", "http://127.0.0.1:1")
    assert asked(gateway)


@pytest.mark.parametrize("written", ["http://127.0.0.1:8080", "http://127.0.0.1:8080/", "''"])
def test_a_file_that_names_the_default_leaves_it_to_the_environment(gateway: ScriptedGateway, written: str) -> None:
    write(written)
    assert asked(gateway)


def test_a_flag_wins_over_all(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    write("http://127.0.0.1:1")
    monkeypatch.setenv("PENSTOCK_URL", "http://127.0.0.1:2")
    gateway.on("GET /system/function/a", DEPLOYED)
    assert run_cli("diff", "--gateway", gateway.url).exit_code == 0


def test_the_login_is_that_of_the_gateway_of_the_file(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    write(gateway.url)
    monkeypatch.delenv("PENSTOCK_URL")
    token = basic_token("admin", "secret")
    save_login(config_path(os.environ), gateway.url, token)
    assert asked(gateway)
    assert gateway.requests[0].headers["Authorization"] == f"Basic {token}"
    gateway.requests.clear()
    run_cli("diff", "--token", "t")
    assert gateway.requests[0].headers["Authorization"] == "Bearer t"


def test_warnings_go_to_stderr_and_faults_end_with_2(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text("functions:\n  a: {image: a, enviroment: {}}\n")
    result = run_cli("generate")
    assert result.exit_code == 0
    assert "Warning: stack.yml:2: function 'a' has no key 'enviroment'" in result.stderr
    assert "Warning" not in result.stdout
    Path("stack.yml").write_text("functions: [a]\n")
    result = run_cli("generate")
    assert result.exit_code == 2 and "stack.yml:1: functions must be a mapping" in result.stderr


def test_no_file_no_fitting_function_and_both_ways_to_choose(gateway: ScriptedGateway) -> None:
    assert "there is no stack.yaml or stack.yml here" in run_cli("generate").stderr
    write(gateway.url)
    result = run_cli("generate", "--filter", "b*")
    assert result.exit_code == 1 and "no function of stack.yml fits 'b*'; it has a" in result.stderr
    assert run_cli("generate", "--filter", "a", "--regex", "a").exit_code == 2


def test_envsubst_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMG", "set")
    Path("s.yml").write_text("functions: {a: {image: x, fprocess: '${IMG}'}}")
    assert "handler: set" in run_cli("generate", "-f", "s.yml").stdout
    for flag in ("--no-envsubst", "--envsubst=false"):
        assert 'handler: "${IMG}"' in run_cli("generate", "-f", "s.yml", flag).stdout
