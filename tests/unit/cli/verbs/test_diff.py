"""`penstock diff`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.support import ScriptedGateway, answer_json, run_cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("stack.yml").write_text("functions:\n  a: {image: a, environment: {A: 1}}\n  b: {image: b, namespace: own}\n")


SAME = {"name": "a", "image": "a:latest", "envVars": {"A": "1", "B": "2"}, "labels": {"faas_function": "a"}}


def test_no_differences(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/a", answer_json(SAME))
    gateway.on("GET /system/function/b?namespace=own", answer_json({"name": "b", "image": "b:latest"}))
    result = run_cli("diff")
    assert result.exit_code == 0
    assert result.stdout == "stack.yml matches what is deployed, no differences found.\n"
    assert run_cli("diff", "--env", "all").exit_code == 1


def test_differences_in_two_columns_end_with_1(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/a", answer_json({**SAME, "image": "a:old"}))
    result = run_cli("diff")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "a"
    assert lines[3].split() == ["-", "image:", "a:latest", "|", "+", "image:", "a:old"]
    assert "b.own" in lines and any("not deployed" in line for line in lines)
    assert "2 of 2 functions differ: a, b.own" in result.stderr


def test_json(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/a", answer_json({**SAME, "image": "a:old"}))
    result = run_cli("diff", "--output", "json", "--filter", "a")
    assert result.exit_code == 1
    [found] = json.loads(result.stdout)
    assert found["differences"] == [{"field": "image", "wanted": "a:latest", "deployed": "a:old"}]


def test_one_that_cannot_be_compared_does_not_keep_the_others_from_it(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text(
        "functions:\n  lost: {handler: ./nowhere.py}\n  broken: {fprocess: cat}\n  a: {image: a}\n  lost-too: {handler: ./no}\n"
    )
    gateway.on("GET /system/function/a", answer_json({**SAME, "image": "a:old"}))
    gateway.on("GET /system/function/broken", answer_json("no function", 500))
    result = run_cli("diff")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "a"
    *said, last = result.stderr.splitlines()
    assert said[0].startswith("Error: function 'lost': stack.yml:2: handler: there is no file or folder './nowhere.py'")
    assert said[1].startswith("Error: function 'broken': the gateway answered 500")
    assert said[2].startswith("Error: function 'lost-too': stack.yml:5: handler: ")
    assert last == ("Error: 1 of 4 functions differ: a; 3 of 4 functions cannot be compared: lost, broken, lost-too")
    found = json.loads(run_cli("diff", "--json").stdout)
    assert [bool(each["error"]) for each in found] == [True, True, False, True]


def test_a_gateway_that_cannot_be_asked_is_said_once(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/a", answer_json("", 401))
    result = run_cli("diff")
    assert result.exit_code == 4 and result.stderr.count("Error: ") == 1


def test_a_pipeline_is_compared_by_its_stages(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text("pipelines:\n  p: {stages: sort | uniq}\n  q: {stages: [sort]}\n")
    labels = {"faas_function": "p"}
    gateway.on(
        "GET /system/function/p",
        answer_json({"name": "p", "image": "", "pipeline": ["sort", "uniq"], "labels": labels}),
    )
    gateway.on("GET /system/function/q", answer_json({"name": "q", "image": "", "pipeline": ["rev"]}))
    result = run_cli("diff")
    assert result.exit_code == 1
    assert "1 of 2 functions differ: q" in result.stderr
    assert result.stdout.splitlines()[3].split() == ["-", "stages:", "sort", "|", "+", "stages:", "rev"]
