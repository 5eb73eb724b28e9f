"""`penstock ready`."""

from __future__ import annotations

from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli

QUICK = ("--interval", "1ms", "--attempts", "3")


def test_a_gateway_is_waited_for(gateway: ScriptedGateway) -> None:
    gateway.on("GET /healthz", Answer(503), Answer(503), Answer(200))
    result = run_cli("ready", *QUICK)
    assert result.exit_code == 0 and result.stdout == "The gateway is ready\n"
    assert "[3/3] Waiting for gateway: it answers 503 to /healthz" in result.stderr
    assert "Authorization" not in gateway.requests[0].headers


def test_a_function_is_waited_for_also_when_it_is_not_there_yet(gateway: ScriptedGateway) -> None:
    gateway.on(
        "GET /system/function/words?namespace=staging",
        Answer(404),
        answer_json({"name": "words", "replicas": 1, "availableReplicas": 0}),
        answer_json({"name": "words", "replicas": 1, "availableReplicas": 1}),
    )
    result = run_cli("ready", "words", "-n", "staging", *QUICK)
    assert result.exit_code == 0 and result.stdout == "Function words is ready\n"
    assert "0 of 1 replicas answer" in result.stderr


def test_it_gives_up_after_so_many_looks(gateway: ScriptedGateway) -> None:
    gateway.on("GET /healthz", Answer(503))
    result = run_cli("ready", *QUICK)
    assert result.exit_code == 1 and len(gateway.requests) == 3
    assert "gateway is not ready after 3 looks: it answers 503" in result.stderr
    assert run_cli("ready", "--attempts", "0").exit_code == 2


def test_no_gateway_at_all_ends_with_3() -> None:
    result = run_cli("ready", "-g", "http://127.0.0.1:1", *QUICK)
    assert result.exit_code == 3 and "not ready after 3 looks: cannot reach a gateway" in result.stderr


def test_a_web_server_that_has_a_page_for_everything_is_no_gateway(gateway: ScriptedGateway) -> None:
    gateway.on(
        "GET /healthz", Answer(200, b"<!DOCTYPE html>" + b"x" * 100_000), Answer(200, b"<html>"), Answer(200, b"OK")
    )
    result = run_cli("ready", *QUICK)
    assert (result.exit_code, result.stdout) == (0, "The gateway is ready\n")
    assert f"what answers at {gateway.url} is not a gateway" in result.stderr
    gateway.on("GET /healthz", Answer(200, b"<html>"))
    assert run_cli("ready", *QUICK).exit_code == 3


def test_a_pipeline_is_waited_for_by_its_stages(gateway: ScriptedGateway) -> None:
    flow = {"name": "flow", "namespace": "dev", "pipeline": ["sort/x", "rest.other", "inner", "sort"]}
    gateway.on("GET /system/function/flow?namespace=dev", answer_json(flow))
    gateway.on("GET /system/function/rest?namespace=other", answer_json({"name": "rest", "replicas": 0}))
    gateway.on(
        "GET /system/function/sort?namespace=dev",
        Answer(404),
        answer_json({"name": "sort", "replicas": 2, "availableReplicas": 0}),
        answer_json({"name": "sort", "replicas": 2, "availableReplicas": 1}),
    )
    gateway.on(
        "GET /system/function/inner?namespace=dev",
        answer_json({"name": "inner", "namespace": "dev", "pipeline": ["sort"]}),
    )
    result = run_cli("ready", "flow", "-n", "dev", *QUICK)
    assert (result.exit_code, result.stdout) == (0, "Function flow is ready\n")
    assert "[2/3] Waiting for function flow: sort.dev is not deployed" in result.stderr
    assert "[3/3] Waiting for function flow: sort.dev is not ready, 0 of 2" in result.stderr


def test_pipelines_that_contain_each_other_do_not_hold_it_up_for_ever(gateway: ScriptedGateway) -> None:
    for name, stage in (("a", "b"), ("b", "a")):
        pipeline = answer_json({"name": name, "namespace": "openfaas-fn", "pipeline": [stage]})
        gateway.on(f"GET /system/function/{name}?namespace=openfaas-fn", pipeline)
        gateway.on(f"GET /system/function/{name}", pipeline)
    result = run_cli("ready", "a", *QUICK)
    assert result.exit_code == 1
    assert "part of a cycle" in result.stderr
