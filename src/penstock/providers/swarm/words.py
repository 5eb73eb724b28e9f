"""What Swarm says of a task that does not run, in words that a user of functions can act on.

Pure. Called by `tasks`; what is not known here is told as Swarm has it.
"""

from __future__ import annotations

import re

from penstock.model import FunctionSpec
from penstock.providers.containers.capabilities import advice
from penstock.providers.containers.engine import Document

PLAIN = {
    "new": "Swarm has accepted it",
    "pending": "waiting for a node",
    "allocated": "waiting for a node",
    "assigned": "a node is being told to run it",
    "accepted": "its node has accepted it",
    "preparing": "its node gets the image",
    "ready": "its node has what it needs",
    "starting": "its container starts",
}
"""For states before a task runs."""
_LONGEST = 1000
"""Characters of what an engine says."""
_UNSUITED = re.compile(r"no suitable node \((.*)\)", re.DOTALL)
_COUNTED = re.compile(r"\s*(?:(.*?) on )?(\d+) nodes?(.*)", re.DOTALL)
_MISSING = re.compile(r"no such image|pull access denied|manifest unknown|not found: manifest", re.IGNORECASE)
_SIGNALS = {137: "killed (exit code 137)", 143: "ended by SIGTERM (exit code 143)", 139: "crashed (exit code 139)"}


def of_waiting(task: Document, spec: FunctionSpec, node: str) -> str:
    """Why a task does not run yet."""
    status = task.get("Status") or {}
    state, error = status.get("State", ""), _cut(status.get("Err", ""))
    found = _UNSUITED.search(error)
    if found:
        return "no node fits: " + "; ".join(_obstacle(part, spec) for part in found.group(1).split(";"))
    if error:
        return error
    on = f" ({node})" if node and state not in ("new", "pending", "allocated") else ""
    return PLAIN.get(state, state or "unknown") + on


def of_end(task: Document, spec: FunctionSpec, node: str, said: str = "") -> str:
    """Why a task ended. `said` is the last that it wrote."""
    status = task.get("Status") or {}
    error = _cut(status.get("Err", ""))
    code = (status.get("ContainerStatus") or {}).get("ExitCode", 0)
    if status.get("State") == "orphaned":
        return f"its node {node or 'of before'} is lost"
    if _MISSING.search(error):
        return f"image {spec.image} is not on node {node} and cannot be pulled there: {error}"
    if "unhealthy container" in error:
        return "its health check failed" + (f"; it said last: {said}" if said else "")
    if code or "non-zero exit" in error:
        return _exit(code, spec) + (f": {said}" if said else "") + _advice(code, said, task)
    if error:
        return error
    if status.get("State") in ("complete", "shutdown"):
        return f"exit code {code}" + (f": {said}" if said else "")
    return _cut(status.get("Message", "")) or "it ended"


def _advice(code: int, said: str, task: Document) -> str:
    container = (task.get("Spec") or {}).get("ContainerSpec") or {}
    hint = advice(code, said, container.get("User") or "", container.get("CapabilityAdd") or ())
    return f"; {hint}" if hint else ""


def _exit(code: int, spec: FunctionSpec) -> str:
    words = _SIGNALS.get(code, f"exit code {code}")
    if code == 137 and spec.limits.memory:
        return f"{words}, most likely out of memory: its limit is {spec.limits.memory}"
    return words


def _obstacle(part: str, spec: FunctionSpec) -> str:
    """One of the scheduler's `WHAT on N nodes`, in terms of the specification."""
    found = _COUNTED.fullmatch(part)
    if not found:
        return part.strip()
    what, count, rest = found.groups()
    nodes = f"{count} node{'s' if count != '1' else ''}"
    if what == "scheduling constraints not satisfied":
        return f"its constraints ({', '.join(spec.constraints)}) do not hold on {nodes}"
    if what == "insufficient resources":
        asked = [
            f"{name} {value}" for name, value in (("memory", spec.requests.memory), ("cpu", spec.requests.cpu)) if value
        ]
        return f"{nodes} cannot reserve what it requests ({', '.join(asked) or 'nothing'})"
    if what == "unsupported platform":
        return f"{nodes} of another architecture or operating system than image {spec.image}"
    if what is None and "not available for new tasks" in rest:
        return f"{nodes} drained, paused or down"
    return part.strip()


def _cut(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text[: 2 * _LONGEST])
    return printable.strip()[:_LONGEST]
