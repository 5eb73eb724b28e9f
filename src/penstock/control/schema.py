"""The JSON of the REST API and our domain objects, each translated into the other (contract gateway §2).

Called by the resource files of this package. Names are judged here, through `core.names`; whether a specification can be
run is the provider's to say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.control.decode import JsonObject
from penstock.core.names import check_function_name, check_namespace, check_secret_name
from penstock.errors import InvalidInput, TooLarge
from penstock.model import Function, FunctionSpec, LogLine, Namespace, Replica, Resources, Secret, Usage

MAX_SECRET = 1 << 20
"""Bytes of one secret. Kubernetes allows 1 MiB for all keys of one object, Swarm 500 kB."""

FUNCTION_LABEL = "faas_function"
"""Label with the function's name that clients expect among those echoed (contract gateway §12.4)."""


def encode(value: object) -> bytes:
    """JSON without spaces or final newline."""
    return msgspec.json.encode(value)


def rfc3339(moment: datetime) -> str:
    """A time with date, `T` and zone; one without a zone is taken as UTC (contract gateway §2.2)."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.isoformat().replace("+00:00", "Z")


def read_function_spec(body: JsonObject, namespace: str) -> FunctionSpec:
    """A FunctionDeployment (contract gateway §2.1). `namespace` is used when the body has none. Raises InvalidInput."""
    return FunctionSpec(
        name=check_function_name(body.text("service")),
        namespace=read_namespace(body, namespace),
        image=body.text("image"),
        env_process=body.text("envProcess"),
        env_vars=body.text_map("envVars"),
        constraints=body.texts("constraints"),
        secrets=tuple(check_secret_name(name) for name in body.texts("secrets")),
        labels=body.text_map("labels"),
        annotations=body.text_map("annotations"),
        limits=_read_resources(body.child("limits")),
        requests=_read_resources(body.child("requests")),
        read_only_root=body.flag("readOnlyRootFilesystem"),
        stages=body.texts("pipeline"),
    )


def read_namespace(body: JsonObject, fallback: str) -> str:
    """The body's `namespace`, else `fallback`, which the query or the default gave (contract gateway §12.2)."""
    return check_namespace(body.text("namespace") or fallback)


def read_replicas(body: JsonObject) -> int:
    """`replicas` of a ScaleServiceRequest. Required: a forgotten field must not stop a function."""
    if not body.has("replicas"):
        raise InvalidInput("replicas: is required")
    return body.count("replicas")


def read_secret(body: JsonObject, namespace: str) -> Secret:
    """A Secret; `rawValue` (base64) wins over `value` (contract gateway §2.3). Raises InvalidInput or TooLarge."""
    value = body.blob("rawValue") or body.text("value").encode()
    if len(value) > MAX_SECRET:
        raise TooLarge(f"secret: the value has {len(value)} bytes, at most {MAX_SECRET} are accepted")
    name = check_secret_name(body.text("name"))
    return Secret(name=name, namespace=read_namespace(body, namespace), value=value)


def read_function_namespace(body: JsonObject, name: str) -> Namespace:
    """A FunctionNamespace of this (already chosen) name."""
    return Namespace(
        name=check_namespace(name), labels=body.text_map("labels"), annotations=body.text_map("annotations")
    )


def function_status(function: Function, invocations: int = 0) -> dict[str, Any]:
    """A FunctionStatus (contract gateway §2.2): what the user sent, verbatim, and what there is. Empty parts are left out."""
    spec = function.spec
    status: dict[str, Any] = {
        "name": spec.name,
        "image": spec.image,
        "namespace": spec.namespace,
        "envProcess": spec.env_process,
        "envVars": spec.env_vars,
        "constraints": spec.constraints,
        "secrets": spec.secrets,
        "limits": _resources(spec.limits),
        "requests": _resources(spec.requests),
        "readOnlyRootFilesystem": spec.read_only_root,
        "pipeline": spec.stages,
        "invocationCount": invocations,
        "replicas": function.desired,
        "availableReplicas": function.available,
    }
    status = {name: value for name, value in status.items() if value or name in ("name", "image", "namespace")}
    # Clients dereference these three without looking: they are there even when empty.
    status["labels"] = {FUNCTION_LABEL: spec.name, **spec.labels}
    status["annotations"] = spec.annotations
    status["createdAt"] = rfc3339(function.created_at)
    return status


def function_details(function: Function) -> dict[str, Any]:
    """A FunctionStatus with our own field `instances` and, where the provider measured it, `usage`."""
    status = function_status(function)
    if function.replicas:
        status["instances"] = [_instance(replica) for replica in function.replicas]
    if function.usage:
        status["usage"] = _usage(function.usage)
    return status


def namespace_status(namespace: Namespace) -> dict[str, Any]:
    """A FunctionNamespace; `labels` always, `annotations` when there are any."""
    status: dict[str, Any] = {"name": namespace.name, "labels": namespace.labels}
    if namespace.annotations:
        status["annotations"] = namespace.annotations
    return status


def log_message(line: LogLine) -> dict[str, str]:
    """A LogMessage; all five fields are always there."""
    return {
        "name": line.name,
        "namespace": line.namespace,
        "instance": line.instance,
        "timestamp": rfc3339(line.timestamp),
        "text": line.text,
    }


def _instance(replica: Replica) -> dict[str, Any]:
    instance: dict[str, Any] = {"id": replica.id, "state": replica.state, "restarts": replica.restarts}
    if replica.reason:
        instance["reason"] = replica.reason
    if replica.started_at:
        instance["startedAt"] = rfc3339(replica.started_at)
    return instance


def _usage(usage: Usage) -> dict[str, float]:
    numbers = {"cpu": usage.cpu_millis, "totalMemoryBytes": usage.memory_bytes}
    return {name: number for name, number in numbers.items() if number}


def _resources(resources: Resources) -> dict[str, str]:
    quantities = {"memory": resources.memory, "cpu": resources.cpu}
    return {name: quantity for name, quantity in quantities.items() if quantity}


def _read_resources(body: JsonObject) -> Resources:
    return Resources(memory=body.text("memory"), cpu=body.text("cpu"))
