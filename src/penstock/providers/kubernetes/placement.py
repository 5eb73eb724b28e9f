"""Where pods of a function may run: its constraints as a nodeSelector and node affinity.

Pure; called by `podspec` and `manifests.check`. A constraint is the name of a node's label with its value (`disk=ssd`, as on
Kubernetes), or Docker's spelling of the same (`node.labels.disk==ssd`), so that one stack file serves all providers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from penstock.errors import InvalidInput
from penstock.providers.kubernetes.syntax import is_label_value, is_qualified

_GRAMMAR = re.compile(r"\s*(?P<key>[A-Za-z0-9_./-]+)\s*(?P<sign>==|!=|=)\s*(?P<value>[A-Za-z0-9_.-]*)\s*", re.ASCII)
_LONGEST = 1024
_LABELS = "node.labels."
_ROLE = "node.role"
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_TRANSLATED = {
    "node.hostname": "kubernetes.io/hostname",
    "node.platform.os": "kubernetes.io/os",
    "node.platform.arch": "kubernetes.io/arch",
}
_WITHOUT = ("node.id", "engine.labels.")
"""Docker's, which nodes of a cluster do not have."""
_GO_NAMES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "armhf": "arm",
    "i386": "386", "i686": "386",
}  # fmt: skip
"""What kernels call machines, and what nodes say."""


class Placement(msgspec.Struct, frozen=True):
    """What all of a function's constraints say together."""

    selector: dict[str, str]
    """Labels that a node must have, with these values."""
    expressions: tuple[dict[str, Any], ...]
    """What it must not have, or have with any value: requirements of node affinity, all of which must hold."""


def placement_of(constraints: Iterable[str]) -> Placement:
    """Raises InvalidInput for what cannot be read, asked of a cluster, or hold at once."""
    selector: dict[str, str] = {}
    expressions: list[dict[str, Any]] = []
    for text in constraints:
        key, equal, value = _parse(text)
        if key == _ROLE:
            expressions.append(_role(text, equal, value))
        elif not equal:
            expressions.append({"key": key, "operator": "NotIn", "values": [value]})
        elif selector.setdefault(key, value) != value:
            raise InvalidInput(
                f"constraints: {key} cannot be {selector[key]!r} and {value!r} at once; leave one of them out"
            )
    return Placement(selector, tuple(expressions))


def with_expressions(affinity: dict[str, Any], expressions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The same affinity, which may be empty, where all these hold as well. Terms are alternatives: each of them gets all."""
    added = list(expressions)
    if not added:
        return affinity
    node = affinity.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [
        {**term, "matchExpressions": [*(term.get("matchExpressions") or []), *added]}
        for term in required.get("nodeSelectorTerms") or [{}]
    ]
    chosen = {**node, "requiredDuringSchedulingIgnoredDuringExecution": {**required, "nodeSelectorTerms": terms}}
    return {**affinity, "nodeAffinity": chosen}


def _parse(text: str) -> tuple[str, bool, str]:
    """The label's name, whether it shall be equal, and the value."""
    match = _GRAMMAR.fullmatch(text) if len(text) <= _LONGEST else None
    if not match:
        raise InvalidInput(
            f"constraints: {text[:200]!r} must be KEY=VALUE with the label of a node, such as kubernetes.io/arch=arm64, or KEY!=VALUE"
        )
    key, value = _label(text, match["key"]), match["value"]
    if key == "kubernetes.io/arch":
        value = _GO_NAMES.get(value.lower(), value.lower())
    if not is_label_value(value):
        raise InvalidInput(
            f"constraints: {text[:200]!r}: no label has the value {value[:80]!r}: at most 63 letters, digits, '-', '_' and '.', "
            "with a letter or digit at both ends"
        )
    return key, match["sign"] != "!=", value


def _label(text: str, key: str) -> str:
    lower = key.lower()
    if lower.startswith(_WITHOUT):
        raise InvalidInput(
            f"constraints: {text[:200]!r}: nodes of a cluster have no {key[:80]}; use node.hostname=NAME or node.labels.NAME=VALUE"
        )
    if lower == _ROLE:
        return _ROLE
    name = _TRANSLATED.get(lower) or (key[len(_LABELS) :] if lower.startswith(_LABELS) else key)
    if not is_qualified(name):
        raise InvalidInput(f"constraints: {text[:200]!r}: {name[:80]!r} cannot be the name of a label")
    return name


def _role(text: str, equal: bool, value: str) -> dict[str, Any]:
    if value not in ("manager", "worker"):
        raise InvalidInput(f"constraints: {text[:200]!r}: a node's role is manager or worker")
    manages = (value == "manager") == equal
    return {"key": _CONTROL_PLANE, "operator": "Exists" if manages else "DoesNotExist"}
