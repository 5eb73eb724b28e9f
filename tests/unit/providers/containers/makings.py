"""Orders, entries and documents of an engine for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.model import FunctionSpec
from penstock.providers.containers import labels
from penstock.providers.containers.body import Site
from penstock.providers.containers.bundle import Bundle
from penstock.providers.containers.engine import Engine
from penstock.providers.containers.entry import Entry, record_of
from penstock.providers.containers.images import Images
from penstock.providers.containers.network import Network
from penstock.providers.containers.plan import Plan
from penstock.providers.containers.starting import Tools
from penstock.providers.runtimes.base import Order
from tests.unit.providers.containers.scripted import Answer, ScriptedEngine

PLAN = Plan(injected=False, port=8080)
STARTED = "2026-01-02T03:04:05.123456789Z"
IMAGE = {"Id": "sha256:0", "Os": "linux", "Config": {"Cmd": ["serve"], "ExposedPorts": {"8080/tcp": {}}}}


def order(token: str = "t1", **fields: Any) -> Order:
    """Fields of the specification, but for these: replica, generation, deployed, secrets."""
    own: dict[str, Any] = {
        name: fields.pop(name) for name in ("replica", "generation", "deployed", "secrets") if name in fields
    }
    given: dict[str, Any] = {"replica": f"f-{token}", "generation": 1, "deployed": "today", **own}
    return Order(token=token, spec=FunctionSpec(**{"name": "f", "image": "web:1", **fields}), **given)


def running(one: Order | None = None, container: str = "c1") -> Entry:
    """A replica whose container runs."""
    entry = Entry(one or order())
    entry.record, entry.container, entry.address = record_of(entry.order, PLAN), container, "10.0.0.2:8080"
    entry.stage = "running"
    return entry


def inspected(container: str = "c1", *, address: str = "10.0.0.2", **state: Any) -> dict[str, Any]:
    """What an engine says of a container."""
    return {
        "Id": container,
        "Name": f"/penstock-{container}",
        "State": {"Running": True, "Paused": False, "StartedAt": STARTED, "Pid": 7, "ExitCode": 0, **state},
        "Config": {"Labels": {labels.OWNER: "mine"}},
        "HostConfig": {"Memory": 0},
        "NetworkSettings": {"Networks": {"net": {"IPAddress": address}} if address else {}, "Ports": {}},
    }


def listed(one: Order, container: str = "c1", state: str = "running", **fields: Any) -> dict[str, Any]:
    """An entry of an engine's list of containers."""
    record = msgspec.json.encode(record_of(one, PLAN)).decode()
    given = {labels.OWNER: "mine", labels.KIND: "replica", labels.ORDER: record}
    networks: dict[str, Any] = {"NetworkSettings": {"Networks": {"net": {}}}}
    return {"Id": container, "State": state, "Labels": given, **networks, **fields}


def usual() -> dict[tuple[str, str], Answer]:
    """An engine that has the image and the network, and runs every container as `c1`."""
    return {
        ("GET", "/images/web:1/json"): IMAGE,
        ("GET", "/networks/net"): {"Id": "n1", "Labels": {labels.OWNER: "mine"}},
        ("POST", "/containers/create"): {"Id": "c1"},
        ("PUT", "/containers/c1/archive"): "",
        ("POST", "/containers/c1/start"): "",
        ("POST", "/containers/c1/kill"): "",
        ("POST", "/containers/c1/pause"): "",
        ("POST", "/containers/c1/unpause"): "",
        ("GET", "/containers/c1/json"): inspected(),
        ("DELETE", "/containers/c1"): "",
    }


class NoSource:
    """Of functions without an injected watchdog."""

    image, made = "", False

    async def name(self) -> str:
        raise AssertionError("no watchdog is needed")

    async def directory(self, tell: Any) -> Any:
        raise AssertionError("no watchdog is needed")


def tools(engine: Engine, host: str = "") -> Tools:
    return Tools(
        engine,
        Images(engine, "never", {}),
        Network(engine, "mine", "net"),
        Bundle(engine, "mine", NoSource()),
        Site(installation="mine", network="net"),
        host,
    )


async def settled(condition: Callable[[], object]) -> None:
    """Wait until other tasks have brought this about."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


def scripted(answers: dict[tuple[str, str], Answer] | None = None) -> ScriptedEngine:
    """An engine with the usual answers, but for these."""
    return ScriptedEngine({**usual(), **(answers or {})})
