"""What the kubelet asks a function, and what we ask a pod that has not been ready yet.

Pure; called by `podspec`, and by the provider for a pod's first seconds. Annotations are those of contract gateway §9.2, read
by `core.health`; liveness is asked only where they say so, as with every provider, since a restart may be worse than a pause.
"""

from __future__ import annotations

import math
from typing import Any

from penstock.core.health import HEALTH_PATH, READY_PATH, Check, Plan, liveness_of, readiness_of
from penstock.model import FunctionSpec
from penstock.providers.kubernetes.injection import Start, start_of

PERIOD = 1
"""Seconds between two questions where no annotation says it: the kubelet knows nothing shorter, and Services of the cluster
learn by it that a pod has started."""
TIMEOUT = 5
"""Seconds for the answer where no annotation says it: a busy function is slow to answer, and to take it out of the routes for that
makes the others busier. One that has ended refuses at once."""
STARTING = 3600
"""Seconds after which a program that was never ready is started again, where that is asked apart from readiness."""

Probe = dict[str, Any]


def probes_of(spec: FunctionSpec) -> dict[str, Probe]:
    """`readinessProbe` of the container and, where asked for, `livenessProbe` and `startupProbe`."""
    start, readiness, liveness = start_of(spec), readiness_of(spec), liveness_of(spec)
    probes = {"readinessProbe": _probe(_question(start, readiness.path, _ready_path(spec, start)), readiness)}
    if _fills_up(spec, start, readiness):
        probes["startupProbe"] = {
            **_question(start, "", READY_PATH),
            "periodSeconds": PERIOD,
            "timeoutSeconds": TIMEOUT,
            "failureThreshold": STARTING // PERIOD,
        }
        probes["readinessProbe"] = _probe(_question(start, "", HEALTH_PATH), readiness)
    if liveness:
        probes["livenessProbe"] = _probe(_question(start, liveness.path, HEALTH_PATH), liveness)
    return probes


def ready_check(spec: FunctionSpec) -> Check:
    """What to ask a pod that runs and has not been ready: what its kubelet asks, only sooner."""
    start = start_of(spec)
    lenient = start.way == "port"
    default = Check(path=_ready_path(spec, start), passes="any" if lenient else "success")
    return readiness_of(spec).ready_check(default)


def _ready_path(spec: FunctionSpec, start: Start) -> str:
    """`/_/ready` is a call of the function to a classic watchdog, so it is asked only where what answers is known to know it."""
    if start.way == "watchdog":
        return READY_PATH
    named = spec.env_vars.get("mode", "")
    return READY_PATH if start.way == "either" and named not in ("", "classic") else HEALTH_PATH


def _fills_up(spec: FunctionSpec, start: Start, readiness: Plan) -> bool:
    """A watchdog with `max_inflight` says that it is not ready while it is full. Asked again and again, all pods of a busy
    function would leave the routes at once; so that is asked until it has started, and then whether it lives."""
    limited = spec.env_vars.get("max_inflight", "0") not in ("", "0")
    return limited and not readiness.repeated and not readiness.path and _ready_path(spec, start) == READY_PATH


def _question(start: Start, path: str, default: str) -> Probe:
    """By HTTP, or whether the port is open where an image serves by itself and no path of it is known."""
    if start.way == "port" and not path:
        return {"tcpSocket": {"port": start.port}}
    return {"httpGet": {"path": path or default, "port": start.port, "scheme": "HTTP"}}


def _probe(question: Probe, plan: Plan) -> Probe:
    """The kubelet counts whole seconds: parts are rounded up. What is left out is a default that the API fills in itself."""
    probe = {
        **question,
        "periodSeconds": math.ceil(plan.period) if plan.repeated else PERIOD,
        "timeoutSeconds": math.ceil(plan.timeout) or TIMEOUT,
        "successThreshold": plan.successes,
        "failureThreshold": plan.failures,
    }
    if plan.initial_delay:
        probe["initialDelaySeconds"] = math.ceil(plan.initial_delay)
    return probe
