"""The route table as a whole: who may pass, unknown paths and methods, error format, public paths."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from penstock.control.app import create_app, route_table
from penstock.control.feed import Feed
from penstock.control.routing import Resource
from penstock.errors import ProviderUnavailable
from penstock.model import Function
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import Client, scaler_of

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO")


def table(provider: MemoryProvider, feed: Feed) -> list[Resource]:
    return route_table(provider, feed, scaler_of(provider, feed), asyncio.Event())


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "x", path)


async def test_every_route_that_is_not_marked_public_answers_401_without_credentials(
    client: Client, provider: MemoryProvider, feed: Feed
) -> None:
    client.authorization = None
    guarded = [row for row in table(provider, feed) if not row.public]
    assert len(guarded) >= 11
    for row in guarded:
        for method in METHODS:
            answer = await client.call(method, filled(row.path), {})
            assert answer.status == 401, f"{method} {row.path}"
            assert answer.body == b"invalid credentials"


async def test_only_these_paths_are_public(provider: MemoryProvider, feed: Feed) -> None:
    assert {row.path for row in table(provider, feed) if row.public} == {"/healthz", "/"}


async def test_every_route_answers_405_without_body_to_methods_it_does_not_have(
    client: Client, provider: MemoryProvider, feed: Feed
) -> None:
    for row in table(provider, feed):
        for method in set(METHODS) - set(row.handlers):
            answer = await client.call(method, filled(row.path))
            assert (answer.status, answer.body) == (405, b""), f"{method} {row.path}"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/system/functions/",
        "/system/function/",
        "/system/function/a/b",
        "/system/secrets/x",
        "/ui",
        "/system/alerts",
        "/healthz/",
        "//healthz",
    ],
)
async def test_an_unknown_path_is_404_in_the_error_format(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_unknown_path_outside_the_admin_branch_is_404_without_credentials(client: Client) -> None:
    client.authorization = None
    assert (await client.get("/favicon.ico")).status == 404


async def test_the_root_leads_to_the_start_page_without_credentials(client: Client) -> None:
    client.authorization = None
    answer = await client.get("/")
    assert (answer.status, answer.headers["location"]) == (307, "/ui/")


async def test_the_start_page_says_where_the_api_is(client: Client) -> None:
    answer = await client.get("/ui/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "/system/openapi.yaml" in answer.text


async def test_the_api_description_is_served(client: Client) -> None:
    answer = await client.get("/system/openapi.yaml")
    assert answer.status == 200
    assert answer.text.startswith("openapi: 3.1.0")


async def test_an_unexpected_exception_is_500_with_an_id_that_finds_its_traceback(
    client: Client, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(namespace: str) -> list[Function]:
        raise KeyError("internal detail")

    monkeypatch.setattr(provider, "list", broken)
    answer = await client.get("/system/functions")
    match = re.fullmatch(r"internal error; see the gateway's log \(id ([0-9a-f]{12})\)\n", answer.text)
    assert answer.status == 500
    assert match
    assert match[1] in caplog.text
    assert "Traceback" in caplog.text


async def test_a_platform_error_keeps_its_status_and_words_and_is_logged(
    client: Client, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(namespace: str) -> list[Function]:
        raise ProviderUnavailable("the engine does not answer")

    monkeypatch.setattr(provider, "list", broken)
    with caplog.at_level(logging.WARNING):
        answer = await client.get("/system/functions")
    assert (answer.status, answer.text) == (503, "the engine does not answer\n")
    assert "GET /system/functions: ProviderUnavailable: the engine does not answer" in caplog.text


async def test_without_authentication_the_empty_bearer_of_a_cli_that_is_not_logged_in_is_served(
    provider: MemoryProvider, feed: Feed
) -> None:
    client = Client(create_app(table(provider, feed), None), "Bearer ")
    assert (await client.get("/system/functions")).json == []
