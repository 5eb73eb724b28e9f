"""A Swarm's manager in memory: what it is told it keeps, with versions and refusals like the real one's; tasks are the test's to run.

It stands in for `penstock.providers.containers.engine.Engine`.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
from collections.abc import AsyncGenerator
from typing import Any, cast

from penstock.errors import ProviderUnavailable
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from tests.unit.providers.swarm.samples import node

IMAGE: Document = {
    "Id": "sha256:1",
    "Os": "linux",
    "Architecture": "amd64",
    "Config": {"Cmd": ["serve"], "ExposedPorts": {"8080/tcp": {}}},
}
KINDS = ("services", "secrets", "configs")


class FakeSwarm:
    """Reached without HTTP; `asked` keeps what it was asked."""

    def __init__(self) -> None:
        self.url = "unix:///fake.sock"
        self.kept: dict[str, dict[str, Document]] = {kind: {} for kind in (*KINDS, "networks")}
        self.nodes: dict[str, Document] = {"node1": {"ID": "node1", **node()}}
        self.tasks: dict[str, list[Document]] = {}
        self.images: dict[str, Document] = {"img:1": IMAGE}
        self.swarm: Document = {"LocalNodeState": "active", "ControlAvailable": True, "NodeID": "node1"}
        self.used_secrets: set[str] = set()
        self.used_networks: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[Document] = []
        self.auths: list[str] = []
        self.conflicts = 0
        """How many of the next updates somebody else is faster than."""
        self.away = False
        self.closed = False
        self._numbers = itertools.count(1)
        self._events: list[asyncio.Queue[Document]] = []

    @property
    def engine(self) -> Engine:
        return cast(Engine, self)

    # What a test does

    def run(self, name: str, state: str = "running", address: str = "10.0.2.2") -> None:
        """Give a service the tasks that it asks for, all in one state."""
        service = self.find("services", name)
        replicas = service["Spec"]["Mode"]["Replicated"]["Replicas"]
        networks = service["Spec"]["TaskTemplate"].get("Networks") or [{"Target": ""}]
        self.tasks[service["ID"]] = [
            {
                "ID": f"{service['ID']}.{slot}",
                "CreatedAt": f"2026-01-02T03:04:{slot:02}Z",
                "ServiceID": service["ID"],
                "Slot": slot,
                "NodeID": "node1",
                "DesiredState": "running",
                "Status": {
                    "State": state,
                    "Timestamp": "2026-01-02T03:04:06Z",
                    "ContainerStatus": {"ContainerID": f"container{slot}"},
                },
                "NetworksAttachments": [
                    {"Network": {"ID": networks[0]["Target"]}, "Addresses": [f"{address}{slot}/24"]},
                ],
            }
            for slot in range(1, replicas + 1)
        ]

    def find(self, kind: str, name: str) -> Document:
        for one in self.kept[kind].values():
            if name in (one.get("ID"), one.get("Id"), one.get("Name"), (one.get("Spec") or {}).get("Name")):
                return one
        raise EngineRefused(404, f"rpc error: code = NotFound desc = {kind[:-1]} {name} not found")

    def names(self, kind: str) -> list[str]:
        return sorted(one["Spec"]["Name"] if kind in KINDS else one["Name"] for one in self.kept[kind].values())

    def tell(self, event: Document) -> None:
        for queue in self._events:
            queue.put_nowait(event)

    def break_off(self) -> None:
        """End the streams of events."""
        self.tell({})

    # What an Engine does

    async def open(self) -> Document:
        return cast(Document, await self.get("/info"))

    async def close(self) -> None:
        self.closed = True

    async def get(self, path: str, **params: Any) -> Any:
        self._note("GET", path)
        await asyncio.sleep(0)
        kind, _, name = path.strip("/").partition("/")
        if kind == "info":
            return {"Swarm": self.swarm, "NCPU": 2}
        if kind == "nodes":
            return copy.deepcopy(list(self.nodes.values()))
        if kind == "tasks":
            return self._listed_tasks(params.get("filters") or {})
        if kind == "images":
            return self._image(name.removesuffix("/json"))
        if name:
            return copy.deepcopy(self.find(kind, name))
        return [copy.deepcopy(one) for one in self.kept[kind].values() if _fits(one, params.get("filters") or {})]

    async def post(self, path: str, body: Document | None = None, *, auth: str = "", **params: Any) -> Any:
        self._note("POST", path)
        self.auths.append(auth)
        self.bodies.append(copy.deepcopy(body or {}))
        await asyncio.sleep(0)
        kind, name, verb = [*path.strip("/").split("/"), ""][:3]
        if name == "create":
            return self._create(kind, copy.deepcopy(body or {}))
        if verb == "update":
            self._update(self.find(kind, name), copy.deepcopy(body or {}), params["version"])
        return {}

    async def delete(self, path: str, **params: Any) -> Any:
        self._note("DELETE", path)
        await asyncio.sleep(0)
        kind, _, name = path.strip("/").partition("/")
        found = self.find(kind, name)
        number = found.get("ID") or found["Id"]
        if number in self.used_secrets | self.used_networks:
            raise EngineRefused(400 if kind == "secrets" else 403, f"rpc error: desc = {kind[:-1]} is in use")
        del self.kept[kind][number]
        self.tasks.pop(number, None)

    async def documents(self, path: str, **params: Any) -> AsyncGenerator[Document, None]:
        self._note("GET", path)
        queue: asyncio.Queue[Document] = asyncio.Queue()
        self._events.append(queue)
        try:
            while event := await queue.get():
                yield event
        finally:
            self._events.remove(queue)

    def _note(self, method: str, path: str) -> None:
        self.asked.append((method, path))
        if self.away:
            raise ProviderUnavailable("nobody answers")

    def _image(self, name: str) -> Document:
        if name not in self.images:
            raise EngineRefused(404, f"No such image: {name}")
        return self.images[name]

    def _listed_tasks(self, filters: Document) -> list[Document]:
        services = filters.get("service") or list(self.tasks)
        return [copy.deepcopy(task) for service in services for task in self.tasks.get(service, ())]

    def _create(self, kind: str, body: Document) -> Document:
        name = body["Name"]
        if name in self.names(kind):
            raise EngineRefused(409, f"rpc error: code = AlreadyExists desc = name conflicts: {name} already exists")
        number = f"{kind[:3]}{next(self._numbers)}"
        if kind == "networks":
            self.kept[kind][number] = {"Id": number, "Scope": "swarm", **body}
            return {"Id": number}
        if kind == "secrets" and not 0 < len(base64.b64decode(body.pop("Data"))) < 512_000:
            raise EngineRefused(400, "rpc error: desc = secret data must be larger than 0 and less than 512000 bytes")
        self.kept[kind][number] = {
            "ID": number,
            "Version": {"Index": next(self._numbers)},
            "CreatedAt": f"2026-01-02T03:04:05.{len(self.asked):09}Z",
            "Spec": body,
        }
        return {"ID": number}

    def _update(self, found: Document, body: Document, version: str) -> None:
        if self.conflicts:
            self.conflicts -= 1
            found["Version"]["Index"] = next(self._numbers)
        if version != str(found["Version"]["Index"]):
            raise EngineRefused(500, "rpc error: code = Unknown desc = update out of sequence")
        found["Spec"], found["Version"] = body, {"Index": next(self._numbers)}


def _fits(one: Document, filters: Document) -> bool:
    labels = (one.get("Spec") or one).get("Labels") or {}
    pairs = (wanted.partition("=") for wanted in filters.get("label") or ())
    return all(labels.get(name) == value for name, _, value in pairs)
