"""Functions as a Deployment and a Service each: what a plain Kubernetes cluster runs, with no operator and no gateway.

Called by `generate`. A function then answers inside the cluster at `http://NAME.NAMESPACE:8080`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.core.quantity import parse_bytes
from penstock.core.scalelabels import initial_replicas
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Resources
from penstock.providers.containers.labels import HTTP_PORT, WATCHDOG
from penstock.providers.containers.resources import CORE, sizes_of
from penstock.providers.kubernetes.placement import placement_of, with_expressions
from penstock.providers.kubernetes.syntax import is_label_value, is_qualified

Document = dict[str, Any]

SECRETS = "/var/openfaas/secrets"
"""Where functions find theirs."""
PORT = 8080
"""Of functions and of their Service."""
SELECTOR = "faas_function"
"""Label that ties a Service to its replicas, as the original marks them."""

_OWN_MEMORY = re.compile(r"\d+(?:\.\d+)?(?:[KMGTPE]i|[MGTPE])?", re.ASCII)


def kubernetes(specs: Sequence[FunctionSpec]) -> list[Document]:
    """A Deployment and a Service for each. Raises InvalidInput for what Kubernetes cannot be told."""
    return [document for spec in specs for document in (_deployment(spec), _service(spec))]


def refuse_injection(spec: FunctionSpec, where: str) -> None:
    """Raises InvalidInput for an image that needs a watchdog from a provider of ours."""
    if spec.labels.get(WATCHDOG) == "inject":
        raise InvalidInput(
            f"function {spec.name!r}: {where} puts no watchdog into images ({WATCHDOG}=inject); build an image that has one"
        )


def _service(spec: FunctionSpec) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(spec),
        "spec": {
            "type": "ClusterIP",
            "selector": {SELECTOR: spec.name},
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        },
    }


def _deployment(spec: FunctionSpec) -> Document:
    refuse_injection(spec, "Kubernetes")
    metadata = _metadata(spec)
    pod: Document = {"containers": [_container(spec)], "automountServiceAccountToken": False}
    if volumes := _volumes(spec):
        pod["volumes"] = volumes
    pod |= _placement(spec)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": initial_replicas(spec.labels),
            "selector": {"matchLabels": {SELECTOR: spec.name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {key: metadata[key] for key in ("labels", "annotations") if key in metadata},
                "spec": pod,
            },
        },
    }


def _metadata(spec: FunctionSpec) -> Document:
    metadata = metadata_of(spec)
    return {**metadata, "labels": {**metadata.get("labels", {}), SELECTOR: spec.name}}


def metadata_of(spec: FunctionSpec) -> Document:
    """Name, namespace, labels and annotations. Labels that Kubernetes would refuse for their value become annotations.

    Raises InvalidInput for names of labels that it would refuse.
    """
    labels, annotations = {}, dict(spec.annotations)
    for name, value in spec.labels.items():
        if is_label_value(value):
            labels[name] = value
        else:
            annotations.setdefault(name, value)
    for name in (*labels, *annotations):
        if not is_qualified(name):
            raise InvalidInput(f"function {spec.name!r}: Kubernetes takes no label or annotation {name[:80]!r}")
    metadata: Document = {"name": spec.name, "namespace": spec.namespace, "labels": labels, "annotations": annotations}
    return {key: value for key, value in metadata.items() if value}


def environment_of(spec: FunctionSpec) -> list[Document]:
    """Its variables, the program line among them, so that Kubernetes replaces no `$(NAME)` in them."""
    program = {"fprocess": spec.env_process} if spec.env_process else {}
    return [{"name": name, "value": _literal(value)} for name, value in {**spec.env_vars, **program}.items()]


def _literal(text: str) -> str:
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


def _container(spec: FunctionSpec) -> Document:
    port = spec.labels.get(HTTP_PORT)
    # An image that serves by itself has a port; one with a watchdog says how it is.
    probe: Document = {"tcpSocket": {"port": "http"}} if port else {"httpGet": {"path": "/_/health", "port": "http"}}
    container: Document = {
        "name": spec.name,
        "image": spec.image,
        "ports": [{"name": "http", "containerPort": int(port) if port and port.isdigit() else PORT}],
        "env": environment_of(spec),
        "resources": _resources(spec),
        "readinessProbe": {**probe, "periodSeconds": 2},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 3},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": spec.read_only_root},
    }
    mounts = [{"name": "secrets", "mountPath": SECRETS, "readOnly": True}] if spec.secrets else []
    if spec.read_only_root:
        mounts.append({"name": "tmp", "mountPath": "/tmp"})
    if mounts:
        container["volumeMounts"] = mounts
    return {key: value for key, value in container.items() if value}


def _volumes(spec: FunctionSpec) -> list[Document]:
    """Each secret is a file of its own name, in all of which the key is that name."""
    volumes: list[Document] = []
    if spec.secrets:
        sources = [{"secret": {"name": name, "items": [{"key": name, "path": name}]}} for name in spec.secrets]
        volumes.append({"name": "secrets", "projected": {"sources": sources}})
    if spec.read_only_root:
        volumes.append({"name": "tmp", "emptyDir": {}})
    return volumes


def _resources(spec: FunctionSpec) -> Document:
    sizes = sizes_of(spec)
    pairs = {"limits": (spec.limits, sizes.cpu), "requests": (spec.requests, sizes.cpu_reserved)}
    found = {key: _quantities(resources, cpu) for key, (resources, cpu) in pairs.items()}
    return {key: value for key, value in found.items() if value}


def _quantities(resources: Resources, cpu: int) -> Mapping[str, str]:
    found = {}
    if resources.memory:
        # Docker's units are lower case, where Kubernetes' `m` would be a thousandth of a byte.
        own = _OWN_MEMORY.fullmatch(resources.memory)
        found["memory"] = resources.memory if own else str(parse_bytes(resources.memory))
    if cpu:
        found["cpu"] = f"{cpu * 1000 // CORE}m"
    return found


def _placement(spec: FunctionSpec) -> Document:
    """Constraints on nodes: those that demand a value select nodes, the others are an affinity."""
    try:
        found = placement_of(spec.constraints)
    except InvalidInput as error:
        raise InvalidInput(f"function {spec.name!r}: {error}") from error
    affinity = with_expressions({}, found.expressions)
    return {key: value for key, value in {"nodeSelector": found.selector, "affinity": affinity}.items() if value}
