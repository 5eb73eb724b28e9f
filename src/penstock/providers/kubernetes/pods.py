"""From pods, as the cluster lists them, to replicas.

Pure. Whether a pod answers before its kubelet has noticed is found out elsewhere and handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from penstock.model import Replica, ReplicaState
from penstock.providers.containers.labels import CAPABILITIES
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.podspec import CONTAINER

Document = dict[str, Any]

_OVER = ("Succeeded", "Failed")
_HOPELESS = ("InvalidImageName", "ErrImageNeverPull")
"""Reasons of waiting that only another specification ends."""
_FORBIDDEN = re.compile(r"permission denied|operation not permitted|must be (?:run as )?root", re.IGNORECASE)
_PROGRAMS = frozenset({"fprocess", "function_process"})
_BETWEEN = ("ContainerCreating", "PodInitializing")
_WORDS = {
    "ContainerCreating": "its container is being made, or its image pulled",
    "PodInitializing": "its container is being made, or its image pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImagePull": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and is never to be pulled",
    "InvalidImageName": "its image has a name that cannot be",
    "CreateContainerConfigError": "its container cannot be configured",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
}


def uid_of(pod: Document) -> str:
    return str(pod["metadata"].get("uid", ""))


def rollout_of(pod: Document) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(marks.ROLLOUT, ""))


def is_over(pod: Document) -> bool:
    """Whether it ended by itself or was evicted; another one comes."""
    return _status(pod).get("phase") in _OVER


def is_leaving(pod: Document) -> bool:
    """Whether it was told to end, which its program may not have heard yet."""
    return "deletionTimestamp" in pod["metadata"]


def is_ready(pod: Document) -> bool:
    """In the kubelet's judgement."""
    return _condition(pod, "Ready").get("status") == "True"


def is_running(pod: Document) -> bool:
    """Whether the function's container runs and the pod has an address."""
    return bool(_status(pod).get("podIP")) and "running" in (_container(pod).get("state") or {})


def has_gates(pod: Document) -> bool:
    """Whether others have a say in whether it is ready, and have not agreed."""
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    return any(_condition(pod, gate.get("conditionType", "")).get("status") != "True" for gate in gates)


def life_of(pod: Document) -> tuple[str, int]:
    """One start of its container."""
    return uid_of(pod), int(_container(pod).get("restartCount") or 0)


def started_at(pod: Document) -> datetime | None:
    text = ((_container(pod).get("state") or {}).get("running") or {}).get("startedAt") or _status(pod).get("startTime")
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def address_of(pod: Document, port: int) -> str:
    """Where it answers; empty while it has no address."""
    host = str(_status(pod).get("podIP") or "")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else ""


def host_of(pod: Document) -> str:
    """The address of its node."""
    return str(_status(pod).get("hostIP") or "")


def replica_of(pod: Document, address: str, ready: bool, said: str) -> Replica:
    """`said`: what its port answered when it was asked, where it was."""
    state: ReplicaState
    reason = ""
    if is_leaving(pod):
        state = "draining"
    elif ready:
        state = "ready"
    else:
        state, reason = _waiting(pod, said)
    return Replica(
        id=str(pod["metadata"].get("name", "")),
        state=state,
        address=address if state in ("ready", "draining") else "",
        reason=reason,
        restarts=int(_container(pod).get("restartCount") or 0),
        started_at=started_at(pod),
    )


def end_of(pod: Document) -> str:
    """Why a pod is over, in words."""
    status = _status(pod)
    if status.get("reason"):
        return f"the last one was ended ({status['reason']}): {status.get('message', '')}".rstrip(": ")
    ended = (_container(pod).get("state") or {}).get("terminated")
    return f"the last one ended: {_ending(ended)}" if ended else "the last one ended"


def _waiting(pod: Document, said: str) -> tuple[ReplicaState, str]:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return "starting", f"no node can have it: {scheduled.get('message') or scheduled.get('reason', '')}"
    for container in _status(pod).get("initContainerStatuses") or ():
        state = container.get("state") or {}
        whose = f"its init container {container.get('name', '')}: "
        if (state.get("terminated") or {}).get("exitCode"):
            return "backoff", whose + _ending(state["terminated"])
        if "waiting" in state and state["waiting"].get("reason") not in _BETWEEN:
            held, words = _held_up(pod, container, state["waiting"])
            return held, whose + words
    state = _container(pod).get("state") or {}
    if "waiting" in state and state["waiting"].get("reason") not in _BETWEEN:
        return _held_up(pod, _container(pod), state["waiting"])
    if "terminated" in state:
        return "backoff", _ending(state["terminated"]) + _advice(pod, state["terminated"])
    if not is_running(pod):
        reason = ((_container(pod).get("state") or {}).get("waiting") or {}).get("reason", "")
        return "starting", _WORDS.get(reason, "its node is about to start it")
    if has_gates(pod):
        return "starting", "what its readiness gates wait for has not come"
    condition = _condition(pod, "Ready")
    if not said and _condition(pod, "ContainersReady").get("status") == "True":
        # Only what watches over nodes says that of a pod whose own node says otherwise.
        return "starting", "its node is not heard from"
    return "starting", said or condition.get("message") or "its port does not answer yet"


def _held_up(pod: Document, container: Mapping[str, Any], waiting: Mapping[str, Any]) -> tuple[ReplicaState, str]:
    reason = str(waiting.get("reason") or "")
    if reason == "CrashLoopBackOff":
        last = (container.get("lastState") or {}).get("terminated") or {}
        words = f"{_ending(last) if last else 'it ended'}; it is started again after a pause"
        return "backoff", words + (_advice(pod, last) if container is _container(pod) else "")
    words = _WORDS.get(reason, reason or "it waits")
    message = str(waiting.get("message") or "")
    state: ReplicaState = "failed" if reason in _HOPELESS else "backoff"
    return state, f"{words}: {message}" if message else words


def _ending(ended: Mapping[str, Any]) -> str:
    if ended.get("reason") == "OOMKilled":
        return "its program used more memory than its limit and was killed"
    words = f"its program ended with exit code {ended.get('exitCode', '?')}"
    if ended.get("reason") not in (None, "", "Error", "Completed"):
        words += f" ({ended['reason']})"
    message = str(ended.get("message") or "").strip()
    return f"{words}: {message}" if message else words


def _advice(pod: Document, ended: Mapping[str, Any]) -> str:
    """What to do about an end that has to do with how images run here; empty where it is the program's own affair."""
    named: Document = next(
        (item for item in (pod.get("spec") or {}).get("containers") or () if item.get("name") == CONTAINER), {}
    )
    variables = {item.get("name") for item in named.get("env") or ()}
    user = ((pod.get("spec") or {}).get("securityContext") or {}).get("runAsUser")
    if user and _FORBIDDEN.search(str(ended.get("message") or "")):
        return (
            f"; it runs as user {user}: give the function the label {marks.USER}=image where its image needs its own user, or "
            f"name the capabilities that it needs as root (--capability, label {CAPABILITIES})"
        )
    if (
        not named.get("command")
        and not variables & _PROGRAMS
        and "tcpSocket" not in (named.get("readinessProbe") or {})
    ):
        return (
            "; its image was started as it is, since no program was named: name one with envProcess (--fprocess), unless it has "
            "a watchdog or serves port 8080 itself"
        )
    return ""


def _status(pod: Document) -> Document:
    return pod.get("status") or {}


def _container(pod: Document) -> Document:
    """The status of the function's container."""
    for container in _status(pod).get("containerStatuses") or ():
        if container.get("name") == CONTAINER:
            found: Document = container
            return found
    return {}


def _condition(pod: Document, kind: str) -> Document:
    for condition in _status(pod).get("conditions") or ():
        if condition.get("type") == kind:
            found: Document = condition
            return found
    return {}
