"""What the verbs read out of the gateway's answers (contract gateway §2), tolerant of everything else in them.

Used for tables and decisions; `--output json` passes the gateway's own JSON on, so nothing is lost on the way.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Resources(msgspec.Struct, frozen=True):
    """Quantities as the user wrote them."""

    memory: str = ""
    cpu: str = ""


class Instance(msgspec.Struct, frozen=True):
    """One replica of a function, as far as the gateway tells."""

    id: str = ""
    state: str = ""
    reason: str = ""
    restarts: int = 0


class Usage(msgspec.Struct, frozen=True, rename="camel"):
    """CPU in thousandths of a core, memory in bytes."""

    cpu: float = 0.0
    total_memory_bytes: float = 0.0


class FunctionStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A deployed function (contract gateway §2.2) with our `instances`."""

    name: str
    namespace: str = ""
    image: str = ""
    env_process: str = ""
    env_vars: dict[str, str] | None = None
    constraints: list[str] | None = None
    secrets: list[str] | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    limits: Resources | None = None
    requests: Resources | None = None
    read_only_root_filesystem: bool = False
    invocation_count: float = 0.0
    replicas: int = 0
    available_replicas: int = 0
    created_at: str = ""
    usage: Usage | None = None
    instances: list[Instance] | None = None
    pipeline: list[str] | None = None
    """Stages of a named pipeline, which has no replicas."""


class ScalingLabels(msgspec.Struct, frozen=True, rename="camel"):
    """The labels of scaling as the gateway has read them."""

    min: int = 0
    max: int = 0
    type: str = ""
    target: float = 0.0
    proportion: float = 1.0
    learned: bool = False


class Load(msgspec.Struct, frozen=True):
    """The load now, or why nobody knows it."""

    value: float | None = None
    unknown: str = ""


class Learning(msgspec.Struct, frozen=True):
    """How many pauses were seen of those that learning needs."""

    pauses: int = 0
    needed: int = 0


class AlertSeen(msgspec.Struct, frozen=True):
    """The last alert."""

    last: str | None = None
    hint: str = ""


class Decision(msgspec.Struct, frozen=True):
    """One decision about replicas."""

    when: str = ""
    rule: str = ""
    before: int = 0
    after: int = 0
    reason: str = ""
    failed: str = ""


class ScalingReport(msgspec.Struct, frozen=True, rename="camel"):
    """Why a function has the replicas that it has."""

    autoscaling: bool = True
    leader: bool = True
    scaling: ScalingLabels = ScalingLabels()
    faults: list[str] = []
    load: Load = Load()
    floor: int = 0
    floor_by: str = ""
    idle_for: float = 0.0
    rests_after: float | None = None
    learning: Learning | None = None
    alert: AlertSeen = AlertSeen()
    decisions: list[Decision] = []


class SecretName(msgspec.Struct, frozen=True):
    """A secret without its value."""

    name: str
    namespace: str = ""


class NamespaceInfo(msgspec.Struct, frozen=True):
    """A namespace with what its owner attached to it."""

    name: str
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class LogMessage(msgspec.Struct, frozen=True):
    """One line of a function's log (contract gateway §2.3)."""

    name: str = ""
    namespace: str = ""
    instance: str = ""
    timestamp: str = ""
    text: str = ""


Raw = dict[str, Any]
"""A JSON object as the gateway sent it."""
