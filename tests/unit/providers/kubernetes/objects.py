"""Specifications and what is asked of a cluster for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.model import FunctionSpec
from penstock.providers.kubernetes.manifests import Document, Shape, check, deployment
from penstock.providers.kubernetes.profiles import Profile
from penstock.providers.validation import check_spec
from tests.unit.providers.kubernetes.schemas import check_schemas

SHAPE = Shape(installation="lab", watchdog_image="penstock:1")


def spec(**fields: Any) -> FunctionSpec:
    return FunctionSpec(**{"name": "echo", "image": "registry.example.org/echo:1", "env_process": "cat", **fields})


def made(
    wanted: FunctionSpec,
    shape: Shape = SHAPE,
    profiles: Sequence[Profile] = (),
    secret_types: dict[str, str] | None = None,
) -> Document:
    """A Deployment of a specification that was accepted; it is one that all versions of the API know."""
    check_spec(wanted)
    check(wanted)
    document = deployment(wanted, 1, 0, shape, profiles, secret_types or {})
    check_schemas(document)
    return document


def pod(wanted: FunctionSpec, **options: Any) -> Document:
    found: Document = made(wanted, **options)["spec"]["template"]["spec"]
    return found


def container(wanted: FunctionSpec, **options: Any) -> Document:
    found: Document = pod(wanted, **options)["containers"][0]
    return found


def environ(wanted: FunctionSpec) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(wanted)["env"]}
