"""The objects of a function on a cluster, and what they say when they are read back.

Pure: plain JSON objects in the form of the Kubernetes API. Called by the provider, which applies them; `podspec` describes what
runs in the pods, `drift` compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers.plan import check_labels
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.drift import same, with_digest
from penstock.providers.kubernetes.injection import check_start, start_of
from penstock.providers.kubernetes.marks import is_ours
from penstock.providers.kubernetes.placement import placement_of
from penstock.providers.kubernetes.podspec import Document, Shape, account_name, pod_spec, with_helper
from penstock.providers.kubernetes.profiles import Profile, affinity, put_on, wanted
from penstock.providers.kubernetes.quantities import check_resources
from penstock.providers.kubernetes.security import identity_of
from penstock.providers.kubernetes.syntax import check_size, check_texts, object_labels

__all__ = [
    "HANDOVER",
    "Document",
    "Shape",
    "account_name",
    "check",
    "created_of",
    "deployment",
    "desired_of",
    "floor_of",
    "handover",
    "has_own_account",
    "is_handed_over",
    "is_ours",
    "port_of",
    "refuse_number",
    "rollout_of",
    "same",
    "service",
    "service_account",
    "spec_of",
]

SERVICE_PORT = 8080
"""Of every function's Service, whatever the port of its container."""
HANDOVER = "penstock-handover"
"""Field manager of replicas that are an autoscaler's to change."""
HISTORY = 10
"""Former ReplicaSets that are kept for people who look at them; Kubernetes' own number."""
SCRAPE = ("prometheus.io.scrape", "prometheus.io/scrape")
"""Two spellings that are one to Prometheus. Pods of functions are not scraped unless they say so (contract gateway §9.2)."""


def check(spec: FunctionSpec) -> None:
    """Raise InvalidInput for what Kubernetes would refuse or cannot do, in words that say what to do instead.

    Expects a specification that `validation.check_spec` has accepted; whether secrets and profiles exist is not known here.
    """
    if spec.name[:1].isdigit():
        raise InvalidInput(f"service: ({spec.name!r}) begins with a digit, Services of Kubernetes begin with a letter")
    check_labels(spec)
    check_texts(spec)
    check_start(spec)
    check_resources(spec)
    placement_of(spec.constraints)
    identity_of(spec, 0)
    wanted(spec)
    _check_marks(spec)
    check_size({**_pod_annotations(spec), **_own_annotations(spec, 1, "")}, spec.key)


def deployment(
    spec: FunctionSpec,
    desired: int,
    floor: int,
    shape: Shape,
    profiles: Sequence[Profile] = (),
    secret_types: Mapping[str, str] = {},
    rollout: str = "",
) -> Document:
    """The Deployment with so many replicas and the floor of an alert; 0 is none. Expects what `check` has accepted.

    `profiles` are what `profiles.wanted` named, in that order. `secret_types` has the type of each secret of the specification,
    where it is not `Opaque`. Another `rollout` makes new pods of the same specification. Where replicas are handed over to an
    autoscaler of the user's, none are written.
    """
    rolled = {marks.ROLLOUT: rollout} if rollout else {}
    content: Document = {
        "revisionHistoryLimit": HISTORY,
        "selector": {"matchLabels": {marks.FUNCTION: spec.name}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": _labels(spec, shape), "annotations": {**_pod_annotations(spec), **rolled}},
            "spec": pod_spec(spec, shape, secret_types),
        },
    }
    put_on(content, profiles, spec.name)
    pod = content["template"]["spec"]
    if chosen := affinity(profiles, placement_of(spec.constraints).expressions):
        pod["affinity"] = chosen
    with_helper(pod, spec, shape)
    if not is_handed_over(spec):
        content["replicas"] = desired
    annotations = {**_pod_annotations(spec), **_own_annotations(spec, floor, rollout)}
    return with_digest({**_object("apps/v1", "Deployment", spec.name, spec, shape, annotations), "spec": content})


def service(spec: FunctionSpec, shape: Shape) -> Document:
    """The Service, by which programs in the cluster call the function without the gateway."""
    content = {
        "type": "NodePort" if shape.reach == "nodeport" else "ClusterIP",
        "selector": {marks.FUNCTION: spec.name},
        "ports": [{"name": "http", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": port_of(spec)}],
    }
    return with_digest({**_object("v1", "Service", spec.name, spec, shape, _pod_annotations(spec)), "spec": content})


def service_account(spec: FunctionSpec, shape: Shape) -> Document:
    """The function's own ServiceAccount, for where none is named: it has no rights and gives no token."""
    described = _object("v1", "ServiceAccount", account_name(spec), spec, shape, {})
    return with_digest({**described, "automountServiceAccountToken": False})


def has_own_account(spec: FunctionSpec) -> bool:
    """Whether `service_account` is to be applied: no other is named."""
    return not spec.annotations.get(marks.SERVICE_ACCOUNT)


def is_handed_over(spec: FunctionSpec) -> bool:
    """Whether an autoscaler of the user's says how many replicas there are."""
    return spec.labels.get(marks.HPA) == "true"


def refuse_number(live: Mapping[str, Any], replicas: int) -> None:
    """Raises InvalidInput for a number of replicas that an autoscaler of the user's decides. It begins at one: to put a function to
    rest and to wake it is the platform's, as for all functions."""
    spec, desired = spec_of(live), desired_of(live)
    if is_handed_over(spec) and desired and replicas not in (0, desired):
        raise InvalidInput(
            f"replicas: {spec.key} has {desired} by an autoscaler of the cluster (label {marks.HPA}=true); change that one, or "
            "leave the label out"
        )


def handover(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Document | None:
    """What to apply first, as the manager `HANDOVER`, where the wanted Deployment says no more how many replicas there are:
    without it they would be back to one, for a number that nobody says. None where nothing would be lost."""
    if "replicas" in wanted["spec"] or live["spec"].get("replicas") is None or not _says_replicas(live["metadata"]):
        return None
    named = {field: live["metadata"][field] for field in ("name", "namespace")}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": named,
        "spec": {"replicas": live["spec"]["replicas"]},
    }


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


# Shared


def _object(
    version: str, kind: str, name: str, spec: FunctionSpec, shape: Shape, annotations: Mapping[str, str]
) -> Document:
    metadata = {
        "name": name,
        "namespace": spec.namespace,
        "labels": _labels(spec, shape),
        "annotations": dict(annotations),
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _labels(spec: FunctionSpec, shape: Shape) -> dict[str, str]:
    return {**object_labels(spec), marks.FUNCTION: spec.name, **marks.owner(shape.installation)}


def _pod_annotations(spec: FunctionSpec) -> dict[str, str]:
    """The function's own, on all of its objects."""
    scraped = any(name in spec.annotations for name in SCRAPE)
    return {**spec.annotations, **({} if scraped else {SCRAPE[0]: "false"})}


def _own_annotations(spec: FunctionSpec, floor: int, rollout: str) -> dict[str, str]:
    values = {
        marks.SPEC: msgspec.json.encode(spec).decode(),
        marks.FLOOR: str(floor) if floor else "",
        marks.ROLLOUT: rollout,
    }
    return {name: value for name, value in values.items() if value}


def _says_replicas(metadata: Mapping[str, Any]) -> bool:
    """Whether it was us who last said how many; taken for granted where the object does not tell."""
    if "managedFields" not in metadata:
        return True
    return any(
        entry.get("manager") == marks.MANAGER
        and entry.get("operation") == "Apply"
        and "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        for entry in metadata["managedFields"] or ()
    )


def _check_marks(spec: FunctionSpec) -> None:
    handed = spec.labels.get(marks.HPA, "false")
    if handed not in ("true", "false"):
        raise InvalidInput(f"labels: {marks.HPA}={handed[:64]!r} must be true or false")
    account = spec.annotations.get(marks.SERVICE_ACCOUNT, "")
    if account and not marks.OBJECT_NAME.fullmatch(account):
        raise InvalidInput(
            f"annotations: {marks.SERVICE_ACCOUNT}: {account[:80]!r} cannot be the name of a ServiceAccount"
        )
