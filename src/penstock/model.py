"""The domain objects that every layer shares: plain data, no behaviour beyond what the data implies.

Providers take and return them, the route feed carries some of them, the control API turns them into the wire types of
contract gateway §2. Field names are ours; the JSON spelling of the REST API lives in `penstock.control.schema`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

DEFAULT_NAMESPACE = "openfaas-fn"
"""Namespace of a function named without one; clients append it to every call (contract gateway §1.4)."""

ReplicaState = Literal["starting", "ready", "draining", "backoff", "failed"]


class Resources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pair of quantities exactly as the user wrote them (`memory`: `128Mi`, `cpu`: `500m`); empty means not given."""

    memory: str = ""
    cpu: str = ""

    def __bool__(self) -> bool:
        return bool(self.memory or self.cpu)


class FunctionSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user asked for; echoed back verbatim by the API (contract gateway §2.1)."""

    name: str
    namespace: str = DEFAULT_NAMESPACE
    image: str = ""
    env_process: str = ""
    env_vars: dict[str, str] = {}
    constraints: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    limits: Resources = Resources()
    requests: Resources = Resources()
    read_only_root: bool = False
    stages: tuple[str, ...] = ()
    """`NAME[.NAMESPACE][/PATH][?QUERY]` each: with stages it is a named pipeline, which has no replicas of its own."""

    @property
    def key(self) -> str:
        """`name.namespace`, the identity used in routes, metrics and logs."""
        return f"{self.name}.{self.namespace}"


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of a function, as its provider sees it."""

    id: str
    state: ReplicaState
    address: str = ""
    """`unix:/path` or `host:port`; empty until the replica has one."""
    reason: str = ""
    """Why it is not ready, in words a user can act on."""
    restarts: int = 0
    started_at: datetime | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Resources in use by all replicas together: CPU in thousandths of a core, memory in bytes."""

    cpu_millis: float = 0.0
    memory_bytes: float = 0.0


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A deployed function: what was asked for and what there is."""

    spec: FunctionSpec
    desired: int
    """Replicas wanted."""
    floor: int = 0
    """Replicas that an alert which fires asks for, where the provider keeps that; load does not go below it. 0 is none."""
    replicas: tuple[Replica, ...] = ()
    created_at: datetime
    usage: Usage | None = None

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Addresses of the replicas that may be sent requests."""
        return tuple(r.address for r in self.replicas if r.state == "ready" and r.address)

    @property
    def failed(self) -> bool:
        """Whether there are replicas and none of them will become ready by itself, such as when an import failed."""
        return bool(self.replicas) and all(replica.state == "failed" for replica in self.replicas)

    @property
    def available(self) -> int:
        """Replicas whose function port answers. Several may share one address, such as that of a node."""
        return sum(replica.state == "ready" for replica in self.replicas) if self.endpoints else 0


class FunctionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a provider's `watch()`.

    `changed` carries the whole function, `removed` its key; `synced` closes the snapshot with which every watch begins.
    """

    kind: Literal["changed", "removed", "synced"]
    key: str = ""
    function: Function | None = None


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret's name and its bytes. Values never leave the provider again."""

    name: str
    namespace: str = DEFAULT_NAMESPACE
    value: bytes = b""

    def __repr__(self) -> str:
        return f"Secret(name={self.name!r}, namespace={self.namespace!r}, value=<{len(self.value)} bytes>)"


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace with the labels and annotations its owner gave it."""

    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which log lines to read (contract gateway §1.3, GET /system/logs)."""

    name: str
    namespace: str = DEFAULT_NAMESPACE
    instance: str = ""
    tail: int = -1
    """Last N lines; zero or less means all that are kept."""
    follow: bool = False
    since: datetime | None = None


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a replica wrote, without its line end."""

    name: str
    namespace: str
    instance: str
    timestamp: datetime
    text: str


class ProviderInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the functions (contract gateway §2.3)."""

    provider: str
    orchestration: str
    release: str


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider can do: declared, never found out by trying."""

    runs_images: bool = False
    runs_processes: bool = False
    namespaces: bool = True
    logs: bool = True
    usage: bool = False
    sandbox: str = ""
    """How replicas are isolated, in words; empty when they are not."""
