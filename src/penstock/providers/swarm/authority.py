"""Writes to the Swarm: makes, edits and removes services, and says no for it in our own words.

Called by the provider and by `preparing`. Every edit is of the service as it is now; where somebody else was faster it is made
again. What was written is shown to `cluster` at once, so that nobody has to wait for an event to see it.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, ProviderUnavailable
from penstock.providers.clock import Clock
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.swarm.cluster import Cluster
from penstock.providers.swarm.marks import is_ours

PATIENCE = 10
"""Seconds for a task that is ill to end by itself."""
_ABSENT, _CONFLICT = 404, 409
_TRIES = 20
OUT_OF_DATE = ("out of sequence", "update conflict")
"""What the Swarm says when somebody else was faster."""

Edit = Callable[[Document], Document | None]
"""From a service's specification to the new one; None leaves it."""


class Authority:
    """The services of one installation."""

    def __init__(self, engine: Engine, cluster: Cluster, installation: str, clock: Clock) -> None:
        self._engine = engine
        self._cluster = cluster
        self._clock = clock
        self._installation = installation

    async def create(self, spec: Document, auth: str = "") -> Document:
        """The new service. Raises FunctionExists; InvalidInput where a service that is not ours has the name, or Swarm refuses."""
        try:
            made = await self._engine.post("/services/create", spec, auth=auth)
        except EngineRefused as error:
            if error.code == _CONFLICT:
                raise await self._taken(spec["Name"]) from error
            raise refusal(error) from error
        return await self._show(made["ID"])

    async def edit(self, service_id: str, edit: Edit, auth: str = "") -> None:
        """Raises FunctionNotFound, InvalidInput, ProviderUnavailable."""
        for attempt in range(_TRIES):
            try:
                service = await self._engine.get(f"/services/{service_id}")
                spec = edit(service["Spec"])
                if spec is None:
                    return
                version = str(service["Version"]["Index"])
                await self._engine.post(f"/services/{service_id}/update", spec, auth=auth, version=version)
                await self._show(service_id)
                return
            except EngineRefused as error:
                if error.code == _ABSENT:
                    self._cluster.wrote(service_id, None)
                    raise FunctionNotFound("the function was deleted meanwhile") from error
                if not any(phrase in str(error) for phrase in OUT_OF_DATE):
                    raise refusal(error) from error
            await self._clock.sleep(0.01 * attempt)
        raise ProviderUnavailable("the function is being changed by others all the time; try again")

    async def remove(self, service_id: str) -> None:
        """Its tasks end by themselves. Raises ProviderUnavailable."""
        try:
            await self._engine.delete(f"/services/{service_id}")
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise refusal(error) from error
        self._cluster.wrote(service_id, None)

    async def end(self, container: str) -> None:
        """End a task's container on our own node; the Swarm starts another. Raises ProviderUnavailable."""
        try:
            await self._engine.post(f"/containers/{container}/stop", t=str(PATIENCE))
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise refusal(error) from error

    async def _show(self, service_id: str) -> Document:
        service: Document = await self._engine.get(f"/services/{service_id}")
        self._cluster.wrote(service_id, service)
        return service

    async def _taken(self, name: str) -> FunctionExists | InvalidInput:
        try:
            labels = (await self._engine.get(f"/services/{name}"))["Spec"].get("Labels")
        except EngineRefused:
            labels = None
        if is_ours(labels, self._installation):
            return FunctionExists(f"service {name} of this function already exists; update it instead")
        return InvalidInput(
            f"service: the Swarm has a service {name} that is not ours, which is left alone; remove or rename it, or give the "
            "function another name"
        )


def refusal(error: EngineRefused) -> InvalidInput | ProviderUnavailable:
    """The Swarm's no: ours to tell when the request was at fault, trouble of its own otherwise."""
    words = str(error).rpartition("desc = ")[2].strip()
    if error.code == 503 or "swarm manager" in words or "does not have a leader" in words:
        return ProviderUnavailable(f"the Swarm cannot be asked now: {words}")
    if error.code in (400, _CONFLICT) or "larger than max" in words or "too large" in words:
        return InvalidInput(f"the Swarm refuses: {words}")
    return ProviderUnavailable(f"the Swarm failed: {words}")
