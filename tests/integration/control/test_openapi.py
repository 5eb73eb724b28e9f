"""The API keeps to its description: whatever schemathesis makes of it is answered as it says."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import unsupported_method
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.control.app import create_app, route_table
from penstock.control.documents import packaged
from penstock.control.feed import Feed
from penstock.control.process import HttpServer
from penstock.control.storageevents import StorageEvents
from penstock.core.policy import Policy
from penstock.credentials import Credentials
from penstock.model import FunctionSpec, Namespace, Secret
from penstock.providers.clock import SystemClock
from penstock.providers.memory import MemoryProvider
from penstock.storage.delivery import Deliverer
from penstock.storage.eventlog import EventLog
from tests.unit.control.support import DEADLINE, PASSWORD, USER, scaler_of
from tests.unit.storage.support import ScriptedCaller

DOCUMENT = yaml.safe_load(packaged("openapi.yaml"))

# Valid data may still name what is not there (404), or is there already (409), or what only the provider can judge (400).
CONFIG = {
    "seed": 20260101,
    "auth": {"basic": {"username": USER, "password": PASSWORD}},
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "307", "400", "404", "409"]}},
}

api = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig.from_dict(CONFIG))


@api.parametrize()
@settings(max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_to_its_description(case: schemathesis.Case[Any], address: str) -> None:
    case.call_and_validate(
        base_url=address,
        # 405 goes without `Allow` because clients of the original API never saw one.
        excluded_checks=[unsupported_method],
        timeout=DEADLINE,
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API served over TCP from a thread of its own, with one function, secret and namespace named `a`."""
    ready = threading.Event()
    stop: list[object] = []
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    home = tmp_path_factory.mktemp("home")

    async def serve() -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        provider = MemoryProvider()
        await provider.start()
        await provider.create_secret(Secret(name="a", value=b"a"))
        await provider.create_namespace(Namespace(name="a"))
        await provider.deploy(FunctionSpec(name="a", env_process="cat"))
        feed = Feed(provider, Policy())
        credentials, deliverer = Credentials(USER, PASSWORD), deliverer_in(home)
        events = StorageEvents(AllKnown(), deliverer, PASSWORD)
        table = route_table(provider, feed, scaler_of(provider, feed), stopping, events, credentials)
        app = following_ends(create_app(table, credentials))
        delivering = asyncio.create_task(deliverer.run())
        async with HttpServer(app, listener).running():
            stop.append(lambda: loop.call_soon_threadsafe(stopping.set))
            ready.set()
            await stopping.wait()
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        await provider.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(DEADLINE)
    yield f"http://127.0.0.1:{port}"
    (end,) = stop
    assert callable(end)
    end()
    thread.join(DEADLINE)
    assert not thread.is_alive()


class AllKnown:
    """All functions are known."""

    async def snapshot(self) -> None: ...


def deliverer_in(home: Path) -> Deliverer:
    """Of a gateway on which no function wants to hear of any object."""
    return Deliverer(EventLog(home / "events.db"), {}, ScriptedCaller(), SystemClock(), ())


def following_ends(app: ASGIApp) -> ASGIApp:
    """Log streams that follow never end by themselves; here nobody hangs up, so they are asked for without `follow`."""

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/system/logs":
            scope = {**scope, "query_string": scope["query_string"] + b"&follow=0"}
        await app(scope, receive, send)

    return bounded
