"""Where a Swarm keeps the lease of the gateway that decides: in a config whose labels name the holder, and whose version is the lock."""

from __future__ import annotations

import base64
from datetime import timedelta

from penstock.errors import ProviderUnavailable
from penstock.providers.clock import Clock
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.leasing import LONGEST, Found
from penstock.providers.swarm import marks
from penstock.providers.swarm.names import lease_name

_ABSENT, _CONFLICT = 404, 409


class LeaseConfig:
    """That of an installation (`penstock.providers.leasing.Keeping`)."""

    silent = "no manager of the Swarm answers"

    def __init__(self, engine: Engine, installation: str, clock: Clock) -> None:
        self._engine, self._installation, self._clock = engine, installation, clock
        self._path = f"/configs/{lease_name(installation)}"

    async def find(self) -> Found | None:
        """Raises EngineRefused, ProviderUnavailable."""
        try:
            config: Document = await self._engine.get(self._path)
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise
            return None
        labels = config["Spec"].get("Labels") or {}
        if not marks.is_ours(labels, self._installation):
            name = lease_name(self._installation)
            raise ProviderUnavailable(f"the Swarm has a config {name} that is not ours; remove or rename it")
        holder, term = str(labels.get(marks.HOLDER, "")), str(labels.get(marks.TERM, ""))
        return Found(holder, str(config["Version"]["Index"]), _seconds(term), config)

    async def make(self, holder: str, term: float) -> bool:
        """Raises EngineRefused, ProviderUnavailable."""
        spec = {
            "Name": lease_name(self._installation),
            "Labels": self._labels(holder, term),
            "Data": base64.b64encode(b"lease").decode(),  # which a config must have
        }
        try:
            await self._engine.post("/configs/create", spec)
        except EngineRefused as error:
            if error.code != _CONFLICT:
                raise
            return False
        return True

    async def write(self, found: Found, holder: str, term: float) -> bool:
        """Raises EngineRefused, ProviderUnavailable."""
        config: Document = found.document
        spec = {**config["Spec"], "Labels": self._labels(holder, term)}
        try:
            await self._engine.post(f"/configs/{config['ID']}/update", spec, version=found.version)
        except EngineRefused as error:
            if "out of sequence" not in str(error):
                raise
            return False
        return True

    def _labels(self, holder: str, term: float) -> dict[str, str]:
        return {
            **marks.owner(self._installation, marks.LEASE),
            marks.HOLDER: holder,
            marks.TERM: f"{term:g}",
            marks.EXPIRES: (self._clock.now() + timedelta(seconds=term)).isoformat(),
        }


def _seconds(text: str) -> float:
    """What the holder wrote, where it makes sense."""
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds <= LONGEST else 0.0
