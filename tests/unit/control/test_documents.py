"""The packaged documents: complete, and safe to open."""

from __future__ import annotations

import yaml

from penstock.control.documents import packaged
from tests.unit.control.support import Client


def test_the_api_description_is_packaged_and_is_yaml() -> None:
    assert yaml.safe_load(packaged("openapi.yaml"))["openapi"] == "3.1.0"


async def test_the_start_page_loads_nothing_and_runs_nothing(client: Client) -> None:
    answer = await client.get("/ui/")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in answer.text


async def test_the_start_page_is_behind_the_guard(client: Client) -> None:
    client.authorization = None
    assert (await client.get("/ui/")).status == 401
