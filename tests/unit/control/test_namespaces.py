"""`/system/namespaces` and `/system/namespace/{name}` as the Go SDK calls them."""

from __future__ import annotations

import pytest

from tests.unit.control.support import Client

NAMED = "/system/namespace/team"
UNNAMED = "/system/namespace/"
MARK = {"openfaas": "1"}


async def test_the_default_namespace_is_always_listed(client: Client) -> None:
    assert (await client.get("/system/namespaces")).body == b'["openfaas-fn"]'


async def test_create_by_body_name_is_201(client: Client) -> None:
    answer = await client.call("POST", UNNAMED, {"name": "team", "labels": MARK, "annotations": MARK})
    assert (answer.status, answer.body) == (201, b"")
    assert (await client.get("/system/namespaces")).json == ["openfaas-fn", "team"]


async def test_create_by_path_name_is_201(client: Client) -> None:
    assert (await client.call("POST", NAMED, {"labels": MARK})).status == 201
    assert (await client.get(NAMED)).json == {"name": "team", "labels": MARK}


async def test_creating_what_exists_is_409(client: Client) -> None:
    await client.call("POST", UNNAMED, {"name": "team"})
    assert (await client.call("POST", UNNAMED, {"name": "team"})).status == 409


async def test_get_has_labels_even_when_there_are_none(client: Client) -> None:
    await client.call("POST", UNNAMED, {"name": "team"})
    answer = await client.get(NAMED)
    assert (answer.status, answer.body) == (200, b'{"name":"team","labels":{}}')


async def test_update_replaces_labels_and_annotations(client: Client) -> None:
    await client.call("POST", UNNAMED, {"name": "team", "labels": {"a": "1", "b": "2"}, "annotations": MARK})
    answer = await client.call("PUT", NAMED, {"name": "team", "labels": {"a": "3"}})
    assert (answer.status, answer.body) == (202, b"")
    assert (await client.get(NAMED)).json == {"name": "team", "labels": {"a": "3"}}


@pytest.mark.parametrize("body", [None, {}, {"name": "team", "labels": MARK}])
async def test_delete_is_202_with_or_without_a_body(client: Client, body: object) -> None:
    await client.call("POST", UNNAMED, {"name": "team"})
    answer = await client.call("DELETE", NAMED, body)
    assert (answer.status, answer.body) == (202, b"")
    assert (await client.get("/system/namespaces")).json == ["openfaas-fn"]


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PUT", {"name": "team"}), ("DELETE", None)])
async def test_a_missing_namespace_is_404(client: Client, method: str, body: object) -> None:
    assert (await client.call(method, NAMED, body)).status == 404


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PUT", {"name": "team"}), ("DELETE", {"name": "team"})])
async def test_a_path_without_name_is_400(client: Client, method: str, body: object) -> None:
    assert (await client.call(method, UNNAMED, body)).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_body_and_path_must_agree(client: Client, method: str) -> None:
    answer = await client.call(method, NAMED, {"name": "other"})
    assert answer.status == 400
    assert "'other'" in answer.text


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "A"}, {"name": ".."}, {"name": "a", "labels": {"x": 1}}])
async def test_a_namespace_that_cannot_be_created_is_400(client: Client, body: object) -> None:
    assert (await client.call("POST", UNNAMED, body)).status == 400


async def test_a_namespace_with_functions_is_not_deleted(client: Client) -> None:
    await client.call("POST", UNNAMED, {"name": "team"})
    await client.deploy("cat", namespace="team")
    assert (await client.call("DELETE", NAMED)).status == 400


async def test_the_default_namespace_is_not_deleted(client: Client) -> None:
    assert (await client.call("DELETE", "/system/namespace/openfaas-fn")).status == 400
