"""The pods of a function: its container, where its files come from and what it may do.

Pure; called by `manifests`. What is allowed is listed here: no capability that the function does not ask for, no namespace,
device or folder of a node, and no token of the cluster unless a ServiceAccount is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.model import FunctionSpec
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.injection import start_of
from penstock.providers.limits import limits_of
from penstock.providers.validation import program_of
from penstock.watchdog.settings import PRIVATE_VARIABLES

Document = dict[str, Any]

CONTAINER = "function"
"""Name of the container that the function runs in."""
MARGIN = 5
"""Seconds beyond the function's own time to end, for what comes before and after it."""


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
    user: int = 12000
    """User and group of functions that name none; 0 leaves it to the image or to the cluster's own policy."""


def pod_spec(spec: FunctionSpec, shape: Shape, secret_types: Mapping[str, str]) -> Document:
    """Of the template in a Deployment, without profiles. `secret_types` has the type of each secret that is no Opaque one."""
    start = start_of(spec)
    container: Document = {
        "name": CONTAINER,
        "image": spec.image,
        "env": environment(spec),
        "ports": [{"name": "http", "containerPort": start.port, "protocol": "TCP"}],
    }
    if start.command:
        container["command"] = list(start.command)
    return {
        "containers": [container],
        "terminationGracePeriodSeconds": math.ceil(limits_of(spec).grace) + MARGIN,
        "automountServiceAccountToken": marks.SERVICE_ACCOUNT in spec.annotations,
        "enableServiceLinks": False,
    }


def environment(spec: FunctionSpec) -> list[Document]:
    """The program and the variables, by name; a program that `envProcess` names wins over those of `envVars`."""
    environ = {name: value for name, value in spec.env_vars.items() if name not in PRIVATE_VARIABLES}
    if program := program_of(spec):
        environ.pop("function_process", None)
        environ["fprocess"] = program
    return [{"name": name, "value": literal(value)} for name, value in sorted(environ.items())]


def literal(text: str) -> str:
    """Text that Kubernetes, which expands `$(NAME)` in variables, leaves as it is."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text
