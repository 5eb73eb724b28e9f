"""Where we run ourselves: in a container of the engine or beside it, which decides how tasks are reached and whose watchdog
functions get.

Found out once, when the provider starts; handed to those who need to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penstock.providers.containers.engine import Document, Engine
from penstock.providers.containers.own import own_container
from penstock.providers.swarm.endpoints import Way, choose
from penstock.watchdog.bundle.write import MARK, PLACE

TASK = "com.docker.swarm.task.id"
"""Swarm's label of a task's container."""


@dataclass
class Surroundings:
    """`connect` and `watchdog_image` are as set; the rest is found out by `look`."""

    connect: str
    watchdog_image: str
    way: Way = "port"
    joins: str = ""
    """Our own container, where it is to join the networks of functions."""
    given: frozenset[str] | None = None
    """IDs of the networks that we are in, where we are a task ourselves: tasks stay in what their service gives them."""

    node: str = ""
    """The node of our engine, whose containers we can reach."""

    async def look(self, engine: Engine, info: Document) -> None:
        """`info` is what the engine says of itself. Raises ProviderUnavailable, EngineRefused."""
        self.node = (info.get("Swarm") or {}).get("NodeID", "")
        own = await own_container(engine)
        self.way = choose(self.connect, own is not None)
        if own is None:
            return
        labels = (own.get("Config") or {}).get("Labels") or {}
        if TASK in labels:
            self.given = networks_of(await engine.get(f"/tasks/{labels[TASK]}"))
        elif self.way == "ip":
            self.joins = own["Id"]
        if not self.watchdog_image and (Path(PLACE) / MARK).is_file():
            self.watchdog_image = (own.get("Config") or {}).get("Image", "")

    def way_to(self, network: str) -> Way:
        """How tasks in this network are reached."""
        return "port" if self.given is not None and network not in self.given else self.way


def networks_of(task: Document) -> frozenset[str]:
    """IDs of the networks that a task is in."""
    return frozenset((one.get("Network") or {}).get("ID", "") for one in task.get("NetworksAttachments") or ())
