"""`/system/scale-function/{name}`, in the forms old and new clients send."""

from __future__ import annotations

import pytest

from tests.unit.control.support import Client

SCALE = "/system/scale-function/cat"


async def replicas(client: Client, query: str = "") -> int:
    status = (await client.get(f"/system/function/cat{query}")).json
    return int(status.get("replicas", 0))


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_any_count_is_accepted_zero_included(client: Client, count: int) -> None:
    await client.deploy("cat")
    body = {"serviceName": "cat", "replicas": count, "namespace": "openfaas-fn"}
    answer = await client.call("POST", SCALE, body)
    assert (answer.status, answer.body) == (202, b"")
    assert await replicas(client) == count


async def test_the_namespace_may_come_in_the_query_only(client: Client) -> None:
    await client.call("POST", "/system/namespace/", {"name": "team"})
    await client.deploy("cat", namespace="team")
    answer = await client.call("POST", f"{SCALE}?namespace=team", {"serviceName": "cat", "replicas": 2})
    assert answer.status == 202
    assert await replicas(client, "?namespace=team") == 2


async def test_a_missing_function_is_404(client: Client) -> None:
    assert (await client.call("POST", SCALE, {"replicas": 1})).status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b'{"replicas": null}',
        b'{"replicas": -1}',
        b'{"replicas": 1.0}',
        b'{"replicas": "2"}',
        b'{"replicas": 18446744073709551615}',
        b'{"replicas": 18446744073709551616}',
    ],
)
async def test_a_count_that_cannot_be_meant_is_400_and_changes_nothing(client: Client, body: bytes) -> None:
    await client.deploy("cat")
    assert (await client.call("POST", SCALE, body)).status == 400
    assert await replicas(client) == 1


async def test_a_pipeline_is_400_and_its_stages_are_named(client: Client) -> None:
    await client.deploy("cat", envProcess="", pipeline=["sort", "uniq.dev"])
    answer = await client.call("POST", SCALE, {"replicas": 1})
    assert answer.status == 400
    assert "has no replicas of its own; scale sort.openfaas-fn, uniq.dev" in answer.text
