"""The Kubernetes provider passes the published suite on a real cluster."""

from __future__ import annotations

import pytest

from penstock.testing.kit import Check, Kit
from penstock.testing.provider_suite import CHECKS
from tests.integration.providers.kubernetes.harness import IMAGE, running
from tests.kubecluster.cluster import Cluster

pytestmark = pytest.mark.service("dockerd", "busybox", "etcd")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_kubernetes_provider_conforms(check: Check, kubernetes: Cluster) -> None:
    async with running(kubernetes) as (provider, _):
        await check(Kit(provider, image=IMAGE, timeout=120.0))
