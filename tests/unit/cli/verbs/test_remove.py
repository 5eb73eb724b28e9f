"""`penstock remove`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.support import Answer, ScriptedGateway, run_cli


def test_name_and_namespace_go_into_the_body(gateway: ScriptedGateway) -> None:
    gateway.on("DELETE /system/functions", Answer(202))
    result = run_cli("remove", "words", "-n", "staging")
    assert gateway.requests[0].json == {"functionName": "words", "namespace": "staging"}
    assert result.stdout == "Deleting: words.staging\nRemoving old function.\n"


def test_without_a_namespace_none_is_sent(gateway: ScriptedGateway) -> None:
    gateway.on("DELETE /system/functions", Answer(202))
    assert run_cli("rm", "words").stdout.startswith("Deleting: words\n")
    assert gateway.requests[0].json == {"functionName": "words"}


def test_several_functions_are_removed_in_order(gateway: ScriptedGateway) -> None:
    gateway.on("DELETE /system/functions", Answer(202))
    run_cli("remove", "a", "b")
    assert [request.json["functionName"] for request in gateway.requests] == ["a", "b"]


def test_a_missing_function_exits_1(gateway: ScriptedGateway) -> None:
    result = run_cli("remove", "ghost")
    assert result.exit_code == 1
    assert "there is no function 'ghost'" in result.stderr


def stack_file(directory: Path) -> str:
    (directory / "s.yml").write_text("functions:\n  a: {image: x, namespace: own}\n  b: {image: x}\n  c: {image: x}\n")
    return str(directory / "s.yml")


def test_all_functions_of_a_stack_file_are_removed(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.on("DELETE /system/functions", Answer(202), Answer(404), Answer(202))
    result = run_cli("remove", "-f", stack_file(tmp_path))
    assert result.exit_code == 0
    assert [request.json for request in gateway.requests] == [
        {"functionName": "a", "namespace": "own"},
        {"functionName": "b"},
        {"functionName": "c"},
    ]
    assert "There is no function 'b' to remove." in result.stderr


def test_one_that_cannot_be_removed_keeps_none_of_the_others(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.on("DELETE /system/functions", Answer(500, b"busy"), Answer(202))
    result = run_cli("remove", "-f", stack_file(tmp_path))
    assert result.exit_code == 1 and len(gateway.requests) == 3
    assert "function 'a': the gateway answered 500" in result.stderr
    assert "1 of 3 functions could not be removed: a" in result.stderr


def test_names_or_a_stack_file_and_one_of_them(
    gateway: ScriptedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli("remove", "a", "-f", stack_file(tmp_path)).exit_code == 2
    result = run_cli("remove")
    assert result.exit_code == 2 and "nothing to remove: give names, or a stack file" in result.stderr
    assert gateway.requests == []


def test_a_success_of_something_else_than_a_gateway_is_a_failure(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.on("DELETE /system/functions", Answer(200, b"<!DOCTYPE html><title>It works</title>"))
    (tmp_path / "stack.yml").write_text(
        f"provider: {{name: openfaas, gateway: {gateway.url}}}\nfunctions: {{a: {{image: i}}, b: {{image: i}}}}\n"
    )
    for arguments in (("remove", "a"), ("remove", "-f", str(tmp_path / "stack.yml"))):
        result = run_cli(*arguments)
        assert result.exit_code == 3
        assert f"what answers at {gateway.url} is not a gateway" in result.stderr
        assert "Removing old function" not in result.stdout


def test_pipelines_of_a_stack_file_are_removed_before_its_functions(gateway: ScriptedGateway, tmp_path: Path) -> None:
    file = tmp_path / "stack.yml"
    file.write_text("functions: {a: {image: x}}\npipelines: {p: {stages: a, namespace: dev}}\n")
    gateway.on("DELETE /system/functions", Answer(202))
    assert run_cli("remove", "-f", str(file)).exit_code == 0
    assert [request.json for request in gateway.requests] == [
        {"functionName": "p", "namespace": "dev"},
        {"functionName": "a"},
    ]
