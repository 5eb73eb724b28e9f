"""Overlay networks of namespaces: made when a function first needs one, joined by the gateway's own container, removed with
their namespace.

Called by `preparing` and `tidying`. A network of the wanted name that we did not make is used as it is and never removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container
from contextlib import suppress

from penstock.errors import ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.swarm import marks
from penstock.providers.swarm.authority import refusal
from penstock.providers.swarm.names import network_name
from penstock.providers.swarm.surroundings import Surroundings

_FORBIDDEN, _ABSENT, _CONFLICT = 403, 404, 409


class Networks:
    """Those of one installation. The default namespace's is called `base`."""

    def __init__(self, engine: Engine, installation: str, base: str, surroundings: Surroundings) -> None:
        self._engine = engine
        self._installation = installation
        self._base = base
        self._surroundings = surroundings
        self._making = asyncio.Lock()

    async def ensure(self, namespace: str) -> str:
        """The ID of a namespace's network, which is there when this returns. Raises ProviderUnavailable, InvalidInput."""
        name = network_name(self._base, namespace)
        async with self._making:
            try:
                document = await self._find(name) or await self._make(name, namespace)
            except EngineRefused as error:
                raise refusal(error) from error
            if document.get("Driver") != "overlay" or document.get("Scope") != "swarm":
                raise ProviderUnavailable(
                    f"network {name} is a {document.get('Driver')} network, which other nodes cannot join; "
                    "set --docker-network to another name"
                )
            if self._surroundings.joins:
                await self._join(document)
        return str(document["Id"])

    async def reach(self, network: str) -> None:
        """Let our own container join a network that tasks are in already. Raises PenstockError."""
        if self._surroundings.joins:
            try:
                await self._join(await self._engine.get(f"/networks/{network}"))
            except EngineRefused as error:
                raise refusal(error) from error

    async def collect(self, namespaces: Container[str]) -> bool:
        """Remove our networks of other namespaces; whether any is left."""
        left = False
        filters = {**marks.owned(self._installation, marks.NETWORK), "driver": ["overlay"]}
        for network in await self._engine.get("/networks", filters=filters) or ():
            namespace = (network.get("Labels") or {}).get(marks.NAMESPACE, "")
            if namespace != DEFAULT_NAMESPACE and namespace not in namespaces:
                left = not await self._remove(network) or left
        return left

    async def _find(self, name: str) -> Document | None:
        try:
            document: Document = await self._engine.get(f"/networks/{name}")
        except EngineRefused as error:
            if error.code == _ABSENT:
                return None
            raise
        return document

    async def _make(self, name: str, namespace: str) -> Document:
        body = {
            "Name": name,
            "Driver": "overlay",
            "Attachable": True,
            "CheckDuplicate": True,
            "Labels": {**marks.owner(self._installation, marks.NETWORK), marks.NAMESPACE: namespace},
        }
        try:
            made = await self._engine.post("/networks/create", body)
        except EngineRefused as error:
            if error.code != _CONFLICT:
                raise
            made = {"Id": name}  # somebody else was faster
        document: Document = await self._engine.get(f"/networks/{made['Id']}")
        return document

    async def _join(self, network: Document) -> None:
        try:
            await self._engine.post(f"/networks/{network['Id']}/connect", {"Container": self._surroundings.joins})
        except EngineRefused as error:
            if error.code in (_FORBIDDEN, _CONFLICT) and "already" in str(error):
                return
            raise ProviderUnavailable(
                f"the gateway's container cannot join network {network['Name']}: {error}; make the network attachable, or set "
                "--docker-connect port"
            ) from error

    async def _remove(self, network: Document) -> bool:
        if self._surroundings.joins:
            with suppress(EngineRefused):
                await self._engine.post(
                    f"/networks/{network['Id']}/disconnect", {"Container": self._surroundings.joins}
                )
        try:
            await self._engine.delete(f"/networks/{network['Id']}")
        except EngineRefused as error:
            return error.code == _ABSENT
        return True
