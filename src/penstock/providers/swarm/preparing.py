"""From a drafted service to one with tasks: gets the image's facts and all that the tasks need, then completes it.

Called by `fleet` for each generation without a plan, and again after a pause where it failed. Works in the background of a
deployment; what it waits for becomes the reason of the replica that is awaited.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers.engine import Document
from penstock.providers.containers.images import Images
from penstock.providers.containers.plan import ImageFacts, Plan, plan_of
from penstock.providers.swarm import marks
from penstock.providers.swarm.authority import Authority
from penstock.providers.swarm.generation import Generation, generation_of
from penstock.providers.swarm.networks import Networks
from penstock.providers.swarm.secrets import Secrets
from penstock.providers.swarm.services import Outfit, completed
from penstock.providers.swarm.spread import Spread

Tell = Callable[[str], None]


class Preparer:
    """Completes services of one installation."""

    def __init__(
        self, authority: Authority, images: Images, spread: Spread, networks: Networks, secrets: Secrets
    ) -> None:
        self._authority = authority
        self._images = images
        self._spread = spread
        self._networks = networks
        self._secrets = secrets

    async def check(self, spec: FunctionSpec) -> None:
        """Refuse at once what can be refused with an image that is present already. Raises InvalidInput, ProviderUnavailable."""
        facts = await self._images.facts(spec.image)
        if facts and plan_of(spec, facts).injected:
            self._spread.check()

    async def prepare(self, generation: Generation, tell: Tell) -> None:
        """Raises PenstockError in words that say what to do; FunctionNotFound when it was deleted meanwhile."""
        spec = generation.spec
        facts = await self._images.ensure(spec.image, tell)
        plan = plan_of(spec, facts)
        watchdog = await self._spread.ensure(facts, tell) if plan.injected else ""
        tell("")
        network = await self._networks.ensure(spec.namespace)
        outfit = Outfit(network=network, secrets=await self._wanted_secrets(spec), watchdog=watchdog)
        auth = await self._images.auth_for(spec.image)
        await self._authority.edit(generation.id, _completing(generation.id, facts, plan, outfit), auth)

    async def reach(self, network: str) -> None:
        """Make tasks in a network reachable for us, as after our own start. Raises PenstockError."""
        await self._networks.reach(network)

    async def restore(self, spec: FunctionSpec) -> None:
        """Bring the watchdog again to where somebody removed it. Raises PenstockError."""
        if facts := await self._images.facts(spec.image):
            await self._spread.restore(facts)

    async def _wanted_secrets(self, spec: FunctionSpec) -> dict[str, Document]:
        if not spec.secrets:
            return {}
        current = await self._secrets.current(spec.namespace)
        for name in spec.secrets:
            if name not in current:
                raise InvalidInput(f"secret {name!r} no longer exists; create it again")
        return {name: current[name] for name in spec.secrets}


def _completing(
    service_id: str, facts: ImageFacts, plan: Plan, outfit: Outfit
) -> Callable[[Document], Document | None]:
    def edit(spec: Document) -> Document | None:
        # How many are wanted may have changed since; and another gateway may have been faster.
        generation = generation_of({"ID": service_id, "Spec": spec})
        if not generation or marks.PORT in spec["Labels"]:
            return None
        return completed(spec, generation, facts, plan, outfit)

    return edit
