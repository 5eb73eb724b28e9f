"""The Kubernetes provider: the verbs, over Deployments, Services, Secrets and ConfigMaps of a cluster that keeps all of it.

The control process owns one. Nothing is kept in a file, and functions go on without us: `close` only lets go of the cluster.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from penstock import __version__
from penstock.core.scalelabels import initial_replicas
from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, PenstockError, ProviderUnavailable
from penstock.model import (
    DEFAULT_NAMESPACE,
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
from penstock.providers.kubernetes import manifests, marks, profiles
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiForbidden, ApiNotFound, ApiRefused
from penstock.providers.kubernetes.client.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    FUNCTION,
    PROFILE,
    SERVICE,
    SERVICE_ACCOUNT,
)
from penstock.providers.kubernetes.composition import Parts, parts_of
from penstock.providers.kubernetes.functionobjects import FunctionObjects
from penstock.providers.kubernetes.mending import Mending
from penstock.providers.kubernetes.mirror import Place
from penstock.providers.kubernetes.namespaces import making_in
from penstock.providers.kubernetes.tracked import Tracked
from penstock.providers.kubernetes.writing import apply_over, write_deployment
from penstock.providers.validation import (
    check_namespace_object,
    check_pipeline_spec,
    check_replicas,
    check_same_kind,
    check_spec,
    refuse_logs,
    refuse_scaling,
)
from penstock.providers.watching import Watchers
from penstock.settings import ServeSettings

Document = dict[str, Any]

START_PATIENCE = 30.0
"""Seconds in which all that there is must have been listed at the start."""

_log = logging.getLogger(__name__)


def create_kubernetes_provider(settings: ServeSettings, environ: Mapping[str, str]) -> KubernetesProvider:
    return KubernetesProvider(parts_of(settings, environ))


class KubernetesProvider:
    """A `penstock.providers.base.Provider` for a cluster."""

    def __init__(self, parts: Parts) -> None:
        # Usage is not declared: what measures it is an add-on of the cluster, which comes and goes.
        self.capabilities = Capabilities(runs_images=True, sandbox="containers")
        self._parts = parts
        self._api = parts.api
        self._fleet = parts.fleet
        self._pipelines = parts.pipelines
        self._namespaces = parts.namespaces
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Changes of one function, one after the other."""
        self._watchers = Watchers(self._view, self._keys)
        self._mending = Mending(self._wanted, self._rewrite, self._locks, lambda: parts.lease.held, parts)
        self._objects: FunctionObjects | None = None
        self._fleet.published = self._published
        self._fleet.drifted = self._mending.doubt
        self._pipelines.published = self._watchers.publish

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
                raise _exists(spec)
            wanted = await self._drawn(spec, initial_replicas(spec.labels), 0, f"{secrets.token_hex(3)}-1")
            service = await self._reserve(spec)
            try:
                await self._apply(spec, wanted, service)
            except ApiConflict as error:
                raise _disputed(spec) from error

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
            wanted = await self._drawn(spec, manifests.desired_of(live), manifests.floor_of(live), rollout)
            try:
                await self._rewrite(spec, wanted, live)
            except ApiConflict as error:
                raise FunctionNotFound(
                    f"function {spec.key} was deleted or deployed anew meanwhile: {error}"
                ) from error

    async def delete(self, name: str, namespace: str) -> None:
        key = f"{name}.{namespace}"
        if self._found(name, namespace).spec.stages:
            async with self._pipelines.turn:
                await self._pipelines.delete(key)
            return
        async with self._locks[key]:
            tracked = self._tracked(name, namespace)
            uid, service = tracked.deployment["metadata"]["uid"], self._service_uid(tracked.spec)
            try:
                await self._api.delete(DEPLOYMENT, name, namespace, uid=uid)
            except (ApiNotFound, ApiConflict) as error:
                raise FunctionNotFound(f"function {key} not found") from error
            self._parts.deployments.forget((namespace, name), uid)
            await self._remove_others(tracked.spec, service)
            self._parts.changes.fire()

    async def get(self, name: str, namespace: str, usage: bool = False) -> Function:
        function = self._found(name, namespace)
        if usage and not function.spec.stages:
            found = await self.usages([function.key])
            return msgspec.structs.replace(function, usage=found.get(function.key))
        return function

    async def list(self, namespace: str) -> list[Function]:
        self._namespaces.require(namespace)
        views = [view for key in self._keys() if (view := self._view(key))]
        return sorted((view for view in views if view.spec.namespace == namespace), key=lambda view: view.spec.name)

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        refuse_scaling(self._found(name, namespace).spec)
        check_replicas(replicas)
        self._tracked(name, namespace)
        async with self._locks[f"{name}.{namespace}"]:
            live = self._tracked(name, namespace).deployment
            manifests.refuse_number(live, replicas)
            if not replicas and manifests.floor_of(live):
                await self._floor(name, namespace, 0)
            await self._scale(name, namespace, replicas)

    async def hold(self, name: str, namespace: str, replicas: int | None, floor: int) -> None:
        refuse_scaling(self._found(name, namespace).spec)
        check_replicas(replicas or 0)
        async with self._locks[f"{name}.{namespace}"]:
            live = self._tracked(name, namespace).deployment
            if replicas is not None:
                manifests.refuse_number(live, replicas)
            await self._floor(name, namespace, floor)
            if replicas is not None:
                await self._scale(name, namespace, replicas)

    def watch(self) -> AsyncIterator[FunctionEvent]:
        return self._watchers.stream()

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
        self._namespaces.require(namespace)
        return await self._parts.secrets.names(namespace)

    async def create_secret(self, secret: Secret) -> None:
        self._namespaces.require(secret.namespace)
        with making_in(secret.namespace):
            await self._parts.secrets.create(secret)

    async def update_secret(self, secret: Secret) -> None:
        await self._parts.secrets.update(secret)

    async def delete_secret(self, name: str, namespace: str) -> None:
        await self._parts.secrets.delete(name, namespace)

    # Namespaces

    async def list_namespaces(self) -> builtins.list[Namespace]:
        with contextlib.suppress(ProviderUnavailable):
            await self._namespaces.load()
        return self._namespaces.all()

    async def create_namespace(self, namespace: Namespace) -> None:
        check_namespace_object(namespace)
        await self._namespaces.create(namespace)

    async def update_namespace(self, namespace: Namespace) -> None:
        check_namespace_object(namespace)
        await self._namespaces.update(namespace)

    async def delete_namespace(self, name: str) -> None:
        self._namespaces.require(name)
        if name == DEFAULT_NAMESPACE:
            raise InvalidInput(f"namespace: {name} is the default one and cannot be deleted")
        if await self.list(name):
            raise InvalidInput(f"namespace: {name} still has functions, delete them first")
        await self._namespaces.delete(name)

    # Steps

    def _published(self, key: str) -> None:
        self._watchers.publish(key)
        self._parts.changes.fire()

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

    def _tracked(self, name: str, namespace: str) -> Tracked:
        tracked = self._fleet.find(f"{name}.{namespace}")
        if not tracked or tracked.spec.name != name:
            raise FunctionNotFound(f"function {name}.{namespace} not found")
        return tracked

    async def _check(self, spec: FunctionSpec) -> None:
        check_spec(spec)
        manifests.check(spec)
        self._namespaces.require(spec.namespace)

    async def _drawn(self, spec: FunctionSpec, desired: int, floor: int, rollout: str) -> Document:
        """The Deployment, with what it names looked up. Raises InvalidInput for what does not exist."""
        types = await self._parts.secrets.types(spec.secrets, spec.namespace)
        return manifests.deployment(spec, desired, floor, self._parts.shape, await self._profiles(spec), types, rollout)

    async def _profiles(self, spec: FunctionSpec) -> builtins.list[profiles.Profile]:
        found = [profile for name in profiles.wanted(spec) if (profile := await self._profile(name))]
        if error := profiles.missing(spec, found, self._parts.platform):
            raise error
        return found

    async def _profile(self, name: str) -> profiles.Profile | None:
        """An object, or a ConfigMap; None where there is neither. Where no objects are wanted, their rule is missing."""
        try:
            return profiles.read(await self._api.get(PROFILE, name, self._parts.platform))
        except (ApiNotFound, ApiForbidden) as error:
            _log.debug("profile %s is no object: %s", name, error)
        try:
            return profiles.read(await self._api.get(CONFIG_MAP, name, self._parts.platform))
        except ApiNotFound:
            return None

    async def _reserve(self, spec: FunctionSpec) -> str:
        """Take the name, by the Service, which only one can make; its uid. Raises FunctionExists, InvalidInput."""
        document = manifests.service(spec, self._parts.shape)
        try:
            with making_in(spec.namespace):
                made = await self._api.create(SERVICE, document)
        except ApiConflict:
            await self._dispute(spec)
            try:
                made = await self._api.create(SERVICE, document)
            except ApiConflict as error:
                raise _disputed(spec) from error
        self._parts.services.note(made)
        return str(made["metadata"]["uid"])

    async def _dispute(self, spec: FunctionSpec) -> None:
        """The name is taken: by others, by a function, or by what is left of one, which is removed: whoever may be about to do
        that, must not find it in use again. Raises FunctionExists, InvalidInput."""
        for kind in (DEPLOYMENT, SERVICE):
            try:
                live = await self._api.get(kind, spec.name, spec.namespace)
            except ApiNotFound:
                continue
            if not manifests.is_ours(live, self._parts.installation):
                raise InvalidInput(
                    f"service: namespace {spec.namespace} has a {kind.name} {spec.name} that is not Penstock's; "
                    "choose another name, or remove it"
                )
            if kind is DEPLOYMENT:
                raise _exists(spec)
            age = self._parts.clock.now() - manifests.created_of(live)
            if age.total_seconds() < START_PATIENCE:
                raise _disputed(spec)
            with contextlib.suppress(ApiNotFound, ApiConflict):
                await self._api.delete(SERVICE, spec.name, spec.namespace, uid=live["metadata"]["uid"])

    async def _rewrite(self, spec: FunctionSpec, wanted: Document, live: Document, version: str = "") -> None:
        """Write a function's objects over its Deployment as it was when that was decided; with a `version`, only over that one.

        Raises ApiConflict when it is gone or another one by now; nothing is left of the attempt.
        """
        await self._apply(spec, wanted, self._service_uid(spec), live, version)

    async def _apply(
        self, spec: FunctionSpec, wanted: Document, service: str, live: Document | None = None, version: str = ""
    ) -> None:
        """Write all objects of a function; the Deployment last, since pods need the others. `service`: the uid of the Service that it
        has, empty for none. Nothing that is left of an attempt that failed keeps the name."""
        document = manifests.service(spec, self._parts.shape)
        try:
            writing = (
                apply_over(self._api, SERVICE, service, document) if service else self._api.apply(SERVICE, document)
            )
            written = await writing
            self._parts.services.note(written)
            service = written["metadata"]["uid"]
            if manifests.has_own_account(spec):
                await self._api.apply(SERVICE_ACCOUNT, manifests.service_account(spec, self._parts.shape))
            if not live:
                await self._refuse_others(spec, service)
            self._parts.deployments.note(await write_deployment(self._api, live, wanted, version))
        except PenstockError:
            if service:
                await self._clear(spec, service)
            raise

    async def _clear(self, spec: FunctionSpec, service: str) -> None:
        """Remove what was written for a function whose Deployment could not be, or is gone: its name would stay taken."""
        try:
            await self._api.get(DEPLOYMENT, spec.name, spec.namespace)
        except ApiNotFound:
            await self._remove_others(spec, service)
        except PenstockError as error:
            _log.warning("whether anything is left of function %s cannot be seen: %s", spec.key, error)

    async def _remove_others(self, spec: FunctionSpec, service: str) -> None:
        """What a function has beside its Deployment. `service`: the uid of its Service; when that is another one by now, so is the
        function, and nothing is removed."""
        wanted = [(SERVICE, spec.name, service)]
        if manifests.has_own_account(spec):
            wanted.append((SERVICE_ACCOUNT, manifests.account_name(spec), ""))
        for kind, name, uid in wanted:
            try:
                await self._api.delete(kind, name, spec.namespace, uid=uid)
            except ApiNotFound:
                continue
            except ApiConflict:
                return
            except PenstockError as error:
                _log.warning("%s %s/%s is left over: %s", kind.name, spec.namespace, name, error)
        self._parts.services.forget((spec.namespace, spec.name), service)

    def _service_uid(self, spec: FunctionSpec) -> str:
        """Empty where it is not known to be there."""
        live = self._parts.services.items.get((spec.namespace, spec.name))
        return str(live["metadata"]["uid"]) if live else ""

    async def _refuse_others(self, spec: FunctionSpec, service: str) -> None:
        """Raises InvalidInput when somebody else has a Deployment of that name."""
        with contextlib.suppress(ApiNotFound):
            live = await self._api.get(DEPLOYMENT, spec.name, spec.namespace)
            if not manifests.is_ours(live, self._parts.installation):
                await self._remove_others(spec, service)
                raise InvalidInput(
                    f"service: namespace {spec.namespace} has a Deployment {spec.name} that is not Penstock's; "
                    "choose another name, or remove it"
                )

    async def _wanted(self, tracked: Tracked) -> Document:
        """What a function's Deployment should be, by what it says of itself."""
        live = tracked.deployment
        desired, floor = manifests.desired_of(live), manifests.floor_of(live)
        return await self._drawn(tracked.spec, desired, floor, manifests.rollout_of(live))

    async def _scale(self, name: str, namespace: str, replicas: int) -> None:
        key = namespace, name
        try:
            answer = await self._api.scale(name, namespace, replicas)
        except ApiNotFound as error:
            raise FunctionNotFound(f"function {name}.{namespace} not found") from error
        live = self._parts.deployments.items.get(key)
        if live:
            metadata = {**live["metadata"], "resourceVersion": answer["metadata"]["resourceVersion"]}
            spec = {**live["spec"], "replicas": replicas}
            self._parts.deployments.note({**live, "metadata": metadata, "spec": spec})

    async def _floor(self, name: str, namespace: str, floor: int) -> None:
        patch = {"metadata": {"annotations": {marks.FLOOR: str(floor) if floor else None}}}
        try:
            self._parts.deployments.note(await self._api.merge(DEPLOYMENT, name, namespace, patch))
        except ApiNotFound as error:
            raise FunctionNotFound(f"function {name}.{namespace} not found") from error

    async def _deploy_pipeline(self, spec: FunctionSpec) -> None:
        async with self._woven(spec):
            if self._view(spec.key):
                raise _exists(spec)
            with making_in(spec.namespace):
                await self._pipelines.create(spec)

    async def _update_pipeline(self, spec: FunctionSpec) -> None:
        async with self._woven(spec):
            check_same_kind(spec, self._found(spec.name, spec.namespace).spec)
            await self._pipelines.update(spec)

    @contextlib.asynccontextmanager
    async def _woven(self, spec: FunctionSpec) -> AsyncIterator[None]:
        """Check a pipeline beside all others as they are now; until it is written none of them changes here."""
        async with self._pipelines.turn:
            check_pipeline_spec(spec, self._pipelines.specs())
            self._namespaces.require(spec.namespace)
            yield

    async def _tell(self, place: Place, status: Document) -> None:
        await self._api.merge(FUNCTION, place[1], place[0], {"status": status}, "status")


def _disputed(spec: FunctionSpec) -> FunctionExists:
    return FunctionExists(f"function {spec.key} is being deployed by another gateway, or was deleted just now")


def _exists(spec: FunctionSpec) -> FunctionExists:
    return FunctionExists(f"function {spec.key} already exists; update it instead")
