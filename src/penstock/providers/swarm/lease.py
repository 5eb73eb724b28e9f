"""Which of several control processes on one Swarm decides: a config whose labels name the holder, and whose version is the lock.

Called by the provider. No clock of another machine is believed: a lease is over when this process has seen its version unchanged
for the whole term, and the holder counts the term from before its last write, which is earlier. A write that comes late is of a
version that has gone, and is refused.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import secrets
from datetime import timedelta

from penstock.errors import ProviderUnavailable
from penstock.providers.clock import Clock
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.swarm import marks
from penstock.providers.swarm.names import lease_name

TERM = 2.0
"""Length of the lease in times that the caller asks for: a holder who reaches no manager leads for one more of them."""
RENEWAL = 0.5
"""How old the lease is when it is written again, in the same unit."""
MARGIN = 0.5
"""Seconds that others wait in addition: clocks that run alike still do not run equally."""
LONGEST = 600.0
"""Seconds of a term that is believed."""
PATIENCE = 0.5
"""How long managers are waited for, in times that the caller asks for."""
GOODBYE = 3.0
"""Seconds for giving it back. Otherwise others wait until it is over."""
_ABSENT, _CONFLICT = 404, 409

log = logging.getLogger(__name__)


class Lease:
    """The one of an installation, as one process sees it and may hold it."""

    def __init__(self, engine: Engine, installation: str, clock: Clock) -> None:
        self._engine = engine
        self._installation = installation
        self._clock = clock
        self._path = f"/configs/{lease_name(installation)}"
        self._nonce = secrets.token_hex(4)
        self._until = -math.inf
        """Until when it is ours, by our own clock."""
        self._seen: int | None = None
        self._since = 0.0
        """When we first saw the version that we saw last; version 0 is that there is none any more."""
        self._leading = False
        self._trouble = ""

    async def hold(self, holder: str, seconds: float) -> bool:
        """Take, keep or await it; whether it is ours for the next `seconds`."""
        if self._until - self._clock.monotonic() < (TERM - RENEWAL) * seconds:
            trouble = ""
            try:
                async with asyncio.timeout(PATIENCE * seconds):
                    await self._renew(f"{holder[:80]} {self._nonce}", TERM * seconds)
            except TimeoutError:
                trouble = f"no manager of the Swarm answers within {PATIENCE * seconds:g} s"
            except (EngineRefused, ProviderUnavailable) as error:
                trouble = str(error)
            self._tell(trouble)
        leading = self._until - self._clock.monotonic() >= seconds
        if leading != self._leading:
            self._leading = leading
            log.info("this gateway %s", "leads: it scales functions" if leading else "leads no longer")
        return leading

    async def give_back(self) -> None:
        """Let others have it at once, if it is ours."""
        if self._until == -math.inf:
            return
        self._until = -math.inf
        try:
            async with asyncio.timeout(GOODBYE):
                config = await self._engine.get(self._path)
                if _label(config, marks.HOLDER).endswith(self._nonce):
                    await self._write(config, "", 0.0)
        except (EngineRefused, ProviderUnavailable, TimeoutError) as error:
            log.info("the lease could not be given back, others lead when it is over: %s", error)

    async def _renew(self, holder: str, term: float) -> None:
        """One attempt. Raises EngineRefused, ProviderUnavailable."""
        started = self._clock.monotonic()
        try:
            config: Document = await self._engine.get(self._path)
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise
            await self._make(holder, term)
            return
        if not marks.is_ours(config["Spec"].get("Labels"), self._installation):
            name = lease_name(self._installation)
            raise ProviderUnavailable(f"the Swarm has a config {name} that is not ours; remove or rename it")
        if _label(config, marks.HOLDER) != holder:
            # Whoever has it took it when ours was over, or gave it to nobody.
            self._until = -math.inf
            if not self._free(config, term):
                return
        try:
            await self._write(config, holder, term)
        except EngineRefused as error:
            if "out of sequence" not in str(error):
                raise
            return  # somebody else was faster, which the next look tells
        self._until = started + term

    def _free(self, config: Document, term: float) -> bool:
        """Whether nobody holds it, as far as we have seen."""
        if not _label(config, marks.HOLDER):
            return True
        return self._unchanged(int(config["Version"]["Index"])) >= max(term, _term(config)) + MARGIN

    async def _make(self, holder: str, term: float) -> None:
        """Make it for us. Where somebody removed it, its holder may lead until its term is over."""
        started = self._clock.monotonic()
        was_there = self._seen is not None or self._until > -math.inf
        if was_there and self._until <= started and self._unchanged(0) < term + MARGIN:
            return
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
            return
        self._until = started + term

    async def _write(self, config: Document, holder: str, term: float) -> None:
        spec = {**config["Spec"], "Labels": self._labels(holder, term)}
        version = str(config["Version"]["Index"])
        await self._engine.post(f"/configs/{config['ID']}/update", spec, version=version)

    def _labels(self, holder: str, term: float) -> dict[str, str]:
        return {
            **marks.owner(self._installation, marks.LEASE),
            marks.HOLDER: holder,
            marks.TERM: f"{term:g}",
            marks.EXPIRES: (self._clock.now() + timedelta(seconds=term)).isoformat(),
        }

    def _unchanged(self, version: int) -> float:
        """Seconds since we first saw this version, counted from after we saw it."""
        now = self._clock.monotonic()
        if version != self._seen:
            self._seen, self._since = version, now
        return now - self._since

    def _tell(self, trouble: str) -> None:
        """Once when it begins, and once when it is over."""
        if bool(trouble) != bool(self._trouble):
            log.warning("who leads cannot be found out: %s", trouble) if trouble else log.info(
                "who leads is known again"
            )
        self._trouble = trouble


def _label(config: Document, name: str) -> str:
    return str((config["Spec"].get("Labels") or {}).get(name, ""))


def _term(config: Document) -> float:
    """What its holder wrote, where it makes sense."""
    try:
        seconds = float(_label(config, marks.TERM))
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds <= LONGEST else 0.0
