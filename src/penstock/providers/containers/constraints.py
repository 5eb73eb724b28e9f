"""Whether one machine is where a function wants to run: Swarm's placement constraints, and the architecture of its image.

Pure; called by the docker runtime with what its engine says of itself. On one machine a constraint that does not hold will
never hold, so that it is refused instead of waited for. A Swarm has a scheduler of its own for this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from penstock.errors import InvalidInput
from penstock.providers.containers.plan import ImageFacts

_GRAMMAR = re.compile(r"\s*(?P<key>[A-Za-z_][A-Za-z0-9_./-]*)\s*(?P<sign>==|!=)\s*(?P<value>\S(?:.*\S)?)\s*", re.ASCII)
_LONGEST = 1024
_PLAIN = ("node.id", "node.hostname", "node.role", "node.platform.os", "node.platform.arch")
_ENGINE = "engine.labels."
_LABELS = (_ENGINE, "node.labels.")
_KEYS = ", ".join((*_PLAIN, *(f"{room}NAME" for room in _LABELS)))
_GO_NAMES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "armhf": "arm",
    "i386": "386", "i686": "386",
}  # fmt: skip
"""What kernels call machines, and what images call them."""
_ALSO_RUNS = {"amd64": frozenset({"386"}), "arm64": frozenset({"arm"})}
"""Smaller ones that a machine runs as well."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine with an engine."""

    id: str = ""
    """In its Swarm; empty when it is in none."""
    hostname: str = ""
    role: str = "manager"
    """A machine alone manages itself."""
    os: str = "linux"
    architecture: str = ""
    """As Go names it: `amd64`."""
    engine_labels: dict[str, str] = {}


def node_of(info: Mapping[str, Any]) -> Node:
    """What `GET /info` says of the machine."""
    swarm = info.get("Swarm") or {}
    worker = swarm.get("LocalNodeState") == "active" and not swarm.get("ControlAvailable")
    pairs = (entry.partition("=") for entry in info.get("Labels") or ())
    return Node(
        id=swarm.get("NodeID") or "",
        hostname=info.get("Name", ""),
        role="worker" if worker else "manager",
        os=info.get("OSType", ""),
        architecture=_go_name(info.get("Architecture", "")),
        engine_labels={name: value for name, _, value in pairs},
    )


def check_constraints(constraints: Iterable[str], node: Node | None = None) -> None:
    """Refuse constraints that cannot be read and, where a machine is given, those that do not hold there. Raises InvalidInput."""
    for text in constraints:
        key, equal, value = _parse(text)
        if node is None:
            continue
        actual = _value(key, node)
        if (_same(key, actual, value)) != equal:
            shown = f"is {actual[:64]!r}" if actual else "is not set"
            raise InvalidInput(
                f"constraints: ({text!r}) does not hold on this machine, where {key} {shown}; all replicas run here, so "
                "change the constraint or leave it out (the swarm provider can choose among machines)"
            )


def check_platform(facts: ImageFacts, node: Node) -> None:
    """Refuse an image whose programs the machine cannot run. Raises InvalidInput."""
    wanted, here = _go_name(facts.architecture), node.architecture
    if not wanted or not here or wanted == here or wanted in _ALSO_RUNS.get(here, ()):
        return
    raise InvalidInput(
        f"image: {facts.reference} is for {facts.os[:64]}/{wanted[:64]}, this machine is {node.os}/{here}; build or pull it for "
        f"{node.os}/{here} (docker build or pull --platform {node.os}/{here})"
    )


def _parse(text: str) -> tuple[str, bool, str]:
    """Key, whether it shall be equal, and the value."""
    match = _GRAMMAR.fullmatch(text) if len(text) <= _LONGEST else None
    if not match or not match["value"].isprintable():
        raise InvalidInput(
            f"constraints: ({text[:200]!r}) must be KEY==VALUE or KEY!=VALUE, such as node.platform.os==linux"
        )
    key = match["key"].lower()
    for room in _LABELS:
        if key.startswith(room) and key != room:
            # Names of labels are the only part whose case means something.
            return room + match["key"][len(room) :], match["sign"] == "==", match["value"]
    if key not in _PLAIN:
        raise InvalidInput(f"constraints: ({text[:200]!r}) asks for {key[:64]!r}, which is none of {_KEYS}")
    return key, match["sign"] == "==", match["value"]


def _value(key: str, node: Node) -> str:
    """Empty when it is not set."""
    if key.startswith(_LABELS):
        return node.engine_labels.get(key.removeprefix(_ENGINE), "") if key.startswith(_ENGINE) else ""
    values = {
        "node.id": node.id,
        "node.hostname": node.hostname,
        "node.role": node.role,
        "node.platform.os": node.os,
        "node.platform.arch": node.architecture,
    }
    return values[key]


def _same(key: str, actual: str, wanted: str) -> bool:
    """Without regard to case, as Swarm compares; an architecture by any of its names."""
    if key == "node.platform.arch":
        wanted = _go_name(wanted)
    return actual.casefold() == wanted.casefold()


def _go_name(machine: str) -> str:
    return _GO_NAMES.get(machine.lower(), machine.lower())
