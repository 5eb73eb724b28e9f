"""Which of several control processes on one cluster decides: a Lease of coordination.k8s.io, as Kubernetes' own parts have theirs.

Called by the provider. No clock of another machine is believed: a lease is over when this process has seen its version unchanged
for the whole term, and the holder counts the term from before its last write, which is earlier. A write that comes late is of a
version that has gone, and is refused.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets

from penstock.errors import PenstockError
from penstock.providers.clock import Clock
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.api import Api, Document
from penstock.providers.kubernetes.apierrors import ApiConflict, ApiNotFound, ApiRefused
from penstock.providers.kubernetes.kinds import LEASE

TERM = 2.0
"""Length of the lease in times that the caller asks for: a holder who cannot reach the API server leads for one more of them."""
RENEWAL = 0.5
"""How old the lease is when it is written again, in the same unit."""
MARGIN = 0.5
"""Seconds that others wait in addition: clocks that run alike still do not run equally."""
LONGEST = 600
"""Seconds of a term that is believed."""
PATIENCE = 0.5
"""How long the API server is waited for, in times that the caller asks for."""
GOODBYE = 3.0
"""Seconds for giving it back. Otherwise others wait until it is over."""
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"

_log = logging.getLogger(__name__)


class Lease:
    """The one of an installation, as one process sees it and may hold it."""

    def __init__(self, api: Api, namespace: str, installation: str, clock: Clock) -> None:
        self._api, self._namespace, self._clock = api, namespace, clock
        self._installation, self._name = installation, installation
        self._nonce = secrets.token_hex(4)
        self._until = -math.inf
        """Until when it is ours, by our own clock."""
        self._seen: str | None = None
        self._since = 0.0
        """When we first saw the version that we saw last; the empty one is that there is none any more."""
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
                trouble = f"the Kubernetes API does not answer within {PATIENCE * seconds:g} s"
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
                lease = await self._api.get(LEASE, self._name, self._namespace)
                if _holder(lease).endswith(self._nonce):
                    await self._write(lease, "", 0.0)
        except (PenstockError, TimeoutError) as error:
            _log.info("the lease could not be given back, others lead when it is over: %s", error)

    async def _renew(self, holder: str, term: float) -> None:
        """One attempt. Raises the errors of the API."""
        started = self._clock.monotonic()
        try:
            lease = await self._api.get(LEASE, self._name, self._namespace)
        except ApiNotFound:
            await self._make(holder, term)
            return
        if not marks.is_ours(lease, self._installation):
            raise ApiRefused(f"the lease {self._namespace}/{self._name} is not ours; remove or rename it")
        if _holder(lease) != holder:
            # Whoever has it took it when ours was over, or gave it to nobody.
            self._until = -math.inf
            if not self._free(lease, term):
                return
        try:
            await self._write(lease, holder, term)
        except ApiConflict:
            return  # somebody else was faster, which the next look tells
        self._until = started + term

    def _free(self, lease: Document, term: float) -> bool:
        """Whether nobody holds it, as far as we have seen."""
        if not _holder(lease):
            return True
        return self._unchanged(str(lease["metadata"].get("resourceVersion"))) >= max(term, _term(lease)) + MARGIN

    async def _make(self, holder: str, term: float) -> None:
        """Make it for us. Where somebody removed it, its holder may lead until its term is over."""
        started = self._clock.monotonic()
        was_there = self._seen is not None or self._until > -math.inf
        if was_there and self._until <= started and self._unchanged("") < term + MARGIN:
            return
        metadata = {"name": self._name, "namespace": self._namespace, "labels": marks.owner(self._installation)}
        document: Document = {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata}
        try:
            await self._api.create(LEASE, {**document, "spec": self._spec(holder, term, {})})
        except ApiConflict:
            return
        self._until = started + term

    async def _write(self, lease: Document, holder: str, term: float) -> None:
        spec = lease.get("spec") or {}
        await self._api.replace(LEASE, {**lease, "spec": self._spec(holder, term, spec)})

    def _spec(self, holder: str, term: float, before: Document) -> Document:
        now = self._clock.now().strftime(_TIME)
        same = before.get("holderIdentity") == holder
        transitions = int(before.get("leaseTransitions") or 0)
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(math.ceil(term), 1),
            "acquireTime": before.get("acquireTime") or now if same else now,
            "renewTime": now,
            "leaseTransitions": transitions if same else transitions + 1,
        }

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


def _holder(lease: Document) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _term(lease: Document) -> float:
    """What its holder wrote, where it makes sense."""
    seconds = (lease.get("spec") or {}).get("leaseDurationSeconds")
    return float(seconds) if isinstance(seconds, int) and 0 <= seconds <= LONGEST else 0.0
