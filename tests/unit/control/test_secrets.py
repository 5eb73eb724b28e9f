"""`/system/secrets`: status codes that drive faas-cli, and values that never come back."""

from __future__ import annotations

import base64
import logging

import pytest

from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import Client

SECRETS = "/system/secrets"
VALUE = "hunter2-very-secret"


def stored(provider: MemoryProvider, name: str, namespace: str = DEFAULT_NAMESPACE) -> bytes:
    return provider._secrets.read(name, namespace)


async def test_create_is_202_and_the_list_shows_the_name_only(client: Client) -> None:
    answer = await client.call("POST", SECRETS, {"name": "token", "value": VALUE})
    assert (answer.status, answer.body) == (202, b"")
    assert (await client.get(SECRETS)).body == b'[{"name":"token","namespace":"openfaas-fn"}]'


async def test_no_secrets_is_an_empty_array(client: Client) -> None:
    assert (await client.get(SECRETS)).body == b"[]"


async def test_creating_what_exists_is_409(client: Client, provider: MemoryProvider) -> None:
    await client.call("POST", SECRETS, {"name": "token", "value": VALUE})
    answer = await client.call("POST", SECRETS, {"name": "token", "value": "other"})
    assert answer.status == 409
    assert stored(provider, "token") == VALUE.encode()


async def test_raw_value_wins_over_value_byte_by_byte(client: Client, provider: MemoryProvider) -> None:
    raw = bytes(range(256))
    body = {"name": "token", "value": "trimmed", "rawValue": base64.b64encode(raw).decode()}
    assert (await client.call("POST", SECRETS, body)).status == 202
    assert stored(provider, "token") == raw


async def test_update_replaces_the_value(client: Client, provider: MemoryProvider) -> None:
    await client.call("POST", SECRETS, {"name": "token", "value": VALUE})
    answer = await client.call("PUT", SECRETS, {"name": "token", "value": "new"})
    assert (answer.status, answer.body) == (202, b"")
    assert stored(provider, "token") == b"new"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_missing_secret_is_404(client: Client, method: str) -> None:
    assert (await client.call(method, SECRETS, {"name": "token", "value": VALUE})).status == 404


async def test_delete_is_202_not_204(client: Client) -> None:
    await client.call("POST", SECRETS, {"name": "token", "value": VALUE})
    answer = await client.call("DELETE", SECRETS, {"name": "token", "namespace": "openfaas-fn"})
    assert (answer.status, answer.body) == (202, b"")
    assert (await client.get(SECRETS)).json == []


async def test_the_namespace_may_come_in_body_or_query(client: Client) -> None:
    await client.call("POST", "/system/namespace/", {"name": "team"})
    await client.call("POST", f"{SECRETS}?namespace=team", {"name": "a", "value": "1"})
    await client.call("POST", SECRETS, {"name": "b", "value": "1", "namespace": "team"})
    assert [s["name"] for s in (await client.get(f"{SECRETS}?namespace=team")).json] == ["a", "b"]
    assert (await client.get(SECRETS)).json == []
    assert (await client.call("DELETE", f"{SECRETS}?namespace=team", {"name": "a"})).status == 202


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "../etc/passwd", "value": VALUE},
        {"name": "a/b", "value": VALUE},
        {"name": "a", "rawValue": f"{VALUE}!"},
        {"name": "a", "value": [VALUE]},
        {"name": "a", "value": VALUE, "namespace": "../x"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_bad_secrets_are_400_and_the_value_is_not_repeated(
    client: Client, method: str, body: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await client.call(method, SECRETS, body)
    assert answer.status == 400
    assert VALUE not in answer.text
    assert VALUE not in caplog.text


async def test_one_mebibyte_is_stored_and_more_is_413(client: Client, provider: MemoryProvider) -> None:
    full = {"name": "a", "value": "x" * (1 << 20)}
    assert (await client.call("POST", SECRETS, full)).status == 202
    assert len(stored(provider, "a")) == 1 << 20
    more = {"name": "b", "rawValue": base64.b64encode(b"x" * ((1 << 20) + 1)).decode()}
    assert (await client.call("POST", SECRETS, more)).status == 413
