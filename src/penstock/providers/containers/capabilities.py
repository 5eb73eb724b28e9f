"""Which capabilities a function's containers get: none, but for those that its label asks for out of a short list.

Pure. Called where a specification is checked and where containers and services are described. A capability counts for programs
that run as root; those of another user gain nothing by it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers.labels import CAPABILITIES

ALLOWED = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
"""What Docker gives every container unless it is told otherwise, so that official images count on it; without NET_RAW, by which
a container could pass for another on its network."""

_USUAL = ("CHOWN", "SETGID", "SETUID")
"""What images need that begin as root, hand their folders to another user and go on as that one."""
_SIGNS = (
    (re.compile(r"bind.*permission denied|permission denied.*bind", re.IGNORECASE), ("NET_BIND_SERVICE",)),
    (re.compile(r"permission denied", re.IGNORECASE), ("DAC_OVERRIDE",)),
    (re.compile(r"(?:chmod|permissions of).*operation not permitted", re.IGNORECASE), ("FOWNER",)),
    (re.compile(r"(?:signal|\bkill).*operation not permitted", re.IGNORECASE), ("KILL",)),
    (re.compile(r"operation not permitted", re.IGNORECASE), _USUAL),
)
"""What root says when it lacks a capability; the first that fits."""


def capabilities_of(spec: FunctionSpec) -> tuple[str, ...]:
    """Those that the label asks for, without `CAP_`, in order. Raises InvalidInput for any that is not ALLOWED."""
    text = spec.labels.get(CAPABILITIES, "")
    return tuple(sorted({_capability(name) for name in text.split(",")})) if text else ()


def advice(code: int, said: str, user: str, given: Collection[str]) -> str:
    """For a container that ended with this exit code and these last words, and was made with this user and these
    capabilities: how to ask for what it seems to lack; "" where that is something else."""
    if not code or user.partition(":")[0] not in ("", "0", "root"):
        return ""
    missing = next((names for sign, names in _SIGNS if sign.search(said)), ())
    flags = " ".join(f"--capability {name}" for name in missing if name not in given)
    return f"its container may lack a capability, try {flags} (label {CAPABILITIES})" if flags else ""


def _capability(text: str) -> str:
    name = text.strip().upper().removeprefix("CAP_") if text.isascii() else ""
    if name not in ALLOWED:
        raise InvalidInput(
            f"labels: {CAPABILITIES}: {text[:64]!r} is nothing that a function may have; name some of "
            f"{', '.join(ALLOWED)}, with commas between them"
        )
    return name
