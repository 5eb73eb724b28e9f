"""The API and its description name the same routes. Their answers are compared in tests/integration/control/test_openapi.py."""

from __future__ import annotations

import asyncio

import yaml

from penstock.control.app import route_table
from penstock.control.documents import packaged
from penstock.control.feed import Feed
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import scaler_of

DOCUMENT = yaml.safe_load(packaged("openapi.yaml"))


def test_description_and_route_table_name_the_same_operations(provider: MemoryProvider, feed: Feed) -> None:
    described = {
        (path, method.upper())
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method in ("get", "post", "put", "delete")
    }
    served = {
        (row.path, method)
        for row in route_table(provider, feed, scaler_of(provider, feed), asyncio.Event())
        for method in row.handlers
    }
    assert described == served


def test_the_description_says_which_routes_are_public(provider: MemoryProvider, feed: Feed) -> None:
    described = {path for path, item in DOCUMENT["paths"].items() if item.get("get", {}).get("security") == []}
    assert described == {
        row.path for row in route_table(provider, feed, scaler_of(provider, feed), asyncio.Event()) if row.public
    }
