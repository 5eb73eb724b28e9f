"""One specification of a function as the Swarm keeps it: a service of ours, read back from its labels.

Pure; the document comes from the Engine API. A service whose labels cannot be read is not one of ours any more.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from penstock.model import FunctionSpec
from penstock.providers.containers.engine import Document
from penstock.providers.swarm import marks
from penstock.watchdog.bundle.write import PLACE


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """A function's specification and what was decided about it."""

    id: str = ""
    """The service's; empty before there is one, as is its name."""
    name: str = ""
    number: int
    spec: FunctionSpec
    created_at: datetime
    """When the function was deployed, whichever generation this is."""
    desired: int
    floor: int = 0
    """Replicas that an alert asks for."""
    planned: bool = False
    """Whether the service has what its tasks need; before that it has none."""
    port: int = 0
    lenient: bool = False
    network: str = ""
    """ID of the namespace's network."""
    guarded: bool = False
    """Whether the Swarm itself ends tasks that are ill."""
    watchdog: str = ""
    """Volume with the watchdog, where it is injected."""


def generation_of(service: Document) -> Generation | None:
    spec = service.get("Spec") or {}
    labels = spec.get("Labels") or {}
    template = spec.get("TaskTemplate") or {}
    try:
        planned = marks.PORT in labels
        replicas = ((spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas", 0)
        return Generation(
            id=service["ID"],
            name=spec.get("Name", ""),
            number=int(labels[marks.GENERATION]),
            spec=msgspec.json.decode(labels[marks.SPEC], type=FunctionSpec),
            created_at=datetime.fromisoformat(labels[marks.CREATED_AT]),
            desired=replicas if planned else int(labels[marks.DESIRED]),
            floor=int(labels.get(marks.FLOOR, "0")),
            planned=planned,
            port=int(labels.get(marks.PORT, "0")),
            lenient=labels.get(marks.LENIENT) == "true",
            network=next((network["Target"] for network in template.get("Networks") or ()), ""),
            guarded=_guarded(template),
            watchdog=_watchdog(template),
        )
    except (KeyError, ValueError, msgspec.DecodeError):
        return None


def _guarded(template: Document) -> bool:
    test = ((template.get("ContainerSpec") or {}).get("Healthcheck") or {}).get("Test") or ["NONE"]
    return bool(test[0] != "NONE")


def _watchdog(template: Document) -> str:
    mounts = (template.get("ContainerSpec") or {}).get("Mounts") or ()
    return next((str(mount.get("Source", "")) for mount in mounts if mount.get("Target") == PLACE), "")
