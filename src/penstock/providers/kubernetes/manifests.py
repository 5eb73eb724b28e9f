"""The objects of a function on a cluster, and what they say when they are read back.

Pure: plain JSON objects in the form of the Kubernetes API. Called by the provider, which applies them; `podspec` describes what
runs in the pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.injection import start_of
from penstock.providers.kubernetes.marks import is_ours
from penstock.providers.kubernetes.podspec import Document, Shape, pod_spec

__all__ = [
    "Document",
    "Shape",
    "account_name",
    "check",
    "created_of",
    "deployment",
    "desired_of",
    "floor_of",
    "is_ours",
    "port_of",
    "rollout_of",
    "same",
    "service",
    "service_account",
    "spec_of",
]

SERVICE_PORT = 8080
"""Of every function's Service, whatever the port of its container."""


def check(spec: FunctionSpec) -> None:
    """Raise InvalidInput for what Kubernetes would refuse or the provider cannot do, in words that say what to do instead."""
    if not spec.image:
        raise InvalidInput(f"image: is required, Kubernetes runs images; name one for {spec.name!r}")


def deployment(
    spec: FunctionSpec,
    desired: int,
    floor: int,
    shape: Shape,
    profiles: Sequence[Mapping[str, Any]] = (),
    secret_types: Mapping[str, str] = {},
    rollout: str = "",
) -> Document:
    """The Deployment with so many replicas and the floor of an alert; 0 is none.

    `profiles` are what `profiles.wanted` named, in that order. `secret_types` has the type of each secret of the specification,
    where it is not `Opaque`. Another `rollout` makes new pods of the same specification.
    """
    annotations = {marks.SPEC: msgspec.json.encode(spec).decode()}
    if floor:
        annotations[marks.FLOOR] = str(floor)
    if rollout:
        annotations[marks.ROLLOUT] = rollout
    pod_annotations = {marks.ROLLOUT: rollout} if rollout else {}
    wanted: Document = {
        "replicas": desired,
        "revisionHistoryLimit": 10,
        "selector": {"matchLabels": {marks.FUNCTION: spec.name}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": _labels(spec, shape), "annotations": pod_annotations},
            "spec": pod_spec(spec, shape, secret_types),
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(spec.name, spec, shape, annotations),
        "spec": wanted,
    }


def service(spec: FunctionSpec, shape: Shape) -> Document:
    """The Service, by which programs in the cluster call the function without the gateway."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(spec.name, spec, shape, {}),
        "spec": {
            "type": "NodePort" if shape.reach == "nodeport" else "ClusterIP",
            "selector": {marks.FUNCTION: spec.name},
            "ports": [{"name": "http", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": port_of(spec)}],
        },
    }


def service_account(spec: FunctionSpec, shape: Shape) -> Document:
    """The function's own ServiceAccount, for where none is named: it has no rights and gives no token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(account_name(spec), spec, shape, {}),
        "automountServiceAccountToken": False,
    }


def account_name(spec: FunctionSpec) -> str:
    """The ServiceAccount that pods of the function have: the one that is named, or its own."""
    return spec.annotations.get(marks.SERVICE_ACCOUNT) or f"function-{spec.name}"


def port_of(spec: FunctionSpec) -> int:
    """Where pods of the function answer HTTP."""
    return start_of(spec).port


# Read back


def spec_of(deployment: Mapping[str, Any]) -> FunctionSpec:
    """What the user asked for. Raises InvalidInput when the annotation is missing or cannot be read."""
    metadata = deployment["metadata"]
    text = (metadata.get("annotations") or {}).get(marks.SPEC, "")
    try:
        return msgspec.json.decode(text, type=FunctionSpec)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        where = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
        raise InvalidInput(
            f"annotation {marks.SPEC} of Deployment {where} cannot be read ({error}); deploy the function again"
        ) from error


def desired_of(deployment: Mapping[str, Any]) -> int:
    """Replicas wanted; Kubernetes makes one where nothing is said."""
    replicas = (deployment.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def floor_of(deployment: Mapping[str, Any]) -> int:
    """Of an alert that fires; 0 is none, and what cannot be read."""
    text = (deployment["metadata"].get("annotations") or {}).get(marks.FLOOR, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def rollout_of(deployment: Mapping[str, Any]) -> str:
    """What `deployment` was given as `rollout`."""
    return str((deployment["metadata"].get("annotations") or {}).get(marks.ROLLOUT, ""))


def created_of(deployment: Mapping[str, Any]) -> datetime:
    """When the function was deployed, in UTC; updates keep it."""
    return datetime.fromisoformat(deployment["metadata"]["creationTimestamp"])


def same(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the live object has all that is wanted; what the cluster or somebody else added does not count."""
    return _has(live, wanted)


def _has(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(_has(live.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(_has, live, wanted))
    return bool(live == wanted)


# Shared


def _labels(spec: FunctionSpec, shape: Shape) -> dict[str, str]:
    return {**spec.labels, marks.FUNCTION: spec.name, **marks.owner(shape.installation)}


def _metadata(name: str, spec: FunctionSpec, shape: Shape, annotations: Mapping[str, str]) -> Document:
    return {
        "name": name,
        "namespace": spec.namespace,
        "labels": _labels(spec, shape),
        "annotations": {**spec.annotations, **annotations},
    }
