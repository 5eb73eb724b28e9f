"""Writes, changes and removes the objects that a function is made of: Service, ServiceAccount, Deployment.

Called by the provider and by `mending`, one function at a time each. A function's name is taken by its Service, which only one gateway
can make; its Deployment comes last, since pods need the others. How one object is written over another is in `writing`.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, PenstockError
from penstock.model import FunctionSpec
from penstock.providers.kubernetes import manifests, marks, profiles
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiForbidden, ApiNotFound
from penstock.providers.kubernetes.client.kinds import CONFIG_MAP, DEPLOYMENT, PROFILE, SERVICE, SERVICE_ACCOUNT
from penstock.providers.kubernetes.composition import Parts
from penstock.providers.kubernetes.namespaces import making_in
from penstock.providers.kubernetes.tracked import Tracked
from penstock.providers.kubernetes.writing import apply_over, write_deployment
from penstock.providers.validation import already_exists

Document = dict[str, Any]

LEFT_OVER = 30.0
"""Seconds after which a Service without a Deployment is nobody's who is just deploying."""

_log = logging.getLogger(__name__)


class FunctionWriter:
    """For the functions of one installation."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._api = parts.api

    async def drawn(self, spec: FunctionSpec, desired: int, floor: int, rollout: str) -> Document:
        """The Deployment, with what it names looked up. Raises InvalidInput for what does not exist."""
        types = await self._parts.secrets.types(spec.secrets, spec.namespace)
        return manifests.deployment(spec, desired, floor, self._parts.shape, await self._profiles(spec), types, rollout)

    async def _profiles(self, spec: FunctionSpec) -> list[profiles.Profile]:
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

    async def reserve(self, spec: FunctionSpec) -> str:
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
                raise disputed(spec) from error
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
                raise already_exists(spec)
            age = self._parts.clock.now() - manifests.created_of(live)
            if age.total_seconds() < LEFT_OVER:
                raise disputed(spec)
            with contextlib.suppress(ApiNotFound, ApiConflict):
                await self._api.delete(SERVICE, spec.name, spec.namespace, uid=live["metadata"]["uid"])

    async def rewrite(self, spec: FunctionSpec, wanted: Document, live: Document, version: str = "") -> None:
        """Write a function's objects over its Deployment as it was when that was decided; with a `version`, only over that one.

        Raises ApiConflict when it is gone or another one by now; nothing is left of the attempt.
        """
        await self.write(spec, wanted, self._service_uid(spec), live, version)

    async def write(
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

    async def remove(self, tracked: Tracked) -> None:
        """Raises FunctionNotFound when it is gone, or another one by now."""
        spec = tracked.spec
        uid, service = tracked.deployment["metadata"]["uid"], self._service_uid(spec)
        try:
            await self._api.delete(DEPLOYMENT, spec.name, spec.namespace, uid=uid)
        except (ApiNotFound, ApiConflict) as error:
            raise FunctionNotFound(f"function {spec.key} not found") from error
        self._parts.deployments.forget((spec.namespace, spec.name), uid)
        await self._remove_others(spec, service)

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

    async def wanted(self, tracked: Tracked) -> Document:
        """What a function's Deployment should be, by what it says of itself."""
        live = tracked.deployment
        desired, floor = manifests.desired_of(live), manifests.floor_of(live)
        return await self.drawn(tracked.spec, desired, floor, manifests.rollout_of(live))

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
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

    async def set_floor(self, name: str, namespace: str, floor: int) -> None:
        patch = {"metadata": {"annotations": {marks.FLOOR: str(floor) if floor else None}}}
        try:
            self._parts.deployments.note(await self._api.merge(DEPLOYMENT, name, namespace, patch))
        except ApiNotFound as error:
            raise FunctionNotFound(f"function {name}.{namespace} not found") from error


def disputed(spec: FunctionSpec) -> FunctionExists:
    return FunctionExists(f"function {spec.key} is being deployed by another gateway, or was deleted just now")
