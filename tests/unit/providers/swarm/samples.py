"""Documents as an engine gives them, for tests that need some."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from penstock.model import FunctionSpec
from penstock.providers.containers.engine import Document
from penstock.providers.containers.plan import ImageFacts, Plan
from penstock.providers.swarm.generation import Generation
from penstock.providers.swarm.services import Outfit, completed, draft

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FACTS = ImageFacts(reference="img:1", id="sha256:1", os="linux", architecture="amd64")
PLAN = Plan(injected=False, port=8080)
OUTFIT = Outfit(network="net1")


def spec(name: str = "echo", **fields: Any) -> FunctionSpec:
    return FunctionSpec(name=name, **{"image": "img:1", **fields})


def generation(number: int = 1, desired: int = 1, **fields: Any) -> Generation:
    given = {"spec": spec(), "created_at": WHEN, "planned": True, "port": 8080, "network": "net1", **fields}
    return Generation(id=f"svc{number}", name=f"echo__{number}", number=number, desired=desired, **given)


def service(of: Generation, plan: Plan | None = PLAN, installation: str = "lab") -> Document:
    """The service of a generation; without a plan its draft."""
    body = draft(of, installation)
    if plan:
        body = completed(body, of, FACTS, plan, OUTFIT)
    return {"ID": of.id, "Version": {"Index": 7}, "Spec": body, "CreatedAt": "2026-01-02T03:04:05Z"}


def task(number: int = 1, state: str = "running", desired: str = "running", **fields: Any) -> Document:
    status: Document = {"State": state, "Timestamp": "2026-01-02T03:04:06.123456789Z", **fields.pop("status", {})}
    return {
        "ID": f"task{number}",
        "CreatedAt": f"2026-01-02T03:04:05.{number:03}Z",
        "ServiceID": "svc1",
        "Slot": 1,
        "NodeID": "node1",
        "DesiredState": desired,
        "Status": status,
        **fields,
    }


def node(state: str = "ready", name: str = "worker-1", availability: str = "active") -> Document:
    return {
        "Status": {"State": state, "Addr": "10.1.2.3"},
        "Spec": {"Availability": availability},
        "Description": {"Hostname": name},
    }


NODES = {"node1": node()}
