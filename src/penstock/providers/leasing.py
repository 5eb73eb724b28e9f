"""Which of several control processes of one installation decides: a lease that the platform keeps, and whose version is the lock.

Providers make one, with what reads and writes it where functions run. No clock of another machine is believed: a lease is over when this
process has seen its version unchanged for the whole term, and the holder counts the term from before its last write, which is
earlier. A write that comes late is of a version that has gone, and is refused.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from typing import Any, NamedTuple, Protocol

from penstock.errors import PenstockError
from penstock.providers.clock import Clock

TERM = 2.0
"""Length of the lease in times that the caller asks for: a holder who reaches nobody leads for one more of them."""
RENEWAL = 0.5
"""How old the lease is when it is written again, in the same unit."""
MARGIN = 0.5
"""Seconds that others wait in addition: clocks that run alike still do not run equally."""
LONGEST = 600.0
"""Seconds of a term that is believed."""
PATIENCE = 0.5
"""How long the platform is waited for, in times that the caller asks for."""
GOODBYE = 3.0
"""Seconds for giving it back. Otherwise others wait until it is over."""
_ABSENT = ""
"""As the version of a lease: there is none any more."""

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """The lease as it is kept: empty `holder` for nobody, `term` in seconds, 0 where what is written makes no sense."""

    holder: str
    version: str
    term: float
    document: Any
    """The platform's own, to be written over."""


class Keeping(Protocol):
    """Where the lease is kept. Every method raises a PenstockError when the platform does not answer, or refuses."""

    silent: str
    """What to say when it does not answer, such as `no manager of the Swarm answers`."""

    async def find(self) -> Found | None:
        """None where there is none. Raises as well for one that is not ours."""

    async def make(self, holder: str, term: float) -> bool:
        """Make it; False when somebody else was faster."""

    async def write(self, found: Found, holder: str, term: float) -> bool:
        """Write over this version; False when it has gone."""


class Lease:
    """The one of an installation, as one process sees it and may hold it."""

    def __init__(self, keeping: Keeping, clock: Clock) -> None:
        self._keeping, self._clock = keeping, clock
        self._nonce = secrets.token_hex(4)
        self._until = -math.inf
        """Until when it is ours, by our own clock."""
        self._seen: str | None = None
        self._since = 0.0
        """When we first saw the version that we saw last."""
        self._leading = False
        self._trouble = ""

    @property
    def held(self) -> bool:
        """Whether it is ours now."""
        return self._until > self._clock.monotonic()

    async def hold(self, holder: str, seconds: float) -> bool:
        """Take, keep or await it; whether it is ours for the next `seconds`."""
        if self._until - self._clock.monotonic() < (TERM - RENEWAL) * seconds:
            trouble = ""
            try:
                async with asyncio.timeout(PATIENCE * seconds):
                    await self._renew(f"{holder[:80]} {self._nonce}", TERM * seconds)
            except TimeoutError:
                trouble = f"{self._keeping.silent} within {PATIENCE * seconds:g} s"
            except PenstockError as error:
                trouble = str(error)
            self._tell(trouble)
        leading = self._until - self._clock.monotonic() >= seconds
        if leading != self._leading:
            self._leading = leading
            _log.info("this gateway %s", "leads: it scales functions" if leading else "leads no longer")
        return leading

    async def give_back(self) -> None:
        """Let others have it at once, if it is ours."""
        if self._until == -math.inf:
            return
        self._until = -math.inf
        try:
            async with asyncio.timeout(GOODBYE):
                found = await self._keeping.find()
                if found and found.holder.endswith(self._nonce):
                    await self._keeping.write(found, "", 0.0)
        except (PenstockError, TimeoutError) as error:
            _log.info("the lease could not be given back, others lead when it is over: %s", error)

    async def _renew(self, holder: str, term: float) -> None:
        """One attempt. Raises what the platform raises."""
        started = self._clock.monotonic()
        found = await self._keeping.find()
        if not found:
            await self._make(holder, term)
            return
        if found.holder != holder:
            # Whoever has it took it when ours was over, or gave it to nobody.
            self._until = -math.inf
            if not self._free(found, term):
                return
        if await self._keeping.write(found, holder, term):
            self._until = started + term

    def _free(self, found: Found, term: float) -> bool:
        """Whether nobody holds it, as far as we have seen."""
        return not found.holder or self._unchanged(found.version) >= max(term, found.term) + MARGIN

    async def _make(self, holder: str, term: float) -> None:
        """Make it for us. Where somebody removed it, its holder may lead until its term is over."""
        started = self._clock.monotonic()
        was_there = self._seen is not None or self._until > -math.inf
        if was_there and self._until <= started and self._unchanged(_ABSENT) < term + MARGIN:
            return
        if await self._keeping.make(holder, term):
            self._until = started + term

    def _unchanged(self, version: str) -> float:
        """Seconds since we first saw this version, counted from after we saw it."""
        now = self._clock.monotonic()
        if version != self._seen:
            self._seen, self._since = version, now
        return now - self._since

    def _tell(self, trouble: str) -> None:
        """Once when it begins, and once when it is over."""
        if bool(trouble) != bool(self._trouble):
            if trouble:
                _log.warning("who leads cannot be found out: %s", trouble)
            else:
                _log.info("who leads is known again")
        self._trouble = trouble
