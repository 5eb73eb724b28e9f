"""Where we run ourselves, and so how tasks are reached."""

from __future__ import annotations

from typing import cast

import pytest

from penstock.providers.containers.engine import Document, Engine
from penstock.providers.swarm import surroundings
from penstock.providers.swarm.surroundings import TASK, Surroundings

ATTACHED = {"NetworksAttachments": [{"Network": {"ID": "net1"}, "Addresses": ["10.0.2.7/24"]}]}


class Tasks:
    """An engine that knows one task."""

    async def get(self, path: str) -> Document:
        return {"/tasks/task1": ATTACHED}[path]


async def looked(monkeypatch: pytest.MonkeyPatch, own: Document | None, connect: str = "auto") -> Surroundings:
    async def own_container(engine: Engine) -> Document | None:
        return own

    monkeypatch.setattr(surroundings, "own_container", own_container)
    found = Surroundings(connect, "")
    await found.look(cast(Engine, Tasks()), {"Swarm": {"NodeID": "node1"}})
    return found


def container(**labels: str) -> Document:
    return {"Id": "me", "Config": {"Image": "penstock:1", "Labels": labels}}


async def test_beside_the_engine_tasks_are_reached_by_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await looked(monkeypatch, None)
    assert (found.way_to("net1"), found.joins) == ("port", "")


async def test_a_container_of_ours_joins_every_network(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await looked(monkeypatch, container())
    assert (found.way_to("net1"), found.way_to("net2"), found.joins) == ("ip", "ip", "me")


async def test_a_task_joins_none_and_reaches_other_networks_by_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await looked(monkeypatch, container(**{TASK: "task1"}))
    assert (found.way_to("net1"), found.way_to("net2"), found.joins) == ("ip", "port", "")


async def test_a_task_that_shall_use_ports_uses_them_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await looked(monkeypatch, container(**{TASK: "task1"}), connect="port")
    assert (found.way_to("net1"), found.joins) == ("port", "")
