"""Whether an object in the cluster still is what we would write.

Pure; called by the provider for each object of ours that it sees. An API server fills in defaults and writes quantities in its
own way, and others may add to an object: none of that is drift. What we left out since is seen by a digest in an annotation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.quantities import value_of

_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ports": ("containerPort", "port"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists whose members are known by these fields, so that applying leaves alone what others added; other lists are one value."""
_AMOUNTS = frozenset({"limits", "requests"})


def with_digest(document: dict[str, Any]) -> dict[str, Any]:
    """The same object with an annotation that changes with everything but how many replicas there are to be."""
    metadata = document["metadata"]
    annotations = {name: text for name, text in metadata["annotations"].items() if name != marks.FLOOR}
    spec = {name: value for name, value in document.get("spec", {}).items() if name != "replicas"}
    known = {**document, "metadata": {**metadata, "annotations": annotations}, "spec": spec}
    digest = hashlib.sha256(msgspec.json.encode(known, order="sorted")).hexdigest()[:16]
    return {
        **document,
        "metadata": {**metadata, "annotations": {**metadata["annotations"], marks.DIGEST: digest}},
    }


def same(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the live object has all that is wanted, and nothing of ours that is not: applying it would change nothing."""
    return _has(live, wanted, "") and (marks.FLOOR in _annotations(live)) == (marks.FLOOR in _annotations(wanted))


def _annotations(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return document["metadata"].get("annotations") or {}


def _has(live: Any, wanted: Any, field: str) -> bool:
    if live is None:
        return not wanted  # an API server leaves out what is empty
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            _is_amount(live.get(name), value) if field in _AMOUNTS else _has(live.get(name), value, name)
            for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and _has_members(live, wanted, _KEYS.get(field, ()))
    return bool(live == wanted)


def _has_members(live: list[Any], wanted: list[Any], keys: tuple[str, ...]) -> bool:
    if not keys:
        return len(live) == len(wanted) and all(_has(one, other, "") for one, other in zip(live, wanted, strict=True))
    found = {_key(member, keys): member for member in live}
    return all(_has(found.get(_key(member, keys)), member, "") for member in wanted)


def _key(member: Any, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(member.get(key, "")) for key in keys) if isinstance(member, Mapping) else (str(member),)


def _is_amount(live: Any, wanted: Any) -> bool:
    return live is not None and value_of(live) == value_of(wanted)
