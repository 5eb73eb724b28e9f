"""From tasks, as the Swarm lists them, to replicas.

Pure. A replica is what runs, or shall run, in one slot of a service; tasks that ended are its past, and say why it waits for
its next start. Whether a port answers is found out elsewhere and handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from penstock.model import Replica
from penstock.providers.containers.engine import Document
from penstock.providers.swarm.generation import Generation
from penstock.providers.swarm.words import of_end, of_waiting

RUNNING = "running"
ENDED = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})
STARTED = frozenset({"starting", RUNNING})
"""States in which a container may run. It runs in `starting` too, for as long as a health check has not passed."""
_LEAVING = frozenset({"shutdown", "remove", "orphaned"})
_LOST = frozenset({"down", "disconnected"})


class Verdict(msgspec.Struct, frozen=True):
    """What is known of a task's port."""

    address: str = ""
    ready: bool = False
    reason: str = ""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is known beside the tasks."""

    nodes: Mapping[str, Document] = {}
    verdicts: Mapping[str, Verdict] = {}
    """By task."""
    last_words: Mapping[str, str] = {}
    """Of tasks that ended."""


def replicas_of(generation: Generation, tasks: Sequence[Document], scene: Scene) -> list[Replica]:
    """Those that are wanted, by slot, then those whose successor is awaited, then those that still drain."""
    wanted: list[Replica] = []
    ended: list[list[Document]] = []
    draining: list[Replica] = []
    for _, slot in sorted(_slots(tasks).items()):
        *past, last = slot
        draining += [_draining(task, scene) for task in past if is_leaving(task)]
        if is_leaving(last):
            draining.append(_draining(last, scene))
        elif state_of(last) not in ENDED or last.get("DesiredState") not in _LEAVING:
            wanted.append(_live(generation, last, [task for task in past if state_of(task) in ENDED], scene))
        else:
            ended.append(slot)
    # A slot that only has a past is between an end and the Swarm's decision what follows, or was scaled away since.
    ended.sort(key=lambda slot: str(slot[-1].get("CreatedAt", "")), reverse=True)
    awaited = ended[: max(generation.desired - len(wanted), 0)]
    return wanted + [_ended(generation, last, past, scene) for *past, last in awaited] + draining


def serving(tasks: Sequence[Document], nodes: Mapping[str, Document]) -> list[Document]:
    """Tasks that may answer requests now: they started, shall run on, and their node is there."""
    return [
        task
        for task in tasks
        if state_of(task) in STARTED and task.get("DesiredState") == RUNNING and not lost(node_of(task, nodes))
    ]


def in_sight(tasks: Sequence[Document], nodes: Mapping[str, Document]) -> list[Document]:
    """Without those that were told to end on a node that is lost: nobody hears of their end before it returns."""
    return [task for task in tasks if not (_must_end(task) and lost(node_of(task, nodes)))]


def is_settled(generation: Generation, tasks: Sequence[Document]) -> bool:
    """Whether nothing is under way: as many tasks run as are wanted, and none is leaving."""
    running = [task for task in tasks if state_of(task) == RUNNING and task.get("DesiredState") == RUNNING]
    moving = [task for task in tasks if state_of(task) not in ENDED and task not in running]
    return generation.planned and len(running) == generation.desired and not moving


def state_of(task: Document) -> str:
    return str((task.get("Status") or {}).get("State", ""))


def is_leaving(task: Document) -> bool:
    """Told to end, and not ended yet."""
    return task.get("DesiredState") in _LEAVING and state_of(task) in STARTED


def _must_end(task: Document) -> bool:
    return task.get("DesiredState") in _LEAVING and state_of(task) not in ENDED


def node_of(task: Document, nodes: Mapping[str, Document]) -> Document:
    return nodes.get(task.get("NodeID", ""), {})


def lost(node: Document) -> bool:
    """Whether the manager has given a node up. One that it does not know about yet, as after its own start, is not lost."""
    return (node.get("Status") or {}).get("State") in _LOST


def node_name(node: Document) -> str:
    return str((node.get("Description") or {}).get("Hostname", ""))


def _slots(tasks: Sequence[Document]) -> dict[int, list[Document]]:
    """Tasks by slot, each from the first to the last."""
    slots: dict[int, list[Document]] = {}
    for task in sorted(tasks, key=lambda task: task.get("CreatedAt", "")):
        slots.setdefault(task.get("Slot", 0), []).append(task)
    return slots


def _live(generation: Generation, task: Document, past: Sequence[Document], scene: Scene) -> Replica:
    node = node_of(task, scene.nodes)
    state, verdict = state_of(task), scene.verdicts.get(task["ID"], Verdict())
    if state in ENDED or task.get("DesiredState") == "ready":
        return _ended(generation, task, past, scene)
    if state in STARTED and lost(node):
        why = f"its node {node_name(node)} does not answer ({node['Status']['State']})"
        return _replica(task, past, state="backoff", reason=why)
    if verdict.ready:
        return _replica(task, past, state="ready", address=verdict.address)
    reason = (
        verdict.reason if state == RUNNING and verdict.reason else of_waiting(task, generation.spec, node_name(node))
    )
    if state == RUNNING and not verdict.reason:
        reason = "it has no address yet"
    if past:
        reason = f"{reason}; started again, since before: {_end(generation, past[-1], scene)}"
    return _replica(task, past, state="starting", address=verdict.address, reason=reason)


def _ended(generation: Generation, task: Document, past: Sequence[Document], scene: Scene) -> Replica:
    """Swarm waits before the next start."""
    over = [*past, task] if state_of(task) in ENDED else list(past)
    reason = _end(generation, over[-1], scene) if over else "waiting to be started"
    return _replica(task, past, state="backoff", reason=reason)


def _end(generation: Generation, task: Document, scene: Scene) -> str:
    name = node_name(node_of(task, scene.nodes))
    return of_end(task, generation.spec, name, scene.last_words.get(task["ID"], ""))


def _draining(task: Document, scene: Scene) -> Replica:
    verdict = scene.verdicts.get(task["ID"], Verdict())
    return _replica(task, (), state="draining", address=verdict.address)


def _replica(task: Document, past: Sequence[Document], **fields: object) -> Replica:
    started = (task.get("Status") or {}).get("Timestamp", "") if state_of(task) in STARTED else ""
    made: Callable[..., Replica] = Replica
    return made(id=task["ID"], restarts=len(past), started_at=_time(started), **fields)


def _time(text: str) -> datetime | None:
    """Of an engine's nanoseconds Python 3.11 keeps microseconds."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
