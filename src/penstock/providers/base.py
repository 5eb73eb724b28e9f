"""The provider interface: where functions run.

A provider takes domain objects and raises the domain errors of `penstock.errors`; it never sees HTTP. The control process
owns exactly one. What each verb means is fixed by the suite in `penstock.testing.provider_suite`, which every provider passes.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from penstock.model import (
    Capabilities,
    Function,
    FunctionEvent,
    FunctionSpec,
    LogLine,
    LogQuery,
    Namespace,
    ProviderInfo,
    Secret,
    Usage,
)


class Provider(Protocol):
    """Runs functions somewhere and says where their replicas are."""

    capabilities: Capabilities

    async def start(self) -> None:
        """Connect, adopt what already runs, begin to reconcile. Raises ProviderUnavailable."""

    async def close(self) -> None:
        """Stop reconciling and release everything held; functions stop with a node-local provider, stay with an orchestrator."""

    def info(self) -> ProviderInfo: ...

    async def health(self) -> None:
        """Return when the back-end answers; raise ProviderUnavailable when it does not."""

    async def lead(self, holder: str, seconds: float) -> bool:
        """Whether this control process, which `holder` names for people, may decide for the installation for the next `seconds`;
        one does at a time. Ask again before they are over; False where nobody can tell. Ends with `close`."""

    async def deploy(self, spec: FunctionSpec) -> None:
        """Accept a new function; it becomes ready later. One with `stages` is a pipeline: it is kept, told of and forgotten like
        a function and never has a replica. Raises FunctionExists, InvalidInput (what is wrong with the
        specification, and secrets it names that do not exist), NamespaceNotFound."""

    async def update(self, spec: FunctionSpec) -> None:
        """Replace a function's specification, rolling without a failed request. Raises FunctionNotFound, InvalidInput (also for a
        pipeline in place of a function, or the other way round)."""

    async def delete(self, name: str, namespace: str) -> None:
        """Drop a function and drain its replicas. Raises FunctionNotFound."""

    async def get(self, name: str, namespace: str, usage: bool = False) -> Function:
        """One function as it is now. Raises FunctionNotFound."""

    async def list(self, namespace: str) -> list[Function]:
        """All functions of a namespace, by name. Raises NamespaceNotFound."""

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        """Want this many replicas (0 or more). Raises FunctionNotFound, InvalidInput (also for a pipeline)."""

    def watch(self) -> AsyncIterator[FunctionEvent]:
        """All functions of all namespaces as `changed`, then `synced`, then every change until the caller stops.
        Each caller has a stream of its own; a change while it is busy is folded into one event per function."""

    def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        """Lines by time; with `follow` until the caller stops or the function is gone. Raises FunctionNotFound, InvalidInput for
        a pipeline."""

    async def list_secrets(self, namespace: str) -> builtins.list[str]:
        """Names only, sorted. Raises NamespaceNotFound."""

    async def create_secret(self, secret: Secret) -> None:
        """Raises AlreadyExists, InvalidInput, NamespaceNotFound."""

    async def update_secret(self, secret: Secret) -> None:
        """Raises SecretNotFound. Replicas started from now on see the new value."""

    async def delete_secret(self, name: str, namespace: str) -> None:
        """Raises SecretNotFound."""

    async def list_namespaces(self) -> builtins.list[Namespace]:
        """The default namespace first, then the others by name."""

    async def create_namespace(self, namespace: Namespace) -> None:
        """Raises AlreadyExists, InvalidInput."""

    async def update_namespace(self, namespace: Namespace) -> None:
        """Replace labels and annotations. Raises NamespaceNotFound."""

    async def delete_namespace(self, name: str) -> None:
        """Drop an empty namespace. Raises NamespaceNotFound; InvalidInput while functions are deployed in it, or for the default one."""


@runtime_checkable
class Holding(Protocol):
    """What a provider has besides when it keeps the floors of alerts with its functions, where all control processes see them."""

    async def hold(self, name: str, namespace: str, replicas: int | None, floor: int) -> None:
        """Want this many replicas, None for as many as now, and have `floor` as the function's; 0 is none. It stays while `scale`
        wants any replicas, and over updates. Raises FunctionNotFound, InvalidInput."""


@runtime_checkable
class Measuring(Protocol):
    """What a provider has besides when it can measure many functions at once."""

    async def usages(self, keys: Sequence[str]) -> Mapping[str, Usage]:
        """What these functions use. Those that are gone or not known now are missing; asked again, the latter may be known."""
