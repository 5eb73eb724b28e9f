"""`penstock describe`: the aligned fields, the replicas, and JSON."""

from __future__ import annotations

import json

from tests.unit.cli.support import ScriptedGateway, answer_json, run_cli

FUNCTION = {
    "name": "words",
    "image": "",
    "envProcess": "wc -w",
    "replicas": 2,
    "availableReplicas": 1,
    "labels": {"b": "2", "a": "1"},
    "annotations": {},
    "limits": {"memory": "128Mi", "cpu": "500m"},
    "usage": {"cpu": 12.4, "totalMemoryBytes": 3145728},
    "instances": [
        {"id": "words-1", "state": "ready", "restarts": 0},
        {"id": "words-2", "state": "backoff", "restarts": 4, "reason": "exit code 1"},
    ],
}


def script(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/words?usage=1", answer_json(FUNCTION))
    gateway.on("GET /system/functions", answer_json([{"name": "other"}, {"name": "words", "invocationCount": 41}]))


def test_fields_are_aligned_and_empty_ones_left_out(gateway: ScriptedGateway) -> None:
    script(gateway)
    text = run_cli("describe", "words").stdout
    head, _, replicas = text.partition("\n\n")
    assert head == (
        f"Name:               words\n"
        f"Status:             Ready\n"
        f"Replicas:           2\n"
        f"Available Replicas: 1\n"
        f"Invocations:        41\n"
        f"Image:              <none>\n"
        f"Function Process:   wc -w\n"
        f"URL:                {gateway.url}/function/words\n"
        f"Async URL:          {gateway.url}/async-function/words\n"
        f"Labels:             a: 1\n"
        f"                    b: 2\n"
        f"Limits:             CPU: 500m\n"
        f"                    Memory: 128Mi\n"
        f"Usage:              RAM: 3.00 MiB\n"
        f"                    CPU: 12 m"
    )
    assert [line.split() for line in replicas.splitlines()] == [
        ["Instance", "State", "Restarts", "Reason"],
        ["words-1", "ready", "0"],
        ["words-2", "backoff", "4", "exit", "code", "1"],
    ]


def test_verbose_shows_empty_fields(gateway: ScriptedGateway) -> None:
    script(gateway)
    assert "Annotations:        <none>\n" in run_cli("describe", "words", "-v").stdout


def test_json_has_the_gateways_fields_and_four_more(gateway: ScriptedGateway) -> None:
    script(gateway)
    value = json.loads(run_cli("describe", "words", "--output", "json").stdout)
    more = {
        "Status": "Ready",
        "InvocationCount": 41,
        "URL": f"{gateway.url}/function/words",
        "AsyncURL": f"{gateway.url}/async-function/words",
    }
    assert value == {**FUNCTION, **more}


def test_namespace_is_asked_for_and_shown(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/words?usage=1&namespace=staging", answer_json({"name": "words"}))
    gateway.on("GET /system/functions?namespace=staging", answer_json([]))
    text = run_cli("describe", "words", "-n", "staging").stdout
    assert f"URL:                {gateway.url}/function/words.staging\n" in text
    assert "Status:             Not Ready\n" in text


def test_a_name_that_no_path_can_carry_is_refused(gateway: ScriptedGateway) -> None:
    for name in ("", "..", "a/b", "a\nb"):
        assert run_cli("describe", name).exit_code == 2
    assert gateway.requests == []


def test_a_traceback_is_shown_once_below_the_table(gateway: ScriptedGateway) -> None:
    reason = "importing failed\n  Traceback\n  ValueError: \x1b[31m"
    broken = [{"id": f"words-{number}", "state": "failed", "restarts": 0, "reason": reason} for number in (1, 2)]
    gateway.on("GET /system/function/words?usage=1", answer_json({**FUNCTION, "instances": broken}))
    gateway.on("GET /system/functions", answer_json([]))
    text = run_cli("describe", "words").stdout
    assert text.endswith("\nwords-1:\n  Traceback\n  ValueError: \ufffd[31m\n")
    assert text.count("importing failed") == 2
    assert text.count("Traceback") == 1
