"""Kubernetes providers on a cluster that tests share, each with an installation of its own, of which nothing is left when a test is over.

All have the default namespace in common, so that the tests of one process follow one another.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.provider import KubernetesProvider, create_kubernetes_provider
from penstock.settings import ServeSettings
from tests.engines.waiting import wait_until
from tests.image import TAG
from tests.kubecluster.cluster import Cluster, Refused

IMAGE = "busybox:it"
"""Of the fixture `kubernetes`."""
PLATFORM = "penstock"
"""Namespace of the lease of every installation, each of a name of its own."""
KINDS = (
    "apis/apps/v1/{}/deployments",
    "api/v1/{}/services",
    "api/v1/{}/secrets",
    "api/v1/{}/configmaps",
    "api/v1/{}/serviceaccounts",
    "api/v1/{}/pods",
)
"""Paths of what an installation may have made, but for the namespace."""


class Installation:
    """One installation on a cluster, and one control process after the other."""

    def __init__(self, cluster: Cluster, **settings: Any) -> None:
        self.cluster = cluster
        self.name = f"it-{secrets.token_hex(4)}"
        given = {"installation": self.name, "watchdog_image": TAG, "kubernetes_namespace": PLATFORM, **settings}
        self.settings = ServeSettings(provider="kubernetes", **given)
        self.environ = {"KUBECONFIG": str(cluster.kubeconfig)}
        make_namespace(cluster, PLATFORM, {})
        make_namespace(cluster, DEFAULT_NAMESPACE, {"openfaas": "1"})

    def provider(self) -> KubernetesProvider:
        """One more control process, not started."""
        return create_kubernetes_provider(self.settings, self.environ)

    def of(self, path: str, namespace: str = DEFAULT_NAMESPACE) -> list[dict[str, Any]]:
        """This installation's objects; the path is one of KINDS."""
        listed = self.cluster.request("GET", f"/{path.format(f'namespaces/{namespace}')}?{self._selector}")
        return list(listed["items"])

    def pods(self, function: str = "") -> list[dict[str, Any]]:
        """Of a function, or of all, those included that are ending."""
        every = self.of(KINDS[-1])
        return [one for one in every if function in ("", one["metadata"]["labels"][marks.FUNCTION])]

    def purge(self) -> None:
        """Remove all that it has made. What a provider asked for before it was closed may come meanwhile."""
        wait_until(self._purged, f"the end of all of {self.name}")

    @property
    def _selector(self) -> str:
        return f"labelSelector={marks.INSTALLATION}%3D{self.name}"

    def _purged(self) -> bool:
        left = 0
        for one in self.cluster.request("GET", f"/api/v1/namespaces?{self._selector}")["items"]:
            if one["metadata"]["name"] != DEFAULT_NAMESPACE:
                left += 1
                _delete(self.cluster, f"/api/v1/namespaces/{one['metadata']['name']}")
        for path in KINDS:
            for one in self.of(path):
                left += 1
                _delete(self.cluster, f"/{path.format(f'namespaces/{DEFAULT_NAMESPACE}')}/{one['metadata']['name']}")
        return not left


def make_namespace(cluster: Cluster, name: str, annotations: Mapping[str, str]) -> None:
    """Unless it is there."""
    metadata = {"name": name, "annotations": dict(annotations)}
    try:
        cluster.request("POST", "/api/v1/namespaces", {"metadata": metadata})
    except Refused as error:
        if error.status != 409:
            raise


def _delete(cluster: Cluster, path: str) -> None:
    """At once; what went by itself, or is going, is as good."""
    try:
        cluster.request("DELETE", path, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    except Refused as error:
        if error.status not in (404, 409):
            raise


@asynccontextmanager
async def installed(cluster: Cluster, **settings: Any) -> AsyncIterator[Installation]:
    installation = await asyncio.to_thread(functools.partial(Installation, cluster, **settings))
    try:
        yield installation
    finally:
        await asyncio.to_thread(installation.purge)


@asynccontextmanager
async def started(installation: Installation) -> AsyncIterator[KubernetesProvider]:
    provider = installation.provider()
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


@asynccontextmanager
async def running(cluster: Cluster, **settings: Any) -> AsyncIterator[tuple[KubernetesProvider, Installation]]:
    """An installation with a started provider."""
    async with installed(cluster, **settings) as installation, started(installation) as provider:
        yield provider, installation
