"""How the gateway treats one function: its deadline, how many requests may run at once and how many may wait.

Read from a function's labels and environment once, when its route changes; the gateway only sees the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from penstock.core.duration import parse_duration
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec

TIMEOUT_LABEL = "com.penstock.timeout"
MAX_INFLIGHT_LABEL = "com.penstock.max-inflight"
QUEUE_LENGTH_LABEL = "com.penstock.queue.length"
QUEUE_TIMEOUT_LABEL = "com.penstock.queue.timeout"
BUCKETS_LABEL = "com.penstock.storage.buckets"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)

WATCHDOG_GRACE = 1.0
"""Seconds that the gateway waits longer than the function's own limit, so that the watchdog, which knows more, answers."""


AS_STAGES_SAY = -1.0
"""Timeout of a named pipeline that has none of its own: as long as its most patient stage."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Numbers of one function. Durations in seconds; 0 means no limit."""

    timeout: float = 60.0
    max_inflight: int = 0
    """Requests at once per ready replica and gateway worker."""
    queue_length: int = 1000
    """Requests that may wait for a slot or a wake, per gateway worker."""
    queue_timeout: float = 30.0
    """Longest wait for a slot or for a replica to become ready."""
    buckets: tuple[str, ...] | None = None
    """Buckets that the function's input and output may be in; None: all that the settings allow."""


def policy_of(spec: FunctionSpec, default: Policy) -> Policy:
    """The policy that a specification asks for; what it does not mention comes from `default`. Raises InvalidInput."""
    labels = spec.labels
    timeout = _seconds(labels, TIMEOUT_LABEL, -1.0)
    if timeout < 0 and spec.stages:
        timeout = AS_STAGES_SAY
    elif timeout < 0:
        exec_timeout = _lenient_seconds(spec.env_vars.get("exec_timeout", ""))
        timeout = max(default.timeout, exec_timeout + WATCHDOG_GRACE) if exec_timeout > 0 else default.timeout
    return Policy(
        timeout=timeout,
        max_inflight=_count(labels, MAX_INFLIGHT_LABEL, default.max_inflight),
        queue_length=_count(labels, QUEUE_LENGTH_LABEL, default.queue_length),
        queue_timeout=_seconds(labels, QUEUE_TIMEOUT_LABEL, default.queue_timeout),
        buckets=_buckets(spec),
    )


def _buckets(spec: FunctionSpec) -> tuple[str, ...] | None:
    """The comma list of the label or, where there is no label, the annotation. An empty one allows no bucket."""
    for kind, values in (("labels", spec.labels), ("annotations", spec.annotations)):
        text = values.get(BUCKETS_LABEL)
        if text is None:
            continue
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        for name in names:
            if not _BUCKET.fullmatch(name):
                raise InvalidInput(f"{kind}: {BUCKETS_LABEL}: {name[:80]!r} is no name of a bucket")
        return names
    return None


def _count(labels: Mapping[str, str], label: str, default: int) -> int:
    text = labels.get(label, "")
    if not text:
        return default
    if not _is_count(text):
        raise InvalidInput(f"labels: {label}={text[:40]!r} must be a whole number of at most nine digits, 0 or more")
    return int(text)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _seconds(labels: Mapping[str, str], label: str, default: float) -> float:
    text = labels.get(label, "")
    if not text:
        return default
    try:
        seconds = parse_duration(text)
    except InvalidInput as error:
        raise InvalidInput(f"labels: {label}: {error}") from error
    if seconds < 0:
        raise InvalidInput(f"labels: {label}={text!r} must not be negative")
    return seconds


def _lenient_seconds(text: str) -> float:
    """A watchdog duration variable: what cannot be read counts as not set, as the watchdogs have it."""
    try:
        return parse_duration(text)
    except InvalidInput:
        return 0.0
