"""What a function's annotations say about its checks: what to ask, how often, and how many answers decide.

Validation calls it to refuse what cannot be used; the keeper of a function calls it for each start of a replica. Annotations
are those of contract gateway §9.2, `com.openfaas.health.http.*` (liveness) and `com.openfaas.ready.http.*` (readiness).
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from penstock.core.duration import format_duration, parse_duration
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec

READY_PATH = "/_/ready"
HEALTH_PATH = "/_/health"
"""What every watchdog answers itself (contract watchdog §1.2, §2.8)."""

_LIVENESS, _READINESS = "com.openfaas.health.http.", "com.openfaas.ready.http."
_FAMILIES = ("com.openfaas.health.", "com.openfaas.ready.")

PERIOD = 2.0
TIMEOUT = 1.0
FAILURES = 3
"""Seconds and counts where an annotation says nothing, those of the original (contract gateway §9.1). It also waits 2 s before
it asks for the first time; we wait only when told to, since that is 2 s of every cold start."""
LONGEST = 86_400.0
"""Seconds, a day: nobody means more, and it keeps numbers that no timer takes away from timers."""
SHORTEST = 0.1
"""Seconds of a period or timeout; below that the checks would be the load."""
MOST = 1000
"""Answers in a row that may be asked for."""
_LONGEST_PATH = 1024

_PATH = re.compile(r"/[!-\"$-~]*", re.ASCII)
_DURATIONS = {"initialDelay": 0.0, "period": SHORTEST, "timeout": SHORTEST}
"""Each is also spelled with `Seconds` behind it; either takes `30` and `30s`. The value is the least that is allowed."""
_COUNTS = ("successThreshold", "failureThreshold")
_KNOWN = ("path", *(name + "Seconds" for name in _DURATIONS), *_COUNTS)


class Check(msgspec.Struct, frozen=True):
    """One question to a function port."""

    path: str = READY_PATH
    timeout: float = 2.0
    """Seconds for the whole of it; a watchdog answers within a millisecond."""
    passes: Literal["success", "alive", "any"] = "success"
    """Which statuses are good. `success`: 2xx and 3xx, as orchestrators have it. `alive`: 429 too, for liveness: what is full is
    not ill. `any`: every answer below 500, for programs that never heard of our paths and answer 404."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of check does. Times in seconds."""

    path: str = ""
    """As annotated; empty for the one that the runtime knows to be there."""
    initial_delay: float = 0.0
    """From the start, or the moment its address is known, to the first question."""
    period: float = PERIOD
    timeout: float = 0.0
    """0: the check's own."""
    successes: int = 1
    failures: int = FAILURES
    """Answers in a row after which a replica counts as well, and as ill."""
    repeated: bool = True
    """Whether it goes on once a replica is ready."""

    def ready_check(self, default: Check) -> Check:
        """What to ask about readiness, where `default` is what the runtime would ask."""
        if self.path:
            return Check(path=self.path, timeout=self.timeout)
        return msgspec.structs.replace(default, timeout=self.timeout or default.timeout)

    def live_check(self, default: Check) -> Check:
        """What to ask about liveness. An image without a watchdog is alive when it answers, as long as no path is annotated."""
        lenient = default.passes == "any" and not self.path
        return Check(
            path=self.path or HEALTH_PATH,
            timeout=self.timeout or default.timeout,
            passes="any" if lenient else "alive",
        )


def check_health(spec: FunctionSpec) -> None:
    """Raise InvalidInput naming the annotation of either family that is unknown or cannot be used, and the rule."""
    for name in spec.annotations:
        prefix = next((prefix for prefix in (_LIVENESS, _READINESS) if name.startswith(prefix)), "")
        known = name.removeprefix(prefix) in (*_KNOWN, *_DURATIONS)
        if name.startswith(_FAMILIES) and not (prefix and known):
            raise InvalidInput(
                f"annotations: {name[:80]!r} is unknown, use {_LIVENESS}* or {_READINESS}* with {', '.join(_KNOWN)}"
            )
    liveness_of(spec)
    readiness_of(spec)


def liveness_of(spec: FunctionSpec) -> Plan | None:
    """When to restart a replica that answers no more; None where no annotation asks for it."""
    plan = _plan(spec, _LIVENESS)
    if plan and plan.successes != 1:
        raise InvalidInput(f"annotations: {_LIVENESS}successThreshold must be 1, one good answer shows that it lives")
    return plan


def readiness_of(spec: FunctionSpec) -> Plan:
    """When a replica may be sent requests; repeated once it is ready only where a readiness annotation asks for it.

    Its path is by default that of the liveness check, unless that is `/_/health`, which tells that the watchdog lives and not
    whether the program behind it does: then `/_/ready`.
    """
    liveness = liveness_of(spec)
    path = liveness.path if liveness and liveness.path != HEALTH_PATH else ""
    plan = _plan(spec, _READINESS)
    if plan:
        return plan if plan.path else msgspec.structs.replace(plan, path=path)
    return Plan(path=path, timeout=liveness.timeout if liveness and path else 0.0, repeated=False)


def _plan(spec: FunctionSpec, prefix: str) -> Plan | None:
    given = spec.annotations
    if not any(name.startswith(prefix) for name in given):
        return None
    return Plan(
        path=_path(given, prefix + "path"),
        initial_delay=_seconds(given, prefix, "initialDelay", 0.0),
        period=_seconds(given, prefix, "period", PERIOD),
        timeout=_seconds(given, prefix, "timeout", TIMEOUT),
        successes=_count(given, prefix + "successThreshold", 1),
        failures=_count(given, prefix + "failureThreshold", FAILURES),
    )


def _path(given: dict[str, str], name: str) -> str:
    text = given.get(name)
    if text is None:
        return ""
    if not _PATH.fullmatch(text) or len(text) > _LONGEST_PATH:
        raise InvalidInput(
            f"annotations: {name}={text[:80]!r} must begin with '/', have at most {_LONGEST_PATH} characters, and no space, "
            "'#', control or non-ASCII character; percent-encode those"
        )
    return text


def _seconds(given: dict[str, str], prefix: str, name: str, default: float) -> float:
    spellings = [spelling for spelling in (prefix + name + "Seconds", prefix + name) if spelling in given]
    if not spellings:
        return default
    if len(spellings) > 1:
        raise InvalidInput(f"annotations: {spellings[0]} and {spellings[1]} mean the same, give one of them")
    text = given[spellings[0]]
    try:
        seconds = parse_duration(text) if len(text) <= 32 else -1.0
    except InvalidInput:
        seconds = -1.0
    if not _DURATIONS[name] <= seconds <= LONGEST:
        raise InvalidInput(
            f"annotations: {spellings[0]}={text[:40]!r} must be seconds (30) or a duration (1m30s, 500ms), "
            f"from {format_duration(_DURATIONS[name])} to {format_duration(LONGEST)}"
        )
    return seconds


def _count(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MOST):
        raise InvalidInput(f"annotations: {name}={text[:40]!r} must be a whole number from 1 to {MOST}")
    return int(text)
