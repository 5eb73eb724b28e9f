"""`/system/function/{name}/scaling`, and numbers set by hand that it tells of."""

from __future__ import annotations

from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import Client


async def test_it_tells_labels_as_read_load_and_decisions(client: Client) -> None:
    await client.deploy("cat", labels={"com.openfaas.scale.max": "7", "com.openfaas.scale.zero": "true"})
    assert (await client.call("POST", "/system/scale-function/cat", {"replicas": 4})).status == 202
    answer = await client.get("/system/function/cat/scaling")
    assert answer.status == 200
    told = answer.json
    assert (told["function"], told["namespace"], told["leader"], told["autoscaling"]) == (
        "cat",
        "openfaas-fn",
        True,
        True,
    )
    assert told["scaling"] == {
        "min": 1,
        "max": 7,
        "factor": 10,
        "type": "rps",
        "target": 50,
        "proportion": 0.9,
        "downWindow": 30,
        "zero": True,
        "zeroAfter": 900,
        "learned": False,
        "query": "",
    }
    assert told["faults"] == []
    assert told["load"] == {"kind": "rps", "value": None, "unknown": "nothing has been measured yet"}
    assert (told["floor"], told["floorBy"], told["restsAfter"]) == (4, "hand", 900)
    assert told["alert"] == {"last": None, "hint": ""}
    (decision,) = told["decisions"]
    assert decision.pop("when").endswith("Z")
    assert decision == {"rule": "hand", "before": 1, "after": 4, "reason": "set by hand"}


async def test_namespaces_are_told_apart(client: Client) -> None:
    await client.call("POST", "/system/namespace/", {"name": "team"})
    await client.deploy("cat", namespace="team")
    assert (await client.get("/system/function/cat/scaling?namespace=team")).json["namespace"] == "team"
    assert (await client.get("/system/function/cat/scaling")).status == 404


async def test_a_name_that_only_alerts_have_mentioned_has_no_more_than_decisions(client: Client) -> None:
    notification = {"alerts": [{"status": "firing", "labels": {"function_name": "ghost"}}]}
    await client.call("POST", "/system/alert", notification)
    told = (await client.get("/system/function/ghost/scaling")).json
    assert list(told) == ["decisions"]
    assert told["decisions"][0]["reason"] == "an alert names a function that there is not"


async def test_unknown_and_impossible_names_are_404(client: Client) -> None:
    for name in ("nobody", "..", "a%0Ab", "A"):
        assert (await client.get(f"/system/function/{name}/scaling")).status == 404


async def test_a_number_for_a_function_that_there_is_not_is_404(client: Client, provider: MemoryProvider) -> None:
    assert (await client.call("POST", "/system/scale-function/nobody", {"replicas": 4})).status == 404


async def test_a_pipeline_has_no_scaling_to_tell_of(client: Client) -> None:
    await client.deploy("flow", envProcess="", pipeline=["sort"])
    answer = await client.get("/system/function/flow/scaling")
    assert (answer.status, "has no replicas of its own; scale sort.openfaas-fn" in answer.text) == (400, True)
