"""What a function may use, as quantities of Kubernetes.

Pure; called by `podspec` and `manifests.check`. The same words are taken as by every other provider: Docker's units for memory
are translated, what Kubernetes knows is passed on as the user wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from penstock.core.quantity import parse_bytes
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Resources
from penstock.providers.containers.resources import sizes_of

LEAST_COPYING = 64 << 20
"""Bytes of memory for the container that copies the watchdog, where the function's own limit is less."""

_KNOWN = re.compile(r"\d+(?:[KMGTPE]i|[MGTPE])?|\d+\.\d+[KMGTPE]i", re.ASCII)
"""Amounts of memory that mean the same to Kubernetes as to `parse_bytes`."""
_UNITS = (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,3}))?", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def check_resources(spec: FunctionSpec) -> None:
    """Raise InvalidInput for amounts that cannot be read, and for a request above its limit, which Kubernetes refuses."""
    sizes = sizes_of(spec)
    for what, requested, limit in (
        ("memory", sizes.memory_reserved, sizes.memory),
        ("cpu", sizes.cpu_reserved, sizes.cpu),
    ):
        if limit and requested > limit:
            asked, most = getattr(spec.requests, what), getattr(spec.limits, what)
            raise InvalidInput(
                f"requests.{what}: {asked!r} is more than limits.{what}, which is {most!r}; ask for less"
            )


def resources_of(spec: FunctionSpec) -> dict[str, Any]:
    """`limits` and `requests` of the function's container; empty where nothing was asked for."""
    both = {"limits": _amounts(spec.limits), "requests": _amounts(spec.requests)}
    return {kind: amounts for kind, amounts in both.items() if amounts}


def for_copying(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Of the init container: processors and memory as the function's, so that quotas and the quality of service stay as they
    would be without it, but memory enough to run."""
    return {
        kind: {name: _enough(name, str(amount)) for name, amount in amounts.items() if name in ("cpu", "memory")}
        for kind, amounts in resources.items()
        if kind in ("limits", "requests")
    }


def value_of(text: object) -> Fraction | None:
    """The number that a quantity is, whatever way it is written; None for what is none."""
    found = _QUANTITY.fullmatch(str(text)) if len(str(text)) <= 64 else None
    if not found:
        return None
    number, binary, decimal, exponent = found.groups()
    if binary:
        return Fraction(number) * (1 << 10 * ("KMGTPE".index(binary[0]) + 1))
    return Fraction(number) * Fraction(10) ** (_DECIMAL[decimal] if decimal else int(exponent or 0))


def memory_text(text: str) -> str:
    """An amount of memory that `parse_bytes` has taken, for Kubernetes: `128m`, which is Docker's, becomes `128Mi`."""
    if _KNOWN.fullmatch(text):
        return text
    amount = parse_bytes(text)
    unit, size = next((pair for pair in _UNITS if amount % pair[1] == 0), ("", 1))
    return f"{amount // size}{unit}"


def _amounts(resources: Resources) -> dict[str, str]:
    amounts = {"cpu": resources.cpu, "memory": memory_text(resources.memory) if resources.memory else ""}
    return {name: amount for name, amount in amounts.items() if amount}


def _enough(name: str, amount: str) -> str:
    value = value_of(amount)
    return f"{LEAST_COPYING >> 20}Mi" if name == "memory" and (value is None or value < LEAST_COPYING) else amount
