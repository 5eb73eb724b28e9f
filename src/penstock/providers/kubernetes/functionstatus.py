"""The status of a Function object: how it stands with its function, in the conditions that tools of Kubernetes wait for.

Pure; used by `functionobjects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from penstock.model import Function

Document = dict[str, Any]
MAX_MESSAGE = 1024
"""Characters of a condition's message."""


@dataclass(frozen=True)
class Outcome:
    """What came of the last look at an object: one of the three."""

    function: Function | None = None
    refused: str = ""
    """Why it cannot be a function, until the object changes."""
    failed: str = ""
    """Why it could not be made one, this time."""


def status_of(document: Mapping[str, Any], outcome: Outcome, now: datetime) -> Document:
    """The status after this outcome. A condition's time stays for as long as it holds (contract gateway §2.5)."""
    status: Document = dict(document.get("status") or {})
    generation = document["metadata"].get("generation", 0)
    before = {item["type"]: item for item in status.get("conditions") or ()}
    function = outcome.function
    if function:
        missing = max(function.desired - function.available, 0)
        status |= {
            "replicas": function.desired,
            "availableReplicas": function.available,
            "unavailableReplicas": missing,
        }
    conditions = [
        _condition(name, holds, reason, message, generation, before.get(name), now)
        for name, (holds, reason, message) in _judged(outcome).items()
    ]
    return {**status, "observedGeneration": generation, "conditions": conditions}


def _judged(outcome: Outcome) -> dict[str, tuple[bool, str, str]]:
    """By type: whether it holds, its reason and message."""
    function = outcome.function
    if not function:
        reason, message = ("Refused", outcome.refused) if outcome.refused else ("NotApplied", outcome.failed)
        trouble = reason, message
        return {
            "Ready": (False, *trouble),
            "Healthy": (False, *trouble),
            "Reconciling": (not outcome.refused, *trouble),
            "Stalled": (bool(outcome.refused), *trouble),
        }
    resting = function.desired == 0
    healthy = resting or function.available > 0
    whole = function.available >= function.desired
    why = next((replica.reason for replica in function.replicas if replica.state != "ready" and replica.reason), "")
    if resting:
        told = "AtRest", "it has no replicas until it is called"
    elif whole:
        told = "Available", f"{function.available} of {function.desired} replicas are ready"
    else:
        told = (
            "Unavailable" if not healthy else "Progressing",
            why or f"{function.available} of {function.desired} replicas are ready",
        )
    return {
        "Ready": (healthy, *told),
        "Healthy": (healthy, *told),
        "Reconciling": (not whole and not function.failed, *told),
        "Stalled": (function.failed, *told),
    }


def _condition(
    name: str, holds: bool, reason: str, message: str, generation: int, before: Mapping[str, Any] | None, now: datetime
) -> Document:
    value = "True" if holds else "False"
    since = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if before and before.get("status") == value:
        since = before.get("lastTransitionTime", since)
    return {
        "type": name,
        "status": value,
        "observedGeneration": generation,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message[:MAX_MESSAGE],
    }
