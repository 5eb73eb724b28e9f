"""What a real API server says no with, and to whom: policies, quotas, namespaces that end, and rights that are missing."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from penstock.errors import PenstockError, ProviderUnavailable
from penstock.providers.clock import SystemClock
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiForbidden, ApiInvalid, ApiLeaving
from penstock.providers.kubernetes.client.kinds import CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD, SECRET
from penstock.providers.kubernetes.health import Health
from tests.kubecluster.cluster import Cluster

DEADLINE = 60.0


class Place(NamedTuple):
    """A namespace of a test's own."""

    cluster: Cluster
    api: Api
    namespace: str

    def document(self, kind: str, name: str = "a") -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": self.namespace}}


@pytest.fixture
async def place(kubernetes: Cluster) -> AsyncIterator[Place]:
    api = Api("", {"KUBECONFIG": str(kubernetes.kubeconfig)})
    await api.open()
    namespace = f"no-{secrets.token_hex(4)}"
    await api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    try:
        yield Place(kubernetes, api, namespace)
    finally:
        await api.merge(NAMESPACE, namespace, "", {"metadata": {"finalizers": None}})
        await api.delete(NAMESPACE, namespace)
        await api.close()


async def refused(attempt: Callable[[], Awaitable[Any]]) -> PenstockError:
    """What it is refused with, once the cluster knows that it is to refuse it."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        try:
            await attempt()
        except PenstockError as error:
            return error
        await asyncio.sleep(0.1)
    raise AssertionError("it is never refused")


async def test_a_quota_is_the_callers_to_mind(place: Place) -> None:
    quota = {**place.document("ResourceQuota"), "spec": {"hard": {"count/secrets": "0"}}}
    await asyncio.to_thread(
        place.cluster.request, "POST", f"/api/v1/namespaces/{place.namespace}/resourcequotas", quota
    )
    error = await refused(lambda: place.api.create(SECRET, place.document("Secret", f"s-{secrets.token_hex(4)}")))
    assert type(error) is ApiInvalid and error.status == 400 and "exceeded quota: a" in str(error)


async def test_a_namespace_that_ends_is_told_to(place: Place) -> None:
    await place.api.merge(NAMESPACE, place.namespace, "", {"metadata": {"finalizers": ["example.org/stay"]}})
    await place.api.delete(NAMESPACE, place.namespace)
    error = await refused(lambda: place.api.create(CONFIG_MAP, place.document("ConfigMap", secrets.token_hex(4))))
    assert type(error) is ApiLeaving and error.status == 409
    assert f"namespace {place.namespace} because it is being terminated" in str(error)


async def test_rights_that_are_missing_are_named_by_writes_and_by_health(place: Place) -> None:
    kubeconfig = await asyncio.to_thread(place.cluster.account, "default", place.namespace)
    api = Api("", {"KUBECONFIG": str(kubeconfig)})
    try:
        await api.open()
        with pytest.raises(ApiForbidden, match=f"verb create on configmaps in namespace {place.namespace}"):
            await api.create(CONFIG_MAP, place.document("ConfigMap"))
        with pytest.raises(ProviderUnavailable, match=f"verb list on deployments.apps in namespace {place.namespace}"):
            await Health(api, (DEPLOYMENT, POD), (place.namespace,), SystemClock()).check()
    finally:
        await api.close()


async def test_a_plugin_beside_one_kubeconfig_gives_the_token_for_the_cluster_of_another(
    place: Place, tmp_path: Path
) -> None:
    other = yaml.safe_load(place.cluster.kubeconfig.read_text())
    version = "client.authentication.k8s.io/v1"
    token = other["users"][0]["user"]["token"]
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}}
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!{sys.executable}\nprint({json.dumps(answer)!r})\n")
    plugin.chmod(0o755)
    document = {
        "users": [{"name": "me", "user": {"exec": {"apiVersion": version, "command": "./plugin"}}}],
        "contexts": [{"name": "mine", "context": {"cluster": other["clusters"][0]["name"], "user": "me"}}],
        "current-context": "mine",
    }
    (tmp_path / "mine").write_text(yaml.safe_dump(document))
    api = Api("", {"KUBECONFIG": f"{tmp_path}/mine:{place.cluster.kubeconfig}"})
    try:
        assert (await api.open()).startswith("v1.")
        await api.list(POD, place.namespace)
    finally:
        await api.close()
