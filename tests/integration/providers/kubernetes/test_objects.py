"""What is written for a function, as a real API server takes it and gives it back. No pod runs: all rest at zero."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import pytest

from penstock.model import FunctionSpec, Resources
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, NAMESPACE, SERVICE, SERVICE_ACCOUNT
from penstock.providers.kubernetes.manifests import (
    Document,
    Shape,
    check,
    deployment,
    desired_of,
    same,
    service,
    service_account,
    spec_of,
)
from penstock.providers.kubernetes.profiles import Profile
from penstock.providers.kubernetes.writing import write_deployment
from penstock.providers.validation import check_spec
from tests.kubecluster.cluster import Cluster

SHAPE = Shape(installation="lab", watchdog_image="penstock:1")
PROFILE = Profile(
    "all",
    {
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchLabels": {"a": "b"}},
                        },
                    }
                ]
            }
        },
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}], "nameservers": ["10.0.0.1"]},
        "dnsPolicy": "None",
        "nodeSelector": {"disk": "ssd"},
        "podSecurityContext": {"fsGroup": 3000},
        "priorityClassName": "system-node-critical",
        "resources": {"limits": {"nvidia.com/gpu": 1, "cpu": "2000m"}},
        "runtimeClassName": "gvisor",
        "strategy": {"type": "Recreate"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    },
)
PLAIN: dict[str, Any] = {}
FULL: dict[str, Any] = {
    "env_vars": {"A": "1", "EMPTY": "", "DOLLAR": "$(A) $$"},
    "secrets": ("token", "registry"),
    "limits": Resources(memory="1024Mi", cpu="0.5"),
    "requests": Resources(memory="128m", cpu="100m"),
    "read_only_root": True,
    "constraints": ("disk=ssd", "zone!=a", "node.role==worker", "node.platform.arch==x86_64"),
    "labels": {"com.openfaas.scale.max": "5", "com.penstock.capabilities": "CHOWN,SETUID", "team": "blue"},
    "annotations": {
        "com.openfaas.health.http.path": "/h",
        "com.openfaas.ready.http.initialDelay": "1s",
        "note": "é" * 100,
    },
}
HANDED: dict[str, Any] = {"labels": {"com.penstock.kubernetes.hpa": "true"}}
KINDS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "full": FULL,
    "handed": HANDED,
    "as it is": {"env_process": ""},
    "server": {"env_process": "", "labels": {"com.penstock.http-port": "80"}},
    "full up": {"labels": {"com.penstock.watchdog": "inject"}, "env_vars": {"max_inflight": "4"}},
    "user": {"labels": {"com.penstock.kubernetes.user": "1000:1000", "com.penstock.allow-new-privileges": "true"}},
    "large": {"env_vars": {"A": "x" * 125_000, "B": "y" * 125_000}},
}


PROFILES_BEFORE: tuple[tuple[Profile, ...], ...] = ((PROFILE,), ())
"""By how many there are afterwards."""


class Room(NamedTuple):
    """A namespace for one test."""

    api: Api
    namespace: str

    def spec(self, **fields: Any) -> FunctionSpec:
        own = {
            "name": "echo",
            "namespace": self.namespace,
            "image": "registry.example.org/echo:1",
            "env_process": "cat",
        }
        spec = FunctionSpec(**{**own, **fields})
        check_spec(spec)
        check(spec)
        return spec

    async def live(self) -> Document:
        return await self.api.get(DEPLOYMENT, "echo", self.namespace)

    async def update(self, wanted: Document) -> Document:
        return await write_deployment(self.api, await self.live(), wanted)


@asynccontextmanager
async def room(cluster: Cluster) -> AsyncIterator[Room]:
    api = Api("", {"KUBECONFIG": str(cluster.kubeconfig)})
    await api.open()
    namespace = f"objects-{secrets.token_hex(4)}"
    try:
        await api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        yield Room(api, namespace)
    finally:
        await api.delete(NAMESPACE, namespace)
        await api.close()


def drawn(spec: FunctionSpec, profiles: tuple[Profile, ...] = (), desired: int = 0, floor: int = 0) -> Document:
    types = {"registry": "kubernetes.io/dockerconfigjson"}
    return deployment(spec, desired, floor, SHAPE, profiles, types, rollout="1-1")


@pytest.mark.parametrize("profiles", [(), (PROFILE,)], ids=["", "with a profile"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_real_server_takes_it_and_gives_it_back(
    cluster: Cluster, kind: str, profiles: tuple[Profile, ...]
) -> None:
    async with room(cluster) as there:
        wanted = drawn(there.spec(**KINDS[kind]), profiles)
        assert same(await there.api.apply(DEPLOYMENT, wanted), wanted)
        live = await there.live()
        assert same(live, wanted) and spec_of(live) == there.spec(**KINDS[kind])


@pytest.mark.parametrize("reach", ["pods", "nodeport"])
async def test_services_and_accounts_as_well(cluster: Cluster, reach: str) -> None:
    shape = msgspec.structs.replace(SHAPE, reach=reach)
    async with room(cluster) as there:
        for kind, wanted in (
            (SERVICE, service(there.spec(), shape)),
            (SERVICE_ACCOUNT, service_account(there.spec(), shape)),
        ):
            assert same(await there.api.apply(kind, wanted), wanted)


async def test_applying_again_changes_nothing(cluster: Cluster) -> None:
    async with room(cluster) as there:
        first = await there.api.apply(DEPLOYMENT, drawn(there.spec(**FULL)))
        again = await there.api.apply(DEPLOYMENT, drawn(there.spec(**FULL)))
        assert first["metadata"]["generation"] == again["metadata"]["generation"]


async def test_what_is_not_wanted_any_more_goes(cluster: Cluster) -> None:
    async with room(cluster) as there:
        await there.api.apply(DEPLOYMENT, drawn(there.spec(**FULL), (PROFILE,), floor=2))
        assert not same(await there.live(), drawn(there.spec()))
        live = await there.update(drawn(there.spec()))
        assert same(live, drawn(there.spec()))
        pod = live["spec"]["template"]["spec"]
        gone = {"nodeSelector", "tolerations", "topologySpreadConstraints", "imagePullSecrets", "dnsConfig"}
        assert not gone & pod.keys()
        assert [volume["name"] for volume in pod["volumes"]] == ["watchdog"]
        assert not pod["containers"][0].get("resources")


@pytest.mark.parametrize("profiles", [(), (PROFILE,)], ids=["", "with a profile"])
@pytest.mark.parametrize("before", ["plain", "full", "server", "full up"])
async def test_whatever_a_function_was_it_becomes_what_is_wanted(
    cluster: Cluster, before: str, profiles: tuple[Profile, ...]
) -> None:
    async with room(cluster) as there:
        first = drawn(there.spec(**KINDS[before]), PROFILES_BEFORE[len(profiles)])
        await there.api.apply(DEPLOYMENT, first)
        for after in KINDS:
            wanted = drawn(there.spec(**KINDS[after]), profiles)
            assert same(await there.update(wanted), wanted), after
            assert same(await there.live(), wanted), after
            assert same(await there.update(first), first), f"back from {after}"


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"template": {"spec": {"initContainers": None}}}},
        {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}},
        {"spec": {"template": {"spec": {"securityContext": {"runAsUser": 0, "runAsNonRoot": False}}}}},
        {"spec": {"template": {"metadata": {"labels": {"team": "red"}}}}},
        {"metadata": {"annotations": {"com.penstock.spec": "{}"}}},
    ],
)
async def test_what_somebody_changed_is_seen_and_written_again(cluster: Cluster, patch: Document) -> None:
    async with room(cluster) as there:
        wanted = drawn(there.spec(labels={"team": "blue"}))
        await there.api.apply(DEPLOYMENT, wanted)
        assert not same(await there.api.merge(DEPLOYMENT, "echo", there.namespace, patch), wanted)
        assert same(await there.api.apply(DEPLOYMENT, wanted), wanted)


async def test_what_others_add_stays_and_is_no_difference(cluster: Cluster) -> None:
    note = {"metadata": {"annotations": {"example.com/note": "x"}}}
    async with room(cluster) as there:
        wanted = drawn(there.spec())
        await there.api.apply(DEPLOYMENT, wanted)
        assert same(await there.api.merge(DEPLOYMENT, "echo", there.namespace, note), wanted)
        live = await there.api.apply(DEPLOYMENT, wanted)
        assert live["metadata"]["annotations"]["example.com/note"] == "x"


async def test_replicas_stay_when_an_autoscaler_takes_them_over_and_when_it_gives_them_back(cluster: Cluster) -> None:
    async with room(cluster) as there:
        # An image that no node can have: pods are made and never run.
        await there.api.apply(DEPLOYMENT, drawn(there.spec(constraints=("nowhere=true",)), desired=3))
        handed = drawn(there.spec(constraints=("nowhere=true",), **HANDED))
        assert desired_of(await there.update(handed)) == 3
        await there.api.scale("echo", there.namespace, 2)
        assert desired_of(await there.update(handed)) == 2
        back = drawn(there.spec(constraints=("nowhere=true",)), desired=2)
        assert same(await there.update(back), back)
