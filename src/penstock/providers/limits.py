"""What a specification asks a node-local runtime to enforce, read from its limits, labels and environment.

Validation calls it to refuse bad values at deploy time; runtimes call it to apply them. It enforces nothing itself.
"""

from __future__ import annotations

import msgspec

from penstock.core.duration import parse_duration
from penstock.core.quantity import parse_bytes
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec

CPU_SECONDS_LABEL = "com.penstock.limit.cpu-seconds"
OPEN_FILES_LABEL = "com.penstock.limit.open-files"
PROCESSES_LABEL = "com.penstock.limit.processes"
LOG_BYTES_LABEL = "com.penstock.logs.max-bytes"
NEW_PRIVILEGES_LABEL = "com.penstock.allow-new-privileges"

DEFAULT_LOG_BYTES = 10 << 20
"""Kept per replica, 10 MiB: what Docker users are told to set by hand, since its own default grows without end."""
MIN_LOG_BYTES = 4096
DEFAULT_GRACE = 30.0
"""Seconds that a drained replica may take when its function sets no `write_timeout`, the watchdogs' own default."""
_LARGEST = 2**62


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers for one replica; 0 means no limit. Sizes in bytes, times in seconds."""

    memory: int = 0
    cpu_seconds: int = 0
    open_files: int = 0
    processes: int = 0
    log_bytes: int = DEFAULT_LOG_BYTES
    grace: float = DEFAULT_GRACE
    """From SIGTERM to SIGKILL when a replica is drained: its `write_timeout`, and no less than a request may take, as in the watchdog."""
    new_privileges: bool = False
    """Whether set-user-id programs may gain privileges."""


def limits_of(spec: FunctionSpec) -> Limits:
    """The limits that a specification asks for. Raises InvalidInput naming the field that cannot be used."""
    try:
        memory = parse_bytes(spec.limits.memory) if spec.limits.memory else 0
    except InvalidInput as error:
        raise InvalidInput(f"limits.memory: {error}") from error
    return Limits(
        memory=memory,
        cpu_seconds=_count(spec, CPU_SECONDS_LABEL, 0, 1),
        open_files=_count(spec, OPEN_FILES_LABEL, 0, 16),
        processes=_count(spec, PROCESSES_LABEL, 0, 1),
        log_bytes=_count(spec, LOG_BYTES_LABEL, DEFAULT_LOG_BYTES, MIN_LOG_BYTES),
        grace=max(_grace(spec.env_vars.get("write_timeout", "")), _seconds(spec.env_vars.get("exec_timeout", ""))),
        new_privileges=_switch(spec, NEW_PRIVILEGES_LABEL),
    )


def _count(spec: FunctionSpec, label: str, default: int, least: int) -> int:
    text = spec.labels.get(label, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= _LARGEST):
        raise InvalidInput(f"labels: {label}={text[:64]!r} must be a whole number, {least} or more")
    return int(text)


def _switch(spec: FunctionSpec, label: str) -> bool:
    text = spec.labels.get(label, "false")
    if text not in ("true", "false"):
        raise InvalidInput(f"labels: {label}={text[:64]!r} must be true or false")
    return text == "true"


def _grace(text: str) -> float:
    """The function's own `write_timeout`; what the watchdog could not read either counts as its default."""
    return _seconds(text) or DEFAULT_GRACE


def _seconds(text: str) -> float:
    """0 where there is no such time."""
    try:
        return max(0.0, parse_duration(text))
    except InvalidInput:
        return 0.0
