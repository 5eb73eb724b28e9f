"""`/system/functions` and `/system/function/{name}` as faas-cli and the SDKs use them."""

from __future__ import annotations

import re

import pytest

from penstock.control.feed import Feed
from penstock.control.request import MAX_BODY
from penstock.errors import NamespaceNotFound
from penstock.gateway.messages import Completed, Counters
from penstock.model import Function
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import Client, until

KEY = "cat.openfaas-fn"


async def available(provider: MemoryProvider, name: str = "cat") -> None:
    """Wait until the function's replica answers."""
    functions = {function.spec.name: function for function in await provider.list("openfaas-fn")}
    while not functions[name].available:
        changed = provider.watch()
        async for event in changed:
            if event.function and event.function.spec.name == name and event.function.available:
                return


async def test_an_empty_list_is_an_empty_array_never_null(client: Client) -> None:
    answer = await client.get("/system/functions")
    assert (answer.status, answer.body) == (200, b"[]")
    assert answer.headers["content-type"] == "application/json"


async def test_without_a_default_namespace_its_list_is_empty_unless_it_is_asked_for(
    client: Client, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(namespace: str) -> list[Function]:
        raise NamespaceNotFound(f"namespace {namespace} not found")

    monkeypatch.setattr(provider, "list", refuse)
    answer = await client.get("/system/functions")
    assert (answer.status, answer.body) == (200, b"[]")
    assert (await client.get("/system/functions?namespace=openfaas-fn")).status == 404


async def test_deploy_answers_202_without_body(client: Client) -> None:
    answer = await client.deploy("cat")
    assert (answer.status, answer.body) == (202, b"")


async def test_deploying_what_exists_is_400_and_says_what_to_do(client: Client) -> None:
    await client.deploy("cat")
    answer = await client.deploy("cat")
    assert (answer.status, answer.text) == (400, "function cat.openfaas-fn already exists; use PUT to update it\n")


async def test_updating_what_is_missing_is_404_so_that_clients_fall_back_to_deploy(client: Client) -> None:
    answer = await client.call("PUT", "/system/functions", {"service": "cat", "envProcess": "cat"})
    assert answer.status == 404
    assert KEY in answer.text


async def test_an_update_replaces_the_specification(client: Client) -> None:
    await client.deploy("cat", labels={"a": "1"})
    answer = await client.call("PUT", "/system/functions", {"service": "cat", "envProcess": "tac"})
    assert (answer.status, answer.body) == (202, b"")
    status = (await client.get("/system/function/cat")).json
    assert (status["envProcess"], status["labels"]) == ("tac", {"faas_function": "cat"})


async def test_delete_takes_the_name_from_the_body(client: Client) -> None:
    await client.deploy("cat")
    answer = await client.call("DELETE", "/system/functions", {"functionName": "cat", "namespace": "openfaas-fn"})
    assert (answer.status, answer.body) == (202, b"")
    assert (await client.get("/system/functions")).json == []


async def test_deleting_what_is_missing_is_404(client: Client) -> None:
    assert (await client.call("DELETE", "/system/functions", {"functionName": "cat"})).status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"functionName": ""}', b'{"functionName": "../x"}'])
async def test_a_delete_without_a_usable_name_is_400(client: Client, body: bytes) -> None:
    assert (await client.call("DELETE", "/system/functions", body)).status == 400


async def test_a_listed_function_has_what_clients_read(client: Client, provider: MemoryProvider) -> None:
    await client.deploy("cat", image="example/cat:1")
    await available(provider)
    (status,) = (await client.get("/system/functions")).json
    created = status.pop("createdAt")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", created)
    assert status == {
        "name": "cat",
        "image": "example/cat:1",
        "namespace": "openfaas-fn",
        "envProcess": "cat",
        "labels": {"faas_function": "cat"},
        "annotations": {},
        "replicas": 1,
        "availableReplicas": 1,
    }


async def test_the_invocation_count_is_in_the_list_and_not_in_the_details(client: Client, feed: Feed) -> None:
    await client.deploy("cat")
    buckets = [1, *[0] * 11]
    for code in (200, 500):
        feed.totals.add(Counters(completed=[Completed(key=KEY, code=code, count=1, seconds=0.1, buckets=buckets)]))
    (status,) = (await client.get("/system/functions")).json
    assert status["invocationCount"] == 2
    assert "invocationCount" not in (await client.get("/system/function/cat")).json


async def test_describe_of_a_missing_function_is_404(client: Client) -> None:
    assert (await client.get("/system/function/nothing")).status == 404


@pytest.mark.parametrize("name", ["..", "A", "a.b", "a b", "ä", "a" * 64, "a\n", "%00"])
async def test_describe_of_a_name_that_cannot_exist_is_404(client: Client, name: str) -> None:
    assert (await client.get(f"/system/function/{name}")).status == 404


async def test_describe_lists_instances(client: Client, provider: MemoryProvider) -> None:
    await client.deploy("cat")
    await available(provider)
    (instance,) = (await client.get("/system/function/cat")).json["instances"]
    assert (instance["state"], instance["restarts"]) == ("ready", 0)
    assert instance["id"]
    assert instance["startedAt"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "present"), [("usage=1", True), ("usage=true", True), ("usage=false", False), ("", False)]
)
async def test_usage_is_there_only_when_asked_for(client: Client, query: str, present: bool) -> None:
    await client.deploy("cat")
    assert ("usage" in (await client.get(f"/system/function/cat?{query}")).json) is present


async def test_functions_live_in_their_namespace(client: Client) -> None:
    await client.call("POST", "/system/namespace/", {"name": "team"})
    await client.deploy("cat", namespace="team")
    assert (await client.get("/system/functions")).json == []
    assert [f["name"] for f in (await client.get("/system/functions?namespace=team")).json] == ["cat"]
    assert (await client.get("/system/function/cat")).status == 404
    assert (await client.get("/system/function/cat?namespace=team")).json["namespace"] == "team"


async def test_the_namespace_may_come_in_the_query_and_the_body_wins(client: Client) -> None:
    await client.call("POST", "/system/namespace/", {"name": "team"})
    target = "/system/functions?namespace=team"
    assert (await client.call("POST", target, {"service": "a", "envProcess": "cat"})).status == 202
    body = {"service": "b", "envProcess": "cat", "namespace": "openfaas-fn"}
    assert (await client.call("POST", target, body)).status == 202
    assert [f["name"] for f in (await client.get("/system/functions")).json] == ["b"]
    assert (await client.call("DELETE", target, {"functionName": "a"})).status == 202


async def test_an_empty_namespace_parameter_is_the_default(client: Client) -> None:
    assert (await client.get("/system/functions?namespace=")).status == 200


async def test_an_unknown_namespace_is_404_and_a_bad_one_400(client: Client) -> None:
    assert (await client.get("/system/functions?namespace=nowhere")).status == 404
    assert (await client.get("/system/functions?namespace=../etc")).status == 400


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "request body: "),
        (b"{", "request body: "),
        (b'{"service": 1}', "service: must be a string"),
        (b'{"service": "A"}', "service: "),
        (b'{"service": "a", "labels": {"x": 1}}', "labels.x: must be a string"),
        (b'{"service": "a", "labels": []}', "labels: must be an object"),
        (b'{"service": "a", "envProcess": "a\\u0000b"}', "NUL"),
        (b'{"service": "a", "envVars": {"a=b": "c"}}', "envVars"),
        (b'{"service": "a", "secrets": ["nothing"]}', "nothing"),
        (b'{"service": "a", "labels": {"com.penstock.timeout": "soon"}}', "com.penstock.timeout"),
        (b'{"service": "a", "limits": {"memory": 5}}', "limits.memory: must be a string"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_specification_that_cannot_be_used_is_400_and_names_the_fault(
    client: Client, method: str, body: bytes, fault: str
) -> None:
    if method == "PUT":
        await client.deploy("a")
    answer = await client.call(method, "/system/functions", body)
    assert answer.status == 400
    assert fault in answer.text


async def test_an_announced_body_above_the_limit_is_413_before_it_is_read(client: Client) -> None:
    headers = {"Content-Length": str(MAX_BODY + 1)}
    answer = await client.call("POST", "/system/functions", b"{}", headers)
    assert answer.status == 413
    assert str(MAX_BODY) in answer.text


async def test_a_body_that_grows_above_the_limit_is_413(client: Client) -> None:
    answer = await client.call("POST", "/system/functions", b" " * (MAX_BODY + 1))
    assert answer.status == 413


async def test_a_worker_that_hangs_delays_the_list_but_does_not_prevent_it(
    client: Client, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def flush(timeout: float) -> None:
        waited.append(timeout)

    monkeypatch.setattr(feed, "flush", flush)
    assert (await client.get("/system/functions")).status == 200
    assert waited == [0.25]


async def test_a_deployed_function_reaches_the_feed(client: Client, feed: Feed) -> None:
    await client.deploy("cat")
    await until(lambda: KEY in feed.functions, "the function's route")


async def test_a_pipeline_is_deployed_listed_described_updated_and_deleted(client: Client) -> None:
    answer = await client.call("POST", "/system/functions", {"service": "p", "pipeline": ["sort", "uniq?c=1"]})
    assert (answer.status, answer.body) == (202, b"")
    for status in ((await client.get("/system/functions")).json[0], (await client.get("/system/function/p")).json):
        assert (status["name"], status["image"], status["pipeline"]) == ("p", "", ["sort", "uniq?c=1"])
        assert not status.keys() & {"replicas", "availableReplicas", "instances"}
    answer = await client.call("PUT", "/system/functions", {"service": "p", "pipeline": ["rev"]})
    assert answer.status == 202
    assert (await client.get("/system/function/p?usage=1")).json["pipeline"] == ["rev"]
    assert (await client.call("DELETE", "/system/functions", {"functionName": "p"})).status == 202
    assert (await client.get("/system/function/p")).status == 404


async def test_the_count_of_a_pipelines_calls_is_in_the_list(client: Client, feed: Feed) -> None:
    await client.deploy("p", envProcess="", pipeline=["sort"])
    feed.count(
        Counters(completed=[Completed(key="p.openfaas-fn", code=200, count=4, seconds=1.0, buckets=[4, *[0] * 11])])
    )
    assert (await client.get("/system/functions")).json[0]["invocationCount"] == 4


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"pipeline": ["a b"]}, "pipeline: stage 'a b' does not begin with the name of a function"),
        ({"pipeline": ["p"]}, "pipeline: cannot contain itself: p.openfaas-fn → p.openfaas-fn"),
        ({"pipeline": [None]}, "pipeline: stage '' does not begin with the name of a function"),
        ({"pipeline": ["a"] * 51}, "pipeline: has 51 stages, at most 50 are accepted"),
        ({"pipeline": ["a"], "image": "x"}, "image: a pipeline has none"),
        ({"pipeline": ["a"], "envProcess": "cat"}, "envProcess: a pipeline has none"),
        ({"pipeline": "a|b"}, "pipeline: must be a list of strings, not a string"),
    ],
)
async def test_a_pipeline_that_cannot_be_used_is_400_and_names_the_fault(
    client: Client, fields: dict[str, object], fault: str
) -> None:
    answer = await client.call("POST", "/system/functions", {"service": "p", **fields})
    assert answer.status == 400
    assert fault in answer.text


async def test_a_function_does_not_become_a_pipeline_by_an_update(client: Client) -> None:
    await client.deploy("cat")
    answer = await client.call("PUT", "/system/functions", {"service": "cat", "pipeline": ["sort"]})
    assert (answer.status, "delete it before a pipeline takes its name" in answer.text) == (400, True)
