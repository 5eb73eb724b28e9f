"""What is the same for all providers whose cluster keeps what there is: functions and pipelines as one list, and verbs that need no more.

`swarm.provider` and `kubernetes.provider` are built on it. How anything is written to the cluster is theirs.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from penstock.errors import FunctionNotFound, InvalidInput, ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionEvent, FunctionSpec, Namespace
from penstock.providers.validation import (
    already_exists,
    check_namespace_object,
    check_pipeline_spec,
    check_same_kind,
)
from penstock.providers.watching import Watchers


class Shown(Protocol):
    """What the cluster has, by `name.namespace`, as it was heard of last."""

    @property
    def keys(self) -> list[str]: ...

    def view(self, key: str) -> Function | None: ...


class Pipelines(Shown, Protocol):
    """Named pipelines. `turn` is held from the check of one until it is written."""

    turn: asyncio.Lock
    published: Callable[[str], None]

    def specs(self) -> list[FunctionSpec]: ...

    async def look(self) -> None:
        """See what other gateways have written meanwhile."""

    async def create(self, spec: FunctionSpec) -> None: ...

    async def update(self, spec: FunctionSpec) -> None: ...

    async def delete(self, key: str) -> None: ...


class Namespaces(Protocol):
    """Those that may have functions."""

    def all(self) -> list[Namespace]: ...

    async def load(self) -> None:
        """Ask the cluster. Raises ProviderUnavailable."""

    async def require(self, name: str) -> None:
        """Raises NamespaceNotFound."""

    async def create(self, namespace: Namespace) -> None: ...


class Clustered:
    """Part of a `penstock.providers.base.Provider`."""

    _fleet: Shown
    _pipelines: Pipelines
    _namespaces: Namespaces

    def __init__(self, fleet: Shown, pipelines: Pipelines, namespaces: Namespaces) -> None:
        self._fleet, self._pipelines, self._namespaces = fleet, pipelines, namespaces
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Changes of one function, one after the other."""
        self._watchers = Watchers(self._view, self._keys)
        pipelines.published = self._watchers.publish

    async def list(self, namespace: str) -> list[Function]:
        await self._namespaces.require(namespace)
        views = [view for key in self._keys() if (view := self._view(key))]
        return sorted((view for view in views if view.spec.namespace == namespace), key=lambda view: view.spec.name)

    def watch(self) -> AsyncIterator[FunctionEvent]:
        return self._watchers.stream()

    async def list_namespaces(self) -> builtins.list[Namespace]:
        with contextlib.suppress(ProviderUnavailable):
            await self._namespaces.load()
        return self._namespaces.all()

    async def create_namespace(self, namespace: Namespace) -> None:
        check_namespace_object(namespace)
        await self._namespaces.create(namespace)

    def _view(self, key: str) -> Function | None:
        """A function, or a pipeline; where two gateways have made one of each at once, the function counts."""
        return self._fleet.view(key) or self._pipelines.view(key)

    def _keys(self) -> builtins.list[str]:
        return [*dict.fromkeys((*self._fleet.keys, *self._pipelines.keys))]

    def _found(self, name: str, namespace: str) -> Function:
        found = self._view(f"{name}.{namespace}")
        if not found or found.spec.name != name:
            raise FunctionNotFound(f"function {name}.{namespace} not found")
        return found

    async def _check_unused(self, namespace: str) -> None:
        """That a namespace may be deleted. Raises NamespaceNotFound, InvalidInput."""
        found = await self.list(namespace)
        if namespace == DEFAULT_NAMESPACE:
            raise InvalidInput(f"namespace: {namespace} is the default one and cannot be deleted")
        if found:
            raise InvalidInput(f"namespace: {namespace} still has functions, delete them first")

    async def _deploy_pipeline(self, spec: FunctionSpec) -> None:
        async with self._woven(spec):
            if self._view(spec.key):
                raise already_exists(spec)
            await self._pipelines.create(spec)

    async def _update_pipeline(self, spec: FunctionSpec) -> None:
        async with self._woven(spec):
            check_same_kind(spec, self._found(spec.name, spec.namespace).spec)
            await self._pipelines.update(spec)

    async def _delete_pipeline(self, name: str, namespace: str) -> None:
        async with self._pipelines.turn:
            await self._pipelines.delete(f"{name}.{namespace}")

    @contextlib.asynccontextmanager
    async def _woven(self, spec: FunctionSpec) -> AsyncIterator[None]:
        """Check a pipeline beside all others as they are now; until it is written none of them changes here."""
        async with self._pipelines.turn:
            await self._pipelines.look()
            check_pipeline_spec(spec, self._pipelines.specs())
            await self._namespaces.require(spec.namespace)
            yield
