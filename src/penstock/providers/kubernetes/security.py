"""What a function's container may do: the level `restricted` of the Pod Security Standards, unless labels ask for more.

Pure; called by `podspec` and `manifests.check`. On Docker an image that names a user keeps it; here nobody can read the image
beforehand, and the kubelet refuses names of users where it must know that they are not root. So every container runs as one
user by its number, except where a label names another, or asks for capabilities, which are of use to root alone.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers.capabilities import capabilities_of
from penstock.providers.kubernetes import marks
from penstock.providers.limits import limits_of

_USER = re.compile(r"(\d{1,10})(?::(\d{1,10}))?", re.ASCII)
_MOST = (1 << 31) - 1
"""Kubernetes' largest number of a user or group."""


class Identity(msgspec.Struct, frozen=True):
    """Who a container runs as; None leaves it to the image."""

    user: int | None = None
    group: int | None = None
    may_be_root: bool = False


def identity_of(spec: FunctionSpec, default: int) -> Identity:
    """By the function's labels, else this user; 0 leaves it to the image or the cluster. Raises InvalidInput."""
    text = spec.labels.get(marks.USER, "")
    if not text:
        if capabilities_of(spec):
            return Identity(may_be_root=True)
        return Identity(default, default) if default else Identity()
    if text == "image":
        return Identity(may_be_root=True)
    found = _USER.fullmatch(text)
    numbers = [int(part) for part in found.groups() if part] if found else []
    if not numbers or max(numbers) > _MOST:
        raise InvalidInput(
            f"labels: {marks.USER}={text[:64]!r} must be the number of a user (1000), of user and group (1000:1000), or image "
            "for the image's own user, root included"
        )
    return Identity(numbers[0], numbers[-1], may_be_root=numbers[0] == 0)


def pod_security(identity: Identity) -> dict[str, Any]:
    """The securityContext of the pod."""
    document: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if not identity.may_be_root:
        document["runAsNonRoot"] = True
    if identity.user is not None:
        document["runAsUser"] = identity.user
    if identity.group is not None:
        document["runAsGroup"] = identity.group
    return document


def container_security(spec: FunctionSpec) -> dict[str, Any]:
    """The securityContext of the function's container."""
    capabilities: dict[str, Any] = {"drop": ["ALL"]}
    if given := capabilities_of(spec):
        capabilities["add"] = list(given)
    document: dict[str, Any] = {
        "allowPrivilegeEscalation": limits_of(spec).new_privileges,
        "capabilities": capabilities,
    }
    if spec.read_only_root:
        document["readOnlyRootFilesystem"] = True
    return document


def helper_security(default: int) -> dict[str, Any]:
    """The securityContext of the container that copies the watchdog, whatever the function's own is."""
    document: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
    if default:
        document["runAsUser"] = document["runAsGroup"] = default
    return document
