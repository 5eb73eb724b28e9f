"""Named pipelines, each kept in a ConfigMap whose annotation holds its specification.

Called by the provider, which checks what it is asked for. What there is comes from a mirror, as other gateways write too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from penstock.errors import FunctionExists, FunctionNotFound
from penstock.model import Function, FunctionSpec
from penstock.providers.containers.labels import KIND
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiNotFound
from penstock.providers.kubernetes.client.kinds import CONFIG_MAP
from penstock.providers.kubernetes.mirror import Mirror, Place
from penstock.providers.kubernetes.namespaces import making_in
from penstock.providers.kubernetes.writing import apply_over

Document = dict[str, Any]

PIPELINE = "pipeline"
"""Value of the label KIND."""
_PREFIX = "pipeline-"


def labels_of(installation: str) -> dict[str, str]:
    """Of all pipelines of an installation."""
    return {**marks.owner(installation), KIND: PIPELINE}


class Pipelines:
    """Those of one installation. `published` is called with the key of each that is new, different or gone."""

    def __init__(self, api: Api, mirror: Mirror, installation: str) -> None:
        self.published: Callable[[str], None] = lambda key: None
        self.turn = asyncio.Lock()
        """Held from the check of a pipeline until it is written: two changes at once could make a cycle that neither is."""
        self._api, self._mirror, self._installation = api, mirror, installation
        self._shown: dict[str, Function] = {}
        self._places: dict[Place, str] = {}
        mirror.follow(self._on_object)

    @property
    def keys(self) -> list[str]:
        return list(self._shown)

    def view(self, key: str) -> Function | None:
        return self._shown.get(key)

    def specs(self) -> list[FunctionSpec]:
        return [function.spec for function in self._shown.values()]

    async def look(self) -> None:
        """What other gateways write, the mirror hears of."""

    async def create(self, spec: FunctionSpec) -> None:
        """Raises FunctionExists, NamespaceNotFound, and the errors of the API."""
        try:
            with making_in(spec.namespace):
                self._mirror.note(await self._api.create(CONFIG_MAP, self._document(spec)))
        except ApiConflict as error:
            raise FunctionExists(f"pipeline {spec.key} already exists; update it instead") from error

    async def update(self, spec: FunctionSpec) -> None:
        """Raises FunctionNotFound, and the errors of the API."""
        uid = self._uid(spec.key)
        try:
            self._mirror.note(await apply_over(self._api, CONFIG_MAP, uid, self._document(spec)))
        except ApiConflict as error:
            raise FunctionNotFound(f"function {spec.key} was deleted or deployed anew meanwhile: {error}") from error

    async def delete(self, key: str) -> None:
        """Raises FunctionNotFound, and the errors of the API."""
        name, _, namespace = key.partition(".")
        uid = self._uid(key)
        try:
            await self._api.delete(CONFIG_MAP, _PREFIX + name, namespace, uid=uid)
        except (ApiNotFound, ApiConflict) as error:
            raise FunctionNotFound(f"function {key} not found") from error
        self._mirror.forget((namespace, _PREFIX + name), uid)

    def _uid(self, key: str) -> str:
        """Of the object of a pipeline. Raises FunctionNotFound."""
        name, _, namespace = key.partition(".")
        document = self._mirror.items.get((namespace, _PREFIX + name))
        if not document or key not in self._shown:
            raise FunctionNotFound(f"function {key} not found")
        return str(document["metadata"]["uid"])

    def _on_object(self, place: Place) -> None:
        document = self._mirror.items.get(place)
        function = _pipeline_of(document) if document else None
        before = self._places.pop(place, "")
        if before and not (function and function.key == before):
            self._shown.pop(before, None)
            self.published(before)
        if function:
            self._places[place] = function.key
            known, self._shown[function.key] = self._shown.get(function.key), function
            if known != function:  # a watch tells of our own writes once more
                self.published(function.key)

    def _document(self, spec: FunctionSpec) -> Document:
        metadata = {
            "name": _PREFIX + spec.name,
            "namespace": spec.namespace,
            "labels": labels_of(self._installation),
            "annotations": {marks.SPEC: msgspec.json.encode(spec).decode()},
        }
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def _pipeline_of(document: Document) -> Function | None:
    """None for one that cannot be read."""
    metadata = document["metadata"]
    try:
        spec = msgspec.json.decode((metadata.get("annotations") or {})[marks.SPEC], type=FunctionSpec)
        created = datetime.fromisoformat(metadata["creationTimestamp"])
    except (KeyError, TypeError, ValueError, msgspec.DecodeError):
        return None
    return Function(spec=spec, desired=0, created_at=created) if spec.stages else None
