"""Brings the watchdog to every node, for functions whose image has none: a volume of one name, filled on each node.

Called by `preparing`. A global service made of the Penstock image ends at once on each node; Docker has copied the image's
watchdog into the volume by then, and does so on nodes that join later. A Swarm of one node needs no image: see `Bundle`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.errors import InvalidInput, PenstockError
from penstock.providers.clock import Clock
from penstock.providers.containers.bundle import Bundle
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.containers.images import Images
from penstock.providers.containers.plan import WATCHDOG, ImageFacts
from penstock.providers.swarm import marks
from penstock.providers.swarm.authority import refusal
from penstock.providers.swarm.names import watchdog_name
from penstock.providers.swarm.services import SECOND
from penstock.providers.swarm.surroundings import Surroundings
from penstock.providers.swarm.tasks import node_name, state_of
from penstock.watchdog.bundle.write import PLACE

LOOK = 0.3
"""Seconds between two looks at the nodes while a function waits for them."""
RETRY = 5 * SECOND
_CONFLICT, _ABSENT = 409, 404
_BROKEN = frozenset({"failed", "rejected"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supply:
    """Where the watchdog comes from: an image that has it, or a bundle for the one node there is."""

    surroundings: Surroundings
    bundle: Bundle

    @property
    def image(self) -> str:
        return self.surroundings.watchdog_image


class Spread:
    """The watchdog of one installation. `nodes` tells the Swarm's nodes as they are."""

    def __init__(
        self,
        engine: Engine,
        installation: str,
        supply: Supply,
        images: Images,
        clock: Clock,
        nodes: Callable[[], Mapping[str, Document]],
    ) -> None:
        self._engine = engine
        self._installation = installation
        self._supply = supply
        self._images = images
        self._clock = clock
        self._nodes = nodes
        self._making = asyncio.Lock()

    async def close(self) -> None:
        await self._supply.bundle.close()

    def check(self) -> None:
        """Raise InvalidInput where the watchdog cannot be brought to all nodes."""
        if not self._supply.image and len(self._nodes()) > 1:
            raise InvalidInput(
                f"image: it needs the watchdog on each of the Swarm's {len(self._nodes())} nodes: start the gateway with "
                "--watchdog-image and an image of Penstock that they can pull, or deploy an image that serves HTTP by itself"
            )

    async def ensure(self, facts: ImageFacts, tell: Callable[[str], None]) -> str:
        """The name of the volume, which every node that takes tasks has filled when this returns. Raises PenstockError."""
        self.check()
        if not self._supply.image:
            return await self._supply.bundle.ensure(facts.id or facts.reference, tell)
        own = await self._images.ensure(self._supply.image, tell)
        name = watchdog_name(self._installation, own.id)
        while waiting := self._outlook(await self._tasks(await self._bringing(name, own))):
            tell(waiting)
            await self._clock.sleep(LOOK)
        return name

    async def _bringing(self, name: str, own: ImageFacts) -> str:
        """The ID of the service that brings it, which somebody may remove while its nodes are waited for."""
        async with self._making:
            service = await self._service(name) or await self._make(name, own)
        return str(service["ID"])

    async def restore(self, facts: ImageFacts) -> None:
        """Fill the volume again where it was removed, as `docker volume prune` does while no function uses it."""
        if not self._supply.image:
            self._supply.bundle.missing()
            await self._supply.bundle.ensure(facts.id or facts.reference, _log.info)
            return
        own = await self._images.ensure(self._supply.image, _log.info)
        service = await self._service(watchdog_name(self._installation, own.id))
        if service:
            await self._run_again(service)

    async def _run_again(self, service: Document) -> None:
        template = service["Spec"]["TaskTemplate"]
        again = {**template, "ForceUpdate": template.get("ForceUpdate", 0) + 1}
        version = str(service["Version"]["Index"])
        try:
            await self._engine.post(
                f"/services/{service['ID']}/update", {**service["Spec"], "TaskTemplate": again}, version=version
            )
        except EngineRefused as error:
            raise refusal(error) from error

    async def collect(self, used: Iterable[str]) -> None:
        """Remove our services that filled volumes which no function uses; the newest stays for functions to come."""
        filters = marks.owned(self._installation, marks.BUNDLE)
        found = sorted(await self._engine.get("/services", filters=filters) or (), key=lambda one: one["CreatedAt"])
        for service in found[:-1]:
            if service["Spec"]["Name"] not in set(used):
                await self._engine.delete(f"/services/{service['ID']}")

    async def _service(self, name: str) -> Document | None:
        try:
            service: Document = await self._engine.get(f"/services/{name}")
        except EngineRefused as error:
            if error.code == _ABSENT:
                return None
            raise refusal(error) from error
        if not marks.is_ours(service["Spec"].get("Labels"), self._installation):
            raise PenstockError(f"the Swarm has a service {name} that is not ours; remove it")
        return service

    async def _make(self, name: str, own: ImageFacts) -> Document:
        auth = await self._images.auth_for(self._supply.image)
        try:
            made = await self._engine.post("/services/create", document(name, self._installation, own), auth=auth)
        except EngineRefused as error:
            if error.code != _CONFLICT:
                raise refusal(error) from error
            made = {"ID": name}  # another gateway was faster
        _log.info("the watchdog of %s is brought to all nodes by service %s", self._supply.image, name)
        return dict(made)

    async def _tasks(self, service: str) -> list[Document]:
        try:
            return list(await self._engine.get("/tasks", filters={"service": [service]}) or ())
        except EngineRefused as error:
            raise refusal(error) from error

    def _outlook(self, tasks: Sequence[Document]) -> str:
        return outlook(tasks, self._nodes())


def document(name: str, installation: str, own: ImageFacts) -> Document:
    """The service that fills the volume of the same name on every node."""
    return {
        "Name": name,
        "Labels": marks.owner(installation, marks.BUNDLE),
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": own.reference,
                "Command": [*WATCHDOG, "--version"],
                "Labels": marks.owner(installation, marks.BUNDLE),
                "CapabilityDrop": ["ALL"],
                "Mounts": [
                    {
                        "Type": "volume",
                        "Source": name,
                        "Target": PLACE,
                        "VolumeOptions": {"Labels": marks.owner(installation, marks.BUNDLE)},
                    }
                ],
            },
            "RestartPolicy": {"Condition": "on-failure", "Delay": RETRY},
            "Placement": {"Platforms": [{"OS": own.os or "linux", "Architecture": own.architecture}]},
        },
        "Mode": {"Global": {}},
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def outlook(tasks: Sequence[Document], nodes: Mapping[str, Document]) -> str:
    """What is waited for, in words; empty when every node that takes tasks has the watchdog, or one has and the others fail."""
    taking = {node_id for node_id, node in nodes.items() if _takes_tasks(node)}
    have = {task.get("NodeID", "") for task in tasks if state_of(task) == "complete"} & taking
    broken = {
        task["NodeID"]: task for task in tasks if state_of(task) in _BROKEN and task.get("NodeID") in taking - have
    }
    if have and not taking - have - set(broken):
        return ""
    words = f"the watchdog is brought to its nodes: {len(have)} of {len(taking)} have it"
    for node_id, task in broken.items():
        error = (task.get("Status") or {}).get("Err", "")
        return f"{words}; {node_name(nodes[node_id])} fails: {error[:300]}"
    return words


def _takes_tasks(node: Document) -> bool:
    state = (node.get("Status") or {}).get("State")
    return state == "ready" and (node.get("Spec") or {}).get("Availability", "active") == "active"
