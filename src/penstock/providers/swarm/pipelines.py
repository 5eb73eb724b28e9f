"""Named pipelines, each kept in a config object of the Swarm whose labels hold its specification.

Called by the provider, which checks what it is asked for. What there is comes from `cluster`, as other gateways write too; after
a write of ours it looks again, so that nobody has to wait for an event to see it.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import datetime

import msgspec

from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, ProviderUnavailable
from penstock.model import Function, FunctionSpec
from penstock.providers.clock import Clock
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.containers.labels import FUNCTION
from penstock.providers.swarm import marks
from penstock.providers.swarm.authority import OUT_OF_DATE, refusal
from penstock.providers.swarm.cluster import Cluster
from penstock.providers.swarm.names import pipeline_name
from penstock.providers.swarm.services import MOST_SPEC

_ABSENT, _CONFLICT = 404, 409
_TRIES = 5
"""Attempts at a write that another gateway is faster with."""


class Pipelines:
    """Those of one installation. `published` is called with the key of each that is new, different or gone."""

    def __init__(self, engine: Engine, cluster: Cluster, installation: str, clock: Clock) -> None:
        self.published: Callable[[str], None] = lambda key: None
        self.turn = asyncio.Lock()
        """Held from the check of a pipeline until it is written: two changes at once could make a cycle that neither is."""
        self._engine = engine
        self._cluster = cluster
        self._installation = installation
        self._clock = clock
        self._shown: dict[str, Function] = {}

    @property
    def keys(self) -> list[str]:
        return list(self._shown)

    def view(self, key: str) -> Function | None:
        return self._shown.get(key)

    def specs(self) -> list[FunctionSpec]:
        return [function.spec for function in self._shown.values()]

    def refresh(self) -> None:
        """Take over what the cluster shows."""
        found = [pipeline_of(config) for config in self._cluster.pipelines.values()]
        before, self._shown = self._shown, {function.key: function for function in found if function}
        for key in before.keys() | self._shown.keys():
            if before.get(key) != self._shown.get(key):
                self.published(key)

    async def look(self) -> None:
        """See what other gateways have written meanwhile. Raises ProviderUnavailable."""
        await self._cluster.look()
        self.refresh()

    async def create(self, spec: FunctionSpec) -> None:
        """Raises FunctionExists, InvalidInput, ProviderUnavailable."""
        document = {
            "Name": pipeline_name(self._installation, spec.name, spec.namespace),
            "Labels": self._labels(spec, self._clock.now()),
            # A config cannot be empty; all that it keeps is in its labels, which can be changed.
            "Data": base64.b64encode(spec.key.encode()).decode(),
        }
        try:
            await self._engine.post("/configs/create", document)
        except EngineRefused as error:
            if error.code == _CONFLICT:
                raise FunctionExists(f"pipeline {spec.key} already exists; update it instead") from error
            raise refusal(error) from error
        await self.look()

    async def update(self, spec: FunctionSpec) -> None:
        """Raises FunctionNotFound, InvalidInput, ProviderUnavailable."""
        for _ in range(_TRIES):
            config, function = self._config(spec.key), self._shown.get(spec.key)
            if not config or not function:
                raise FunctionNotFound(f"function {spec.key} not found")
            document = {**config["Spec"], "Labels": self._labels(spec, function.created_at)}
            version = str(config["Version"]["Index"])
            try:
                await self._engine.post(f"/configs/{config['ID']}/update", document, version=version)
            except EngineRefused as error:
                if error.code != _ABSENT and not any(phrase in str(error) for phrase in OUT_OF_DATE):
                    raise refusal(error) from error
                await self.look()
            else:
                await self.look()
                return
        raise ProviderUnavailable(f"pipeline {spec.key} is being updated by others all the time; try again")

    async def delete(self, key: str) -> None:
        """Raises FunctionNotFound, ProviderUnavailable."""
        config = self._config(key)
        if not config:
            raise FunctionNotFound(f"function {key} not found")
        try:
            await self._engine.delete(f"/configs/{config['ID']}")
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise refusal(error) from error
        await self.look()

    def _config(self, key: str) -> Document | None:
        for config in self._cluster.pipelines.values():
            if config["Spec"]["Labels"].get(FUNCTION) == key:
                return config
        return None

    def _labels(self, spec: FunctionSpec, created_at: datetime) -> dict[str, str]:
        text = msgspec.json.encode(spec)
        if len(text) > MOST_SPEC:
            raise InvalidInput(
                f"annotations: the pipeline takes {len(text)} bytes to describe, a Swarm keeps at most {MOST_SPEC}"
            )
        return {
            **marks.owner(self._installation, marks.PIPELINE),
            FUNCTION: spec.key,
            marks.SPEC: text.decode(),
            marks.CREATED_AT: created_at.isoformat(),
        }


def pipeline_of(config: Document) -> Function | None:
    """None for a config whose labels cannot be read, which is not one of ours any more."""
    try:
        labels = config["Spec"]["Labels"]
        spec = msgspec.json.decode(labels[marks.SPEC], type=FunctionSpec)
        return Function(spec=spec, desired=0, created_at=datetime.fromisoformat(labels[marks.CREATED_AT]))
    except (KeyError, TypeError, ValueError, msgspec.DecodeError):
        return None
