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


SCALING = {
    "autoscaling": True,
    "leader": True,
    "scaling": {"min": 1, "max": 20, "type": "capacity", "target": 2.0, "proportion": 0.9, "learned": True},
    "faults": ["labels: com.openfaas.scale.target='many' must be a number above 0 and not above 1e+09"],
    "load": {"kind": "capacity", "value": 3.25},
    "floor": 4,
    "floorBy": "alert",
    "idleFor": 12.3,
    "restsAfter": 900.0,
    "learning": {"pauses": 8, "needed": 8},
    "alert": {"last": "2026-01-01T00:00:00Z", "hint": "its alert came after 300 s"},
    "decisions": [
        {
            "when": f"2026-01-01T00:00:0{second}.5Z",
            "rule": "load",
            "before": second,
            "after": second + 1,
            "reason": "so it is",
        }
        for second in range(6)
    ]
    + [
        {
            "when": "2026-01-01T00:00:09Z",
            "rule": "load",
            "before": 6,
            "after": 9,
            "reason": "more",
            "failed": "no engine",
        }
    ],
}


def described(gateway: ScriptedGateway, **changes: object) -> str:
    script(gateway)
    gateway.on("GET /system/function/words/scaling", answer_json({**SCALING, **changes}))
    return run_cli("describe", "words").stdout


def test_why_there_are_so_many_replicas_is_told(gateway: ScriptedGateway) -> None:
    text = described(gateway)
    for line in (
        "Scaling:            1 to 20 replicas",
        "Target:             capacity, 2 a replica, 90% of it used",
        "Load:               3.25",
        "Held:               at 4 or more, by an alert",
        "Rests:              after 900 s without a request (learned); idle for 12 s",
        "Alerts:             its alert came after 300 s",
        "Label Faults:       labels: com.openfaas.scale.target='many' must be a number above 0 and not above 1e+09",
    ):
        assert f"{line}\n" in text
    assert "Decided:" not in text


def test_how_many_pauses_were_seen_is_told_until_something_is_learned(gateway: ScriptedGateway) -> None:
    assert "without a request (learning, 3 of 8 pauses); idle" in described(
        gateway, learning={"pauses": 3, "needed": 8}
    )


def test_a_usual_time_is_not_called_learned(gateway: ScriptedGateway) -> None:
    text = described(gateway, learning=None)
    assert "Rests:              after 900 s without a request; idle for 12 s\n" in text


def test_the_last_five_decisions_are_told_newest_last(gateway: ScriptedGateway) -> None:
    lines = described(gateway).splitlines()[-6:]
    assert lines[0].split() == ["When", "Rule", "Replicas", "Reason"]
    assert lines[1].split("\t")[0].strip() == "2026-01-01 00:00:02"
    assert [cell.strip() for cell in lines[-1].split("\t")] == [
        "2026-01-01 00:00:09",
        "load",
        "6 -> 9",
        "more; failed: no engine",
    ]


def test_json_has_all_that_is_known_of_scaling(gateway: ScriptedGateway) -> None:
    script(gateway)
    gateway.on("GET /system/function/words/scaling", answer_json(SCALING))
    assert json.loads(run_cli("describe", "words", "--output", "json").stdout)["Scaling"] == SCALING


def test_a_load_that_nobody_knows_says_why(gateway: ScriptedGateway) -> None:
    text = described(
        gateway, load={"kind": "cpu", "value": None, "unknown": "not measured here"}, floor=0, restsAfter=None
    )
    assert "Load:               not known: not measured here\n" in text
    assert "Held:" not in text
    assert "Rests:" not in text


def test_bounds_say_what_may_change_the_replicas(gateway: ScriptedGateway) -> None:
    same = {**SCALING["scaling"], "min": 3, "max": 3}  # type: ignore[dict-item]
    assert "Scaling:            3 replicas, whatever the load\n" in described(gateway, scaling=same)
    assert "1 to 20 replicas, by alerts and by hand only\n" in described(gateway, autoscaling=False)
    assert "Decided:            by another gateway, which knows why\n" in described(gateway, leader=False)


FLOW = {
    "name": "flow",
    "namespace": "openfaas-fn",
    "image": "",
    "pipeline": ["sort/a?b=c", "inner", "gone.dev", "weak"],
    "labels": {"a": "1"},
    "annotations": {},
}


def script_pipeline(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/flow?usage=1", answer_json(FLOW))
    gateway.on("GET /system/functions", answer_json([{"name": "flow", "invocationCount": 41}]))
    sort = {"name": "sort", "replicas": 2, "availableReplicas": 1}
    weak = {**FUNCTION, "name": "weak", "availableReplicas": 0}
    inner = {"name": "inner", "namespace": "openfaas-fn", "pipeline": ["sort", "weak"]}
    for function in (sort, weak, inner):
        gateway.on(f"GET /system/function/{function['name']}?namespace=openfaas-fn", answer_json(function))


def test_a_pipeline_has_stages_with_their_states_in_place_of_replicas(gateway: ScriptedGateway) -> None:
    script_pipeline(gateway)
    head, _, stages = run_cli("describe", "flow").stdout.partition("\n\n")
    assert head == (
        f"Name:        flow\n"
        f"Status:      Not Ready\n"
        f"Invocations: 41\n"
        f"Pipeline:    sort/a?b=c | inner | gone.dev | weak\n"
        f"URL:         {gateway.url}/function/flow\n"
        f"Async URL:   {gateway.url}/async-function/flow\n"
        f"Labels:      a: 1"
    )
    assert [[cell.strip() for cell in line.split("\t")] for line in stages.splitlines()] == [
        ["Stage", "Function", "State"],
        ["sort/a?b=c", "sort.openfaas-fn", "ready, 1 of 2"],
        ["inner", "inner.openfaas-fn", "a pipeline: weak.openfaas-fn is not ready: exit code 1"],
        ["gone.dev", "gone.dev", "not deployed"],
        ["weak", "weak.openfaas-fn", "not ready: exit code 1"],
    ]
    assert not [line for line in gateway.lines if "scaling" in line]


def test_json_of_a_pipeline_has_each_stage_with_its_state(gateway: ScriptedGateway) -> None:
    script_pipeline(gateway)
    told = json.loads(run_cli("describe", "flow", "--output", "json").stdout)
    assert (told["pipeline"], told["Status"]) == (FLOW["pipeline"], "Not Ready")
    assert told["Stages"][0] == {
        "stage": "sort/a?b=c",
        "function": "sort.openfaas-fn",
        "ready": True,
        "state": "ready, 1 of 2",
    }
