"""The containers of an installation that an engine has: those of an earlier control process, and what is left of others.

The docker runtime calls it when it starts and whenever the engine answers again. Only what carries our own OWNER is seen.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.providers.containers import labels
from penstock.providers.containers.engine import Engine
from penstock.providers.containers.entry import Entry, Record

RUNNING = ("running", "paused")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A container of ours."""

    container: str
    state: str
    """As the engine says: `created`, `running`, `paused`, `exited`, `dead`, …"""
    replica: bool = True
    """Or a helper."""
    record: Record | None
    """None when it is no replica, or one whose label cannot be read."""
    networks: tuple[str, ...] = ()
    """Names."""

    @property
    def token(self) -> str:
        return self.record.order.token if self.record else ""

    def entry(self) -> Entry | None:
        """Its replica, for as long as it runs."""
        if not self.record or self.state not in RUNNING:
            return None
        entry = Entry(self.record.order)
        entry.stage, entry.record, entry.container = "running", self.record, self.container
        entry.found = True
        return entry


async def find_all(engine: Engine, installation: str) -> list[Found]:
    """Everything of this installation, running or not. Raises ProviderUnavailable, EngineRefused."""
    filters = {"label": [f"{labels.OWNER}={installation}"]}
    documents = await engine.get("/containers/json", all="true", filters=filters)
    # A filter is a convenience of the engine; that nothing foreign is touched does not rest on it.
    return [found_of(one) for one in documents if (one.get("Labels") or {}).get(labels.OWNER) == installation]


def found_of(document: dict[str, Any]) -> Found:
    given = document.get("Labels") or {}
    replica = given.get(labels.KIND) == "replica"
    return Found(
        container=document["Id"],
        state=document.get("State") or "",
        replica=replica,
        record=read_record(given.get(labels.ORDER, "")) if replica else None,
        networks=tuple((document.get("NetworkSettings") or {}).get("Networks") or ()),
    )


def read_record(text: str) -> Record | None:
    """None when an earlier or later version wrote something else."""
    try:
        return msgspec.json.decode(text, type=Record)
    except msgspec.MsgspecError:
        return None
