"""The Kubernetes provider: the verbs, over Deployments, Services, Secrets and ConfigMaps of a cluster that keeps all of it.

The control process owns one. Nothing is kept in a file, and functions go on without us: `close` only lets go of the cluster.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from penstock import __version__
from penstock.core.scalelabels import initial_replicas
from penstock.errors import FunctionNotFound, ProviderUnavailable
from penstock.model import (
    Capabilities,
    Function,
    FunctionSpec,
    LogLine,
    LogQuery,
    Namespace,
    ProviderInfo,
    Secret,
    Usage,
)
from penstock.providers.clustered import Clustered
from penstock.providers.kubernetes import manifests
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiRefused
from penstock.providers.kubernetes.client.kinds import (
    FUNCTION,
)
from penstock.providers.kubernetes.composition import Parts, parts_of
from penstock.providers.kubernetes.fleet import Fleet
from penstock.providers.kubernetes.functionobjects import FunctionObjects
from penstock.providers.kubernetes.functionwriter import FunctionWriter, disputed
from penstock.providers.kubernetes.mending import Mending
from penstock.providers.kubernetes.mirror import Place
from penstock.providers.kubernetes.namespaces import Namespaces, making_in
from penstock.providers.kubernetes.tracked import Tracked
from penstock.providers.validation import (
    already_exists,
    check_namespace_object,
    check_replicas,
    check_same_kind,
    check_spec,
    refuse_logs,
    refuse_scaling,
)
from penstock.settings import ServeSettings

Document = dict[str, Any]

START_PATIENCE = 30.0
"""Seconds in which all that there is must have been listed at the start."""

_log = logging.getLogger(__name__)


def create_kubernetes_provider(settings: ServeSettings, environ: Mapping[str, str]) -> KubernetesProvider:
    return KubernetesProvider(parts_of(settings, environ))


class KubernetesProvider(Clustered):
    """A `penstock.providers.base.Provider` for a cluster."""

    _fleet: Fleet
    _namespaces: Namespaces

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.fleet, parts.pipelines, parts.namespaces)
        # Usage is not declared: what measures it is an add-on of the cluster, which comes and goes.
        self.capabilities = Capabilities(runs_images=True, sandbox="containers")
        self._parts = parts
        self._api = parts.api
        self._writer = FunctionWriter(parts)
        self._mending = Mending(self._writer.wanted, self._writer.rewrite, self._locks, lambda: parts.lease.held, parts)
        self._objects: FunctionObjects | None = None
        self._fleet.published = self._published
        self._fleet.drifted = self._mending.doubt

    @property
    def _mirrors(self) -> builtins.list[Any]:
        parts = self._parts
        return [parts.deployments, parts.services, parts.pods, parts.config_maps]

    async def start(self) -> None:
        try:
            version = await self._api.open()
            for mirror in self._mirrors:
                mirror.start()
            await self._listed()
        except BaseException as error:
            await self._let_go()
            if isinstance(error, ApiRefused):
                raise ProviderUnavailable(f"the Kubernetes API at {self._api.url} refuses: {error}") from error
            raise
        _log.info("functions are on the cluster %s (%s)", self._api.url, version)
        self._mending.start()
        if self._parts.function_objects:
            self._objects = FunctionObjects(
                self._parts.function_objects, self, self._tell, lambda: self._parts.lease.held, self._parts.clock
            )
            self._parts.function_objects.start()
            self._objects.start()

    async def _listed(self) -> None:
        """Raises ProviderUnavailable when it takes too long, with the reason."""
        try:
            async with asyncio.timeout(START_PATIENCE):
                await self._namespaces.start()
                await self._namespaces.provide(self._parts.platform)
                for mirror in self._mirrors:
                    await mirror.synced()
        except TimeoutError as error:
            followed = (self._namespaces, *self._mirrors)
            why = next((one.behind for one in followed if one.behind), "it takes too long")
            raise ProviderUnavailable(f"what is on the cluster cannot be listed: {why}") from error

    async def close(self) -> None:
        await self._parts.lease.give_back()
        if self._objects:
            await self._objects.close()
        await self._mending.close()
        self._watchers.close()
        self._parts.changes.fire()
        await self._let_go()

    async def _let_go(self) -> None:
        self._fleet.close()
        objects = [self._parts.function_objects] if self._parts.function_objects else []
        for mirror in (*self._mirrors, *objects, self._namespaces):
            await mirror.close()
        await self._api.close()

    def info(self) -> ProviderInfo:
        return ProviderInfo(provider="kubernetes", orchestration="kubernetes", release=__version__)

    async def health(self) -> None:
        await self._parts.health.check()

    async def lead(self, holder: str, seconds: float) -> bool:
        return await self._parts.lease.hold(holder, seconds)

    # Functions

    async def deploy(self, spec: FunctionSpec) -> None:
        if spec.stages:
            await self._deploy_pipeline(spec)
            return
        await self._check(spec)
        async with self._locks[spec.key]:
            if self._view(spec.key):
                raise already_exists(spec)
            wanted = await self._writer.drawn(spec, initial_replicas(spec.labels), 0, f"{secrets.token_hex(3)}-1")
            service = await self._writer.reserve(spec)
            try:
                await self._writer.write(spec, wanted, service)
            except ApiConflict as error:
                raise disputed(spec) from error

    async def update(self, spec: FunctionSpec) -> None:
        if spec.stages:
            await self._update_pipeline(spec)
            return
        check_same_kind(spec, self._found(spec.name, spec.namespace).spec)
        await self._check(spec)
        async with self._locks[spec.key]:
            live = self._tracked(spec.name, spec.namespace).deployment
            first, _, number = manifests.rollout_of(live).partition("-")
            rollout = f"{first}-{int(number or 0) + 1}"
            wanted = await self._writer.drawn(spec, manifests.desired_of(live), manifests.floor_of(live), rollout)
            try:
                await self._writer.rewrite(spec, wanted, live)
            except ApiConflict as error:
                raise FunctionNotFound(
                    f"function {spec.key} was deleted or deployed anew meanwhile: {error}"
                ) from error

    async def delete(self, name: str, namespace: str) -> None:
        if self._found(name, namespace).spec.stages:
            await self._delete_pipeline(name, namespace)
            return
        async with self._locks[f"{name}.{namespace}"]:
            await self._writer.remove(self._tracked(name, namespace))
            self._parts.changes.fire()

    async def get(self, name: str, namespace: str, usage: bool = False) -> Function:
        function = self._found(name, namespace)
        if usage and not function.spec.stages:
            found = await self.usages([function.key])
            return msgspec.structs.replace(function, usage=found.get(function.key))
        return function

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        refuse_scaling(self._found(name, namespace).spec)
        check_replicas(replicas)
        self._tracked(name, namespace)
        async with self._locks[f"{name}.{namespace}"]:
            live = self._tracked(name, namespace).deployment
            manifests.refuse_number(live, replicas)
            if not replicas and manifests.floor_of(live):
                await self._writer.set_floor(name, namespace, 0)
            await self._writer.scale(name, namespace, replicas)

    async def hold(self, name: str, namespace: str, replicas: int | None, floor: int) -> None:
        refuse_scaling(self._found(name, namespace).spec)
        check_replicas(replicas or 0)
        async with self._locks[f"{name}.{namespace}"]:
            live = self._tracked(name, namespace).deployment
            if replicas is not None:
                manifests.refuse_number(live, replicas)
            await self._writer.set_floor(name, namespace, floor)
            if replicas is not None:
                await self._writer.scale(name, namespace, replicas)

    async def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        refuse_logs(self._found(query.name, query.namespace).spec)
        tracked = self._tracked(query.name, query.namespace)

        def deployed() -> bool:
            return self._fleet.find(tracked.spec.key) is tracked

        async with contextlib.aclosing(self._parts.logs.lines(query, lambda: tracked.pods, deployed)) as lines:
            async for line in lines:
                yield line

    async def usages(self, keys: Sequence[str]) -> Mapping[str, Usage]:
        return await self._parts.usages.of(keys)

    # Secrets

    async def list_secrets(self, namespace: str) -> builtins.list[str]:
        await self._namespaces.require(namespace)
        return await self._parts.secrets.names(namespace)

    async def create_secret(self, secret: Secret) -> None:
        await self._namespaces.require(secret.namespace)
        with making_in(secret.namespace):
            await self._parts.secrets.create(secret)

    async def update_secret(self, secret: Secret) -> None:
        await self._parts.secrets.update(secret)

    async def delete_secret(self, name: str, namespace: str) -> None:
        await self._parts.secrets.delete(name, namespace)

    # Namespaces

    async def update_namespace(self, namespace: Namespace) -> None:
        check_namespace_object(namespace)
        await self._namespaces.update(namespace)

    async def delete_namespace(self, name: str) -> None:
        await self._check_unused(name)
        await self._namespaces.delete(name)

    # Steps

    def _published(self, key: str) -> None:
        self._watchers.publish(key)
        self._parts.changes.fire()

    def _tracked(self, name: str, namespace: str) -> Tracked:
        tracked = self._fleet.find(f"{name}.{namespace}")
        if not tracked or tracked.spec.name != name:
            raise FunctionNotFound(f"function {name}.{namespace} not found")
        return tracked

    async def _check(self, spec: FunctionSpec) -> None:
        check_spec(spec)
        manifests.check(spec)
        await self._namespaces.require(spec.namespace)

    async def _tell(self, place: Place, status: Document) -> None:
        await self._api.merge(FUNCTION, place[1], place[0], {"status": status}, "status")
