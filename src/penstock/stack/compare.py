"""What a function is meant to be beside what it is: the lines in which two specifications differ (contract watchdog-cli §4.3, diff).

Called by the verb `diff`. Pure.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.model import FunctionSpec, Resources

Variables = Literal["local", "remote", "all"]
"""Whose environment variables count: those of the file, those of the deployed function, or all."""

FUNCTION_LABEL = "faas_function"
"""Written by gateways, with the function's name: nobody's wish."""


class Difference(msgspec.Struct, frozen=True):
    """One line that is not the same; None where there is none."""

    field: str
    wanted: str | None
    deployed: str | None


def differences(wanted: FunctionSpec, deployed: FunctionSpec, variables: Variables = "local") -> list[Difference]:
    """All lines that differ, by name. A program line that only the deployed function has is its template's or image's."""
    left, right = _lines(wanted), _lines(deployed)
    names = sorted(left.keys() | right.keys())
    pairs = [Difference(name, left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)]
    return [pair for pair in pairs if not _is_ignored(pair, variables)]


def _is_ignored(pair: Difference, variables: Variables) -> bool:
    if pair.field == "fprocess":
        return pair.wanted is None
    if not pair.field.startswith("env."):
        return False
    return (variables == "local" and pair.wanted is None) or (variables == "remote" and pair.deployed is None)


def _lines(spec: FunctionSpec) -> dict[str, str]:
    lines = {"readonly_root_filesystem": "true" if spec.read_only_root else "false"}
    if spec.stages:
        lines = {"stages": " | ".join(spec.stages)}
    if spec.image:
        lines["image"] = spec.image
    if spec.env_process:
        lines["fprocess"] = spec.env_process
    lines |= {f"env.{name}": value for name, value in spec.env_vars.items()}
    lines |= {f"secret.{name}": "present" for name in spec.secrets}
    lines |= {f"constraint.{text}": "present" for text in spec.constraints}
    lines |= {f"label.{name}": value for name, value in spec.labels.items() if name != FUNCTION_LABEL}
    lines |= {f"annotation.{name}": value for name, value in spec.annotations.items()}
    return lines | _resources("limits", spec.limits) | _resources("requests", spec.requests)


def _resources(prefix: str, resources: Resources) -> dict[str, str]:
    pairs = (("cpu", resources.cpu), ("memory", resources.memory))
    return {f"{prefix}.{name}": text for name, text in pairs if text}
