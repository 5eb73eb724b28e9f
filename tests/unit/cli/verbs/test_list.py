"""`penstock list`: columns, order and JSON."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.support import ScriptedGateway, answer_json, run_cli

FUNCTIONS = [
    {"name": "b", "image": "img:2", "invocationCount": 7.0, "replicas": 2, "createdAt": "2026-01-01T00:00:00Z", "x": 1},
    {"name": "a", "image": "", "replicas": 1, "createdAt": "2026-01-02T00:00:00Z"},
]


def test_piped_output_has_the_columns_of_faas_cli(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json(FUNCTIONS))
    lines = run_cli("list").stdout.splitlines()
    assert lines == [
        f"{'Function':30}\t{'Invocations':15}\t{'Replicas':5}",
        f"{'a':30}\t{'0':15}\t{'1':5}",
        f"{'b':30}\t{'7':15}\t{'2':5}",
    ]


def test_verbose_adds_image_and_creation(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json(FUNCTIONS))
    lines = run_cli("list", "-v").stdout.splitlines()
    assert lines[2] == f"{'b':30}\t{'img:2':40}\t{'7':15}\t{'2':5}\t2026-01-01T00:00:00Z"


def test_quiet_prints_names_by_the_asked_order(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json(FUNCTIONS))
    assert run_cli("list", "-q").stdout == "a\nb\n"
    assert run_cli("list", "-q", "--sort", "invocations").stdout == "b\na\n"
    assert run_cli("list", "-q", "--sort", "creation").stdout == "b\na\n"


def test_json_keeps_everything_the_gateway_said(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json(FUNCTIONS))
    assert json.loads(run_cli("list", "-j").stdout) == [FUNCTIONS[1], FUNCTIONS[0]]
    assert json.loads(run_cli("list", "--output", "json").stdout) == [FUNCTIONS[1], FUNCTIONS[0]]


def test_empty_list_is_an_empty_json_array(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    assert run_cli("list", "-j").stdout == "[]\n"


def test_namespace_goes_into_the_query(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions?namespace=staging", answer_json([]))
    assert run_cli("ls", "-n", "staging").exit_code == 0


@pytest.mark.parametrize("namespace", ["a&b=c", "a/../b", "Upper", "a b", "ä", "a" * 64])
def test_an_unusable_namespace_is_refused_before_any_request(gateway: ScriptedGateway, namespace: str) -> None:
    assert run_cli("list", "-n", namespace).exit_code == 2
    assert gateway.requests == []


def test_control_characters_of_a_gateway_do_not_reach_the_terminal(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([{"name": "a\x1b[2Jb\n"}]))
    assert run_cli("list", "-q").stdout == "a\ufffd[2Jb\ufffd\n"


def test_a_pipeline_is_one_in_place_of_an_image_and_has_no_replicas(gateway: ScriptedGateway) -> None:
    flow = {
        "name": "flow",
        "image": "",
        "pipeline": ["sort"],
        "invocationCount": 3.0,
        "createdAt": "2026-01-01T00:00:00Z",
    }
    gateway.on("GET /system/functions", answer_json([flow]))
    assert run_cli("list").stdout.splitlines()[1] == f"{'flow':30}\t{'3':15}\t{'-':5}"
    assert run_cli("list", "-v").stdout.splitlines()[1] == (
        f"{'flow':30}\t{'pipeline':40}\t{'3':15}\t{'-':5}\t2026-01-01T00:00:00Z"
    )
    assert json.loads(run_cli("list", "-j").stdout) == [flow]
