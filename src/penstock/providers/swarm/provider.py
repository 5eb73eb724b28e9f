"""The Swarm provider: the verbs, over services, secrets and configs of a Docker Swarm that keeps all of it.

The control process owns one. Nothing is kept in a file, and functions go on without us: `close` only lets go of the engine.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import AsyncIterator, Mapping

import msgspec

from penstock import __version__
from penstock.core.scalelabels import initial_replicas
from penstock.errors import FunctionExists, FunctionNotFound, ProviderUnavailable
from penstock.model import (
    Capabilities,
    Function,
    FunctionSpec,
    LogLine,
    LogQuery,
    Namespace,
    ProviderInfo,
    Secret,
)
from penstock.providers.clustered import Clustered
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.containers.following import Changes
from penstock.providers.containers.logs import function_lines
from penstock.providers.containers.logsource import Source, task_of
from penstock.providers.containers.plan import check_labels
from penstock.providers.swarm.authority import Edit
from penstock.providers.swarm.composition import Parts, parts_of
from penstock.providers.swarm.fleet import Fleet
from penstock.providers.swarm.generation import Generation
from penstock.providers.swarm.manager import check_manager
from penstock.providers.swarm.namespaces import Namespaces
from penstock.providers.swarm.pipelines import Pipelines
from penstock.providers.swarm.services import check_placeable, draft, floored, scaled
from penstock.providers.swarm.tidying import Tidying
from penstock.providers.swarm.tracked import Tracked
from penstock.providers.validation import (
    already_exists,
    check_namespace_object,
    check_replicas,
    check_same_kind,
    check_secrets_exist,
    check_spec,
    refuse_logs,
    refuse_scaling,
)
from penstock.settings import ServeSettings

_TRIES = 5
"""Attempts at a generation that another gateway is faster with."""


def create_swarm_provider(settings: ServeSettings, environ: Mapping[str, str]) -> SwarmProvider:
    return SwarmProvider(parts_of(Engine(environ), settings, environ))


class SwarmProvider(Clustered):
    """A `penstock.providers.base.Provider` for the Swarm whose manager the engine is."""

    capabilities = Capabilities(runs_images=True, sandbox="containers")
    _fleet: Fleet
    _pipelines: Pipelines
    _namespaces: Namespaces

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.fleet, parts.pipelines, parts.namespaces)
        self._parts = parts
        self._engine = parts.engine
        self._secrets = parts.secrets
        self._changes = Changes()
        self._tidying = Tidying(self._collect, parts.clock)
        self._fleet.published = self._published
        self._fleet.removed = self._tidying.kick
        self._fleet.renew = self._renew

    async def start(self) -> None:
        try:
            info = await self._engine.open()
            check_manager(info, self._engine.url)
            await self._parts.surroundings.look(self._engine, info)
            await self._namespaces.load()
            await self._parts.cluster.look()
        except EngineRefused as error:
            await self._engine.close()
            raise ProviderUnavailable(f"the Docker Engine at {self._engine.url} refuses: {error}") from error
        except ProviderUnavailable:
            await self._engine.close()
            raise
        self._refresh()
        self._parts.cluster.follow(self._refresh, self._fleet.busy, self._fleet.doubt)
        self._tidying.start()

    async def close(self) -> None:
        await self._parts.lease.give_back()
        await self._tidying.close()
        await self._parts.cluster.close()
        await self._fleet.close()
        await self._parts.spread.close()
        self._watchers.close()
        self._changes.fire()
        await self._engine.close()

    def info(self) -> ProviderInfo:
        return ProviderInfo(provider="swarm", orchestration="swarm", release=__version__)

    async def health(self) -> None:
        try:
            check_manager(await self._engine.get("/info"), self._engine.url)
        except EngineRefused as error:
            raise ProviderUnavailable(f"the Docker Engine at {self._engine.url} refuses: {error}") from error

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
            now = self._parts.clock.now()
            await self._create(Generation(spec=spec, number=1, created_at=now, desired=initial_replicas(spec.labels)))

    async def update(self, spec: FunctionSpec) -> None:
        if spec.stages:
            await self._update_pipeline(spec)
            return
        check_same_kind(spec, self._found(spec.name, spec.namespace).spec)
        await self._check(spec)
        async with self._locks[spec.key]:
            await self._supersede(spec.name, spec.namespace, spec)

    async def delete(self, name: str, namespace: str) -> None:
        if self._found(name, namespace).spec.stages:
            await self._delete_pipeline(name, namespace)
            return
        key = self._tracked(name, namespace).key
        async with self._locks[key]:
            self._tracked(name, namespace)
            await self._fleet.retire(key)
            self._changes.fire()

    async def get(self, name: str, namespace: str, usage: bool = False) -> Function:
        return self._found(name, namespace)

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        refuse_scaling(self._found(name, namespace).spec)
        check_replicas(replicas)
        await self._edit(name, namespace, lambda service: scaled(service, replicas))

    async def hold(self, name: str, namespace: str, replicas: int | None, floor: int) -> None:
        refuse_scaling(self._found(name, namespace).spec)
        check_replicas(replicas or 0)

        def edit(service: Document) -> Document:
            return floored(service if replicas is None else scaled(service, replicas), floor)

        await self._edit(name, namespace, edit)

    async def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        refuse_logs(self._found(query.name, query.namespace).spec)
        tracked = self._tracked(query.name, query.namespace)

        def sources() -> builtins.list[Source]:
            return [Source(f"/services/{generation.id}/logs", task_of) for generation in tracked.generations]

        def deployed() -> bool:
            return self._fleet.find(tracked.key) is tracked

        clock = self._parts.clock
        lines = function_lines(self._engine, query, sources, deployed, self._changes, clock)
        async with contextlib.aclosing(lines):
            async for line in lines:
                yield line

    # Secrets

    async def list_secrets(self, namespace: str) -> builtins.list[str]:
        await self._namespaces.require(namespace)
        return await self._secrets.names(namespace)

    async def create_secret(self, secret: Secret) -> None:
        await self._namespaces.require(secret.namespace)
        await self._secrets.create(secret)

    async def update_secret(self, secret: Secret) -> None:
        await self._secrets.update(secret)
        for key in self._fleet.keys:
            view = self._fleet.view(key)
            if view and view.spec.namespace == secret.namespace and secret.name in view.spec.secrets:
                await self._renew(key)
        self._tidying.kick()

    async def delete_secret(self, name: str, namespace: str) -> None:
        await self._secrets.delete(name, namespace)
        self._tidying.kick()

    # Namespaces

    async def update_namespace(self, namespace: Namespace) -> None:
        await self._namespaces.require(namespace.name)
        check_namespace_object(namespace)
        await self._namespaces.update(namespace)

    async def delete_namespace(self, name: str) -> None:
        await self._check_unused(name)
        # While it is there, what was cut short can be done again.
        await self._secrets.delete_all(name)
        await self._namespaces.delete(name)
        self._tidying.kick()

    # Steps

    def _refresh(self) -> None:
        self._fleet.refresh()
        self._pipelines.refresh()

    def _tracked(self, name: str, namespace: str) -> Tracked:
        tracked = self._fleet.find(f"{name}.{namespace}")
        if not tracked or tracked.newest.spec.name != name:
            raise FunctionNotFound(f"function {name}.{namespace} not found")
        return tracked

    async def _check(self, spec: FunctionSpec) -> None:
        check_spec(spec)
        check_placeable(spec)
        check_labels(spec)
        await self._namespaces.require(spec.namespace)
        if spec.secrets:
            check_secrets_exist(spec.secrets, await self._secrets.names(spec.namespace), spec.namespace)
        await self._parts.preparer.check(spec)

    async def _create(self, generation: Generation) -> None:
        await self._parts.authority.create(draft(generation, self._parts.installation))
        self._fleet.refresh()

    async def _renew(self, key: str, service: str = "") -> None:
        """Replace a function's replicas by others of the same specification; those of one service only while it is the newest."""
        async with self._locks[key]:
            tracked = self._fleet.find(key)
            if tracked and service in ("", tracked.newest.id):
                spec = tracked.newest.spec
                await self._supersede(spec.name, spec.namespace, spec)

    async def _supersede(self, name: str, namespace: str, spec: FunctionSpec) -> None:
        """Begin the next generation. Where another gateway has begun it meanwhile, ours comes after."""
        for _ in range(_TRIES):
            newest = self._tracked(name, namespace).newest
            try:
                await self._create(msgspec.structs.replace(newest, spec=spec, number=newest.number + 1))
            except FunctionExists:
                await self._parts.cluster.look()
                self._fleet.refresh()
            else:
                return
        raise ProviderUnavailable(f"function {spec.key} is being updated by others all the time; try again")

    async def _edit(self, name: str, namespace: str, edit: Edit) -> None:
        """Change a function's services. An older generation goes along: it serves for as long as the newest does not."""
        key = self._tracked(name, namespace).key
        async with self._locks[key]:
            tracked = self._tracked(name, namespace)
            try:
                for generation in reversed(tracked.generations):
                    await self._edit_one(tracked, generation, edit)
            except FunctionNotFound as error:
                raise FunctionNotFound(f"function {key} not found") from error
            finally:
                self._fleet.refresh()

    async def _edit_one(self, tracked: Tracked, generation: Generation, edit: Edit) -> None:
        """An older generation may be gone by now."""
        try:
            await self._parts.authority.edit(generation.id, edit)
        except FunctionNotFound:
            if generation.id == tracked.newest.id:
                raise

    def _published(self, key: str) -> None:
        self._watchers.publish(key)
        self._changes.fire()

    async def _collect(self) -> bool:
        """Whether something is left over that cannot be removed yet."""
        await self._namespaces.load()
        known = {namespace.name for namespace in self._namespaces.all()}
        networks = await self._parts.networks.collect(known)
        await self._parts.spread.collect(self._fleet.watchdogs)
        return await self._secrets.collect() or networks
