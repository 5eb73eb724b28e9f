"""Starts one container: image, plan, network, watchdog, secrets, and at last the program.

Called by the docker runtime once for each launch, many at a time. Whatever step fails, no container is left behind; what a
replica waits for is told as it changes.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from penstock.errors import PenstockError, ProviderUnavailable
from penstock.providers.containers import labels
from penstock.providers.containers.body import SECRETS, Site, body_of, name_of
from penstock.providers.containers.bundle import Bundle
from penstock.providers.containers.constraints import Node, check_platform
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.entry import Entry, Unwanted, record_of
from penstock.providers.containers.images import Images
from penstock.providers.containers.network import Network
from penstock.providers.containers.plan import Plan, plan_of
from penstock.providers.containers.volumes import archive_of_secrets

AT_ONCE = 8
"""Containers that are created and started at the same time; an engine does more no faster."""
_ABSENT, _CONFLICT = 404, 409
_FRACTION = re.compile(r"(\.\d{6})\d+")

Document = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Tools:
    """What starting needs."""

    engine: Engine
    images: Images
    network: Network
    bundle: Bundle
    site: Site
    host: str = ""
    """Where published ports are called; empty when containers are called at their own address."""
    node: Node = field(default_factory=Node)
    """The engine's machine."""


class Starter:
    """Starts containers with the tools of one provider."""

    def __init__(self, tools: Tools, at_once: int = AT_ONCE) -> None:
        self._tools = tools
        self._engine = tools.engine
        self._turns = asyncio.Semaphore(at_once)

    async def start(self, entry: Entry, tell: Tell) -> None:
        """The container runs, and `entry` has its id, its record and its address. Raises Unwanted when it was told to end
        meanwhile, and what stands in its way: InvalidInput, ImageUnavailable, ProviderUnavailable, PenstockError. `entry` then
        has a container only where that could not be removed."""
        plan, volume = await _unless_unwanted(entry, self._prepare(entry, tell))
        entry.stage = "creating"
        try:
            async with self._turns:
                entry.check_wanted()
                await self._run(entry, plan, volume)
        except EngineRefused as error:
            await self._give_up(entry)
            self._look_again(error)
            raise PenstockError(f"its container cannot be started: {error}") from error
        except Exception:
            await self._give_up(entry)
            raise
        entry.stage = "running"

    async def _give_up(self, entry: Entry) -> None:
        if await self.remove(entry.container):
            entry.container = ""

    async def remove(self, container: str) -> bool:
        """End and remove a container with its volumes without a name. False when the engine does not answer or will not."""
        if not container:
            return True
        try:
            await self._engine.delete(f"/containers/{container}", force="true", v="true")
        except EngineRefused as error:
            return error.code in (_ABSENT, _CONFLICT)
        except ProviderUnavailable:
            return False
        return True

    async def read(self, entry: Entry) -> None:
        """Take the address and the start of a container, or see that it has ended. Raises PenstockError when it runs without
        an address."""
        document = await self._engine.get(f"/containers/{entry.container}/json")
        if entry.record is None:
            raise ValueError(f"{entry!r} has no record")
        entry.started_at, entry.pid = time_of(document["State"]["StartedAt"]), int(document["State"].get("Pid") or 0)
        if not document["State"]["Running"]:
            entry.address = ""
            entry.end()
            return
        entry.address = address_of(document, self._tools, entry.record.port)
        entry.stop_signal = document["Config"].get("StopSignal") or entry.stop_signal

    async def upload(self, container: str, values: dict[str, bytes]) -> None:
        """Put secrets in their place. Raises EngineRefused, ProviderUnavailable."""
        if values:
            await self._engine.put_archive(container, SECRETS, archive_of_secrets(values))

    async def _prepare(self, entry: Entry, tell: Tell) -> tuple[Plan, str]:
        spec = entry.order.spec
        facts = await self._tools.images.ensure(spec.image, tell)
        check_platform(facts, self._tools.node)
        plan = plan_of(spec, facts)
        await self._tools.network.ensure()
        volume = ""
        if plan.injected:
            volume = await self._tools.bundle.ensure(spec.image, tell)
        tell("")
        return plan, volume

    async def _run(self, entry: Entry, plan: Plan, volume: str) -> None:
        order = entry.order
        entry.record = record_of(order, plan)
        body = body_of(entry.record, plan, self._tools.site, volume, bool(order.secrets))
        await self._create(entry, body)
        await self.upload(entry.container, order.secrets)
        entry.check_wanted()
        await self._engine.post(f"/containers/{entry.container}/start")
        await self.read(entry)

    async def _create(self, entry: Entry, body: Document) -> None:
        entry.name = name_of(entry.order)
        try:
            document = await self._engine.post("/containers/create", body, name=entry.name)
        except EngineRefused as error:
            if error.code != _CONFLICT:
                raise
            await self._make_room(entry)
            document = await self._engine.post("/containers/create", body, name=entry.name)
        entry.container = document["Id"]

    async def _make_room(self, entry: Entry) -> None:
        """The name is taken: by an earlier try whose answer was lost, which goes, or by somebody else, who stays."""
        with suppress(EngineRefused):
            document = await self._engine.get(f"/containers/{entry.name}/json")
            owner = (document["Config"].get("Labels") or {}).get(labels.OWNER)
            if owner == self._tools.site.installation and await self.remove(document["Id"]):
                return
        entry.name = f"{entry.name}-{secrets.token_hex(3)}"

    def _look_again(self, error: EngineRefused) -> None:
        """What was found there once may have been removed: the next start looks."""
        if error.code == _ABSENT or "not found" in str(error) or "no such file" in str(error):
            self._tools.network.missing()
            self._tools.bundle.missing()


def address_of(document: Document, tools: Tools, port: int) -> str:
    """Where a running container answers, by its `inspect` document. Raises PenstockError."""
    settings = document["NetworkSettings"]
    if not tools.host:
        joined = (settings.get("Networks") or {}).get(tools.network.name) or {}
        if joined.get("IPAddress"):
            return f"{joined['IPAddress']}:{port}"
        raise PenstockError(f"its container is not connected to network {tools.network.name}")
    for binding in (settings.get("Ports") or {}).get(f"{port}/tcp") or ():
        if binding.get("HostPort"):
            return f"{tools.host}:{binding['HostPort']}"
    raise PenstockError(f"its container's port {port} is not published")


def time_of(text: str) -> datetime:
    """An engine's time, which has nanoseconds."""
    return datetime.fromisoformat(_FRACTION.sub(r"\1", text)).astimezone(UTC)


async def _unless_unwanted(entry: Entry, work: Any) -> tuple[Plan, str]:
    """The result of `work`, which is given up when the replica is told to end."""
    task = asyncio.ensure_future(work)
    unwanted = asyncio.ensure_future(entry.unwanted.wait())
    try:
        await asyncio.wait({task, unwanted}, return_when=asyncio.FIRST_COMPLETED)
        if entry.wish:
            raise Unwanted("ended before it was started")
        result: tuple[Plan, str] = task.result()
        return result
    finally:
        for one in (task, unwanted):
            one.cancel()
        await asyncio.gather(task, unwanted, return_exceptions=True)
