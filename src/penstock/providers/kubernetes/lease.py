"""Where a cluster keeps the lease of the gateway that decides: in a Lease of coordination.k8s.io, as Kubernetes' own parts have theirs."""

from __future__ import annotations

import math
from typing import Any

from penstock.providers.clock import Clock
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.client.api import Api, Document
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiNotFound, ApiRefused
from penstock.providers.kubernetes.client.kinds import LEASE
from penstock.providers.leasing import LONGEST, Found

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class LeaseObject:
    """That of an installation, in the gateways' namespace (`penstock.providers.leasing.Keeping`)."""

    silent = "the Kubernetes API does not answer"

    def __init__(self, api: Api, namespace: str, installation: str, clock: Clock) -> None:
        self._api, self._namespace, self._clock = api, namespace, clock
        self._installation, self._name = installation, installation

    async def find(self) -> Found | None:
        """Raises the errors of the API."""
        try:
            lease = await self._api.get(LEASE, self._name, self._namespace)
        except ApiNotFound:
            return None
        if not marks.is_ours(lease, self._installation):
            raise ApiRefused(f"the lease {self._namespace}/{self._name} is not ours; remove or rename it")
        spec = lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        return Found(holder, str(lease["metadata"].get("resourceVersion")), _seconds(spec), lease)

    async def make(self, holder: str, term: float) -> bool:
        """Raises the errors of the API."""
        metadata = {"name": self._name, "namespace": self._namespace, "labels": marks.owner(self._installation)}
        document: Document = {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata}
        try:
            await self._api.create(LEASE, {**document, "spec": self._spec(holder, term, {})})
        except ApiConflict:
            return False
        return True

    async def write(self, found: Found, holder: str, term: float) -> bool:
        """Raises the errors of the API."""
        lease: Document = found.document
        try:
            await self._api.replace(LEASE, {**lease, "spec": self._spec(holder, term, lease.get("spec") or {})})
        except ApiConflict:
            return False
        return True

    def _spec(self, holder: str, term: float, before: Document) -> Document:
        now = self._clock.now().strftime(_TIME)
        same = before.get("holderIdentity") == holder
        kept = before.get("leaseTransitions")
        transitions = kept if isinstance(kept, int) else 0
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(math.ceil(term), 1),
            "acquireTime": before.get("acquireTime") or now if same else now,
            "renewTime": now,
            "leaseTransitions": transitions if same else transitions + 1,
        }


def _seconds(spec: dict[str, Any]) -> float:
    """What the holder wrote, where it makes sense."""
    seconds = spec.get("leaseDurationSeconds")
    return float(seconds) if isinstance(seconds, int) and 0 <= seconds <= LONGEST else 0.0
