"""`penstock namespace`."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli


def test_create_posts_to_the_path_with_a_slash_and_marks_the_namespace(gateway: ScriptedGateway) -> None:
    gateway.on("POST /system/namespace/", Answer(201))
    assert run_cli("namespace", "create", "staging", "-l", "team=red", "--annotation", "owner=kim").exit_code == 0
    assert gateway.requests[0].json == {
        "name": "staging",
        "labels": {"team": "red", "openfaas": "1"},
        "annotations": {"owner": "kim", "openfaas": "1"},
    }


def test_create_of_one_that_exists_exits_1(gateway: ScriptedGateway) -> None:
    gateway.on("POST /system/namespace/", Answer(409, b"namespace staging already exists"))
    result = run_cli("ns", "create", "staging")
    assert result.exit_code == 1
    assert "namespace staging already exists" in result.stderr


def test_update_puts_to_its_path(gateway: ScriptedGateway) -> None:
    gateway.on("PUT /system/namespace/staging", Answer(202))
    assert run_cli("ns", "update", "staging", "-l", "team=blue").exit_code == 0
    assert gateway.requests[0].json["labels"] == {"team": "blue", "openfaas": "1"}


@pytest.mark.parametrize("alias", ["remove", "rm", "delete"])
def test_remove_sends_name_and_mark(gateway: ScriptedGateway, alias: str) -> None:
    gateway.on("DELETE /system/namespace/staging", Answer(202))
    assert run_cli("ns", alias, "staging").exit_code == 0
    assert gateway.requests[0].json == {"name": "staging", "labels": {"openfaas": "1"}}


def test_list_in_both_formats(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/namespaces", answer_json(["openfaas-fn", "staging"]))
    assert run_cli("ns", "list").stdout == "Namespaces:\n - openfaas-fn\n - staging\n"
    assert json.loads(run_cli("ns", "ls", "-j").stdout) == ["openfaas-fn", "staging"]


def test_get_in_both_formats(gateway: ScriptedGateway) -> None:
    namespace = {"name": "staging", "labels": {"openfaas": "1"}}
    gateway.on("GET /system/namespace/staging", answer_json(namespace))
    expected = "Name:        staging\nLabels:      openfaas: 1\nAnnotations: <none>\n"
    assert run_cli("ns", "get", "staging").stdout == expected
    assert json.loads(run_cli("ns", "get", "staging", "-o", "json").stdout) == namespace


def test_names_that_would_leave_the_path_are_refused(gateway: ScriptedGateway) -> None:
    for verb in ("get", "create", "update", "remove"):
        assert run_cli("ns", verb, "../functions").exit_code == 2
    assert gateway.requests == []
