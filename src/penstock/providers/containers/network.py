"""The bridge network that functions' containers join, and how their ports are reached from here.

Called by the docker runtime. A network of the wanted name that we did not make is used as it is, and never changed or removed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from penstock.errors import ProviderUnavailable
from penstock.providers.containers import labels
from penstock.providers.containers.engine import Engine, EngineRefused

_CONFLICT = 409
_ABSENT = 404
_FORBIDDEN = 403

_log = logging.getLogger(__name__)


class Network:
    """One network by name. `own` is the id of the container that we are in, which joins it; empty when we are in none."""

    def __init__(self, engine: Engine, installation: str, name: str, own: str = "") -> None:
        self.name = name
        self._engine = engine
        self._installation = installation
        self._own = own
        self._there = False
        self._making = asyncio.Lock()

    async def ensure(self) -> None:
        """It is there when this returns; remembered until `missing` is called. Raises ProviderUnavailable."""
        async with self._making:
            if not self._there:
                await self._find_or_make()
                self._there = True

    def missing(self) -> None:
        """Somebody removed it, or may have."""
        self._there = False

    async def document(self) -> dict[str, Any]:
        """What the engine says of it. Raises EngineRefused, ProviderUnavailable."""
        document: dict[str, Any] = await self._engine.get(f"/networks/{self.name}")
        return document

    async def remove(self) -> None:
        """If it is ours and nothing uses it."""
        self.missing()
        with suppress(EngineRefused, ProviderUnavailable):
            document = await self.document()
            if (document.get("Labels") or {}).get(labels.OWNER) != self._installation:
                return
            if self._own and set(document.get("Containers") or {}) == {self._own}:
                await self._engine.post(f"/networks/{document['Id']}/disconnect", {"Container": self._own})
            await self._engine.delete(f"/networks/{document['Id']}")

    async def _find_or_make(self) -> None:
        try:
            await self._look_or_create()
            if self._own:
                await self._join()
        except EngineRefused as error:
            raise ProviderUnavailable(f"network {self.name} cannot be used: {error}") from error

    async def _look_or_create(self) -> None:
        try:
            await self.document()
            return
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise
        body = {
            "Name": self.name,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "Labels": {labels.OWNER: self._installation, labels.KIND: "network"},
        }
        try:
            await self._engine.post("/networks/create", body)
        except EngineRefused as error:
            if error.code != _CONFLICT:  # another installation was faster
                raise
        else:
            _log.info("made network %s", self.name)

    async def _join(self) -> None:
        try:
            await self._engine.post(f"/networks/{self.name}/connect", {"Container": self._own})
        except EngineRefused as error:
            if error.code not in (_FORBIDDEN, _CONFLICT):  # it has joined already
                raise


def reaches(document: dict[str, Any], own: str) -> bool:
    """Whether containers of a network can be reached by their addresses: from a container that has joined it, and on the
    machine whose bridge it is."""
    if own and own in (document.get("Containers") or {}):
        return True
    configs = (document.get("IPAM") or {}).get("Config") or []
    return any(is_local(config.get("Gateway") or "") for config in configs)


def is_local(address: str) -> bool:
    """Whether an address, which may have a prefix length, is one of this machine's."""
    try:
        host = ip_address(address.partition("/")[0])
    except ValueError:
        return False
    family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(host), 0))
        except OSError:
            return False
    return not host.is_unspecified


def publish_at(url: str) -> tuple[str, str]:
    """For an engine at this URL: the address of its host at which ports are published, and the one to call them at."""
    host = urlsplit(url).hostname or ""
    if url.startswith("unix:") or not host or host in ("localhost", "127.0.0.1", "::1"):
        return "127.0.0.1", "127.0.0.1"
    return "", f"[{host}]" if ":" in host else host
