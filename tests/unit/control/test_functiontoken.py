"""`/system/function/{name}/token`."""

from __future__ import annotations

import asyncio

import pytest

from penstock.control.app import create_app, route_table
from penstock.control.feed import Feed
from penstock.core.tokens import derive_key, function_token
from penstock.credentials import Credentials
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import PASSWORD, USER, Client, scaler_of


def client_of(provider: MemoryProvider, feed: Feed, credentials: Credentials | None) -> Client:
    table = route_table(provider, feed, scaler_of(provider, feed), asyncio.Event(), credentials=credentials)
    return Client(create_app(table, credentials))


@pytest.fixture
def admin(provider: MemoryProvider, feed: Feed) -> Client:
    return client_of(provider, feed, Credentials(USER, PASSWORD))


async def test_each_function_has_the_token_that_the_gateway_accepts(admin: Client) -> None:
    await admin.deploy("cat")
    await admin.call("POST", "/system/namespace/", {"name": "team"})
    await admin.deploy("cat", namespace="team")
    key = derive_key(PASSWORD)
    answer = await admin.get("/system/function/cat/token")
    token = function_token(key, "cat.openfaas-fn")
    assert answer.json == {"name": "cat", "namespace": "openfaas-fn", "token": token}
    other = (await admin.get("/system/function/cat/token?namespace=team")).json
    assert other["token"] == function_token(key, "cat.team") != token


@pytest.mark.parametrize("name", ["missing", "..%2f", "UPPER"])
async def test_what_is_not_deployed_has_none(admin: Client, name: str) -> None:
    assert (await admin.get(f"/system/function/{name}/token")).status == 404


async def test_without_authentication_there_are_none(provider: MemoryProvider, feed: Feed) -> None:
    answer = await client_of(provider, feed, None).get("/system/function/cat/token")
    assert answer.status == 501
    assert "none is asked for" in answer.text


async def test_it_is_shown_to_the_administrator_only(provider: MemoryProvider, feed: Feed) -> None:
    guarded = client_of(provider, feed, Credentials(USER, PASSWORD))
    token = function_token(derive_key(PASSWORD), "cat.openfaas-fn")
    guarded.authorization = f"Bearer {token}"
    assert (await guarded.get("/system/function/cat/token")).status == 401
