"""The pods of a function: its container, where its files come from and what it may do.

Pure; called by `manifests`. What is allowed is listed here: no capability that the function does not ask for, no namespace,
device or folder of a node, and no token of the cluster unless a ServiceAccount is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.model import FunctionSpec
from penstock.providers.containers.body import SECRETS
from penstock.providers.kubernetes import marks, security
from penstock.providers.kubernetes.injection import limits_for, start_of
from penstock.providers.kubernetes.placement import placement_of
from penstock.providers.kubernetes.probes import probes_of
from penstock.providers.kubernetes.quantities import for_copying, resources_of
from penstock.providers.limits import limits_of
from penstock.providers.validation import program_of
from penstock.watchdog.bundle.write import PLACE
from penstock.watchdog.settings import PRIVATE_VARIABLES

Document = dict[str, Any]

CONTAINER, HELPER = "function", "watchdog"
"""Names of the container that the function runs in, and of the one that copies the watchdog before it starts."""
PULL_SECRETS = frozenset({"kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"})
"""Types of secrets that are credentials of a registry, and no files for the function."""
MARGIN = 5
"""Seconds beyond the function's own time to end, for what comes before and after it."""
DEFAULT_USER = 12000
"""User and group of functions that name none; OpenFaaS has the same for non-root functions."""

_COPY = "/copy"
_LAST_WORDS = "FallbackToLogsOnError"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What of the installation shapes every pod."""

    installation: str
    watchdog_image: str
    """An image of Penstock, from which the watchdog is copied into pods of unmodified images."""
    pull_policy: str = ""
    """Of functions' images: `Always`, `IfNotPresent` or `Never`; empty leaves it to the cluster, which goes by the tag."""
    watchdog_pull_policy: str = ""
    """Of our own image."""
    reach: str = "pods"
    """`nodeport` where the gateway is outside the cluster."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets with credentials of registries, which must be in every namespace of functions."""
    user: int = DEFAULT_USER
    """User and group of functions that name none; 0 leaves it to the image or to the cluster's own policy."""


def pod_spec(spec: FunctionSpec, shape: Shape, secret_types: Mapping[str, str]) -> Document:
    """Of the template in a Deployment, without profiles. `secret_types` has the type of each secret that is not Opaque."""
    volumes, mounts = _files(spec, secret_types)
    identity = security.identity_of(spec, shape.user)
    document: Document = {
        "containers": [_container(spec, shape, mounts)],
        "securityContext": security.pod_security(identity),
        "serviceAccountName": account_name(spec),
        "automountServiceAccountToken": bool(spec.annotations.get(marks.SERVICE_ACCOUNT)),
        "terminationGracePeriodSeconds": math.ceil(limits_of(spec).grace) + MARGIN,
        # A variable for each Service of the namespace would be hundreds, and they slow the start of a shell.
        "enableServiceLinks": False,
    }
    if volumes:
        document["volumes"] = volumes
    if selector := placement_of(spec.constraints).selector:
        document["nodeSelector"] = selector
    if names := _pull_secrets(spec, shape, secret_types):
        document["imagePullSecrets"] = [{"name": name} for name in names]
    return document


def with_helper(pod: Document, spec: FunctionSpec, shape: Shape) -> None:
    """Let the watchdog be copied before the function's container starts, where it needs one; amounts are as that one's."""
    if not start_of(spec).injected:
        return
    helper: Document = {
        "name": HELPER,
        "image": shape.watchdog_image,
        "command": [f"{PLACE}/penstock-watchdog", "--copy-to", _COPY],
        "securityContext": security.helper_security(shape.user),
        "terminationMessagePolicy": _LAST_WORDS,
        "volumeMounts": [{"name": HELPER, "mountPath": _COPY}],
    }
    if shape.watchdog_pull_policy:
        helper["imagePullPolicy"] = shape.watchdog_pull_policy
    if resources := for_copying(pod["containers"][0].get("resources", {})):
        helper["resources"] = resources
    pod["initContainers"] = [helper]


def account_name(spec: FunctionSpec) -> str:
    """The ServiceAccount that pods of the function have: the one that is named, or its own."""
    return spec.annotations.get(marks.SERVICE_ACCOUNT) or f"function-{spec.name}"


def environment(spec: FunctionSpec) -> list[Document]:
    """The program and the variables, by name; a program that `envProcess` names wins over those of `envVars`, and over those
    that the image may have under either name."""
    start = start_of(spec)
    environ = {name: value for name, value in spec.env_vars.items() if name not in PRIVATE_VARIABLES}
    if program := program_of(spec):
        environ["fprocess"] = environ["function_process"] = program
    environ = {"OPENFAAS_NAME": spec.name, "OPENFAAS_NAMESPACE": spec.namespace, **environ}
    if start.way == "watchdog":
        environ = {"prefix_logs": "false", **environ, **limits_for(spec)}
    return [_variable(name, value) for name, value in sorted(environ.items())]


def literal(text: str) -> str:
    """Text that Kubernetes, which expands `$(NAME)` in variables, leaves as it is."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


# Parts


def _container(spec: FunctionSpec, shape: Shape, mounts: Sequence[Document]) -> Document:
    start = start_of(spec)
    document: Document = {
        "name": CONTAINER,
        "image": spec.image,
        "env": environment(spec),
        "ports": [{"name": "http", "containerPort": start.port, "protocol": "TCP"}],
        "securityContext": security.container_security(spec),
        # So that it can be said why it ended: the cluster keeps the last lines, up to 2 KiB, with the exit code.
        "terminationMessagePolicy": _LAST_WORDS,
        **probes_of(spec),
    }
    if shape.pull_policy:
        document["imagePullPolicy"] = shape.pull_policy
    if start.command:
        document["command"] = list(start.command)
    if resources := resources_of(spec):
        document["resources"] = resources
    if mounts:
        document["volumeMounts"] = list(mounts)
    return document


def _files(spec: FunctionSpec, secret_types: Mapping[str, str]) -> tuple[list[Document], list[Document]]:
    """Volumes of the pod, and where the container has them."""
    volumes: list[Document] = []
    mounts: list[Document] = []
    if start_of(spec).injected:
        volumes.append({"name": HELPER, "emptyDir": {}})
        mounts.append({"name": HELPER, "mountPath": PLACE, "readOnly": True})
    if names := [name for name in sorted(set(spec.secrets)) if secret_types.get(name) not in PULL_SECRETS]:
        # Every user in the container may read them: which user the program runs as is the image's affair.
        sources = [{"secret": {"name": name}} for name in names]
        volumes.append({"name": "secrets", "projected": {"sources": sources, "defaultMode": 0o444}})
        mounts.append({"name": "secrets", "mountPath": SECRETS, "readOnly": True})
    if spec.read_only_root:
        volumes.append({"name": "temp", "emptyDir": {}})
        mounts.append({"name": "temp", "mountPath": "/tmp"})
    return volumes, mounts


def _pull_secrets(spec: FunctionSpec, shape: Shape, secret_types: Mapping[str, str]) -> list[str]:
    own = [name for name in spec.secrets if secret_types.get(name) in PULL_SECRETS]
    return list(dict.fromkeys([*own, *shape.image_pull_secrets]))


def _variable(name: str, value: str) -> Document:
    return {"name": name, "value": literal(value)} if value else {"name": name}
