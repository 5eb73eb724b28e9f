"""Several gateways that deploy, update and delete the same function at once leave it whole or gone, and all see the same."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from penstock.errors import FunctionExists, FunctionNotFound, PenstockError
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.client.kinds import CONFIG_MAP, DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, Kind
from penstock.providers.kubernetes.composition import parts_of
from penstock.providers.kubernetes.provider import START_PATIENCE, KubernetesProvider
from penstock.settings import ServeSettings
from penstock.testing.clock import FakeClock
from tests.unit.providers.kubernetes.fake_cluster import Document, FakeCluster

GATEWAYS, CHANGES = 3, 4
SEEDS = 25
ECHO = FunctionSpec(name="echo", image="registry.example.org/echo:1", env_process="cat")
PIPELINE = FunctionSpec(name="both", stages=("echo", "echo"))
VERBS = ("deploy", "update", "delete")
LONG_AGO = 2 * START_PATIENCE
"""Seconds for which a function that is there has been there."""


class Slow(FakeCluster):
    """Requests and answers take their time, one more than the other."""

    def __init__(self, seed: int) -> None:
        self.chance, self.clock = random.Random(seed), FakeClock()
        super().__init__()

    def put(self, kind: Kind, document: Document) -> Document:
        made = {"creationTimestamp": self.clock.now().isoformat(), **document["metadata"]}
        return super().put(kind, {**document, "metadata": made})

    async def pause(self) -> None:
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)


def _slowly(name: str) -> Any:
    async def verb(self: Slow, *arguments: Any, **options: Any) -> Any:
        await self.pause()
        try:
            return await getattr(FakeCluster, name)(self, *arguments, **options)
        finally:
            await self.pause()

    return verb


for _name in ("get", "list", "create", "apply", "replace", "merge", "delete", "scale"):
    setattr(Slow, _name, _slowly(_name))


async def changes(provider: KubernetesProvider, cluster: Slow, spec: FunctionSpec) -> list[PenstockError]:
    """Some, one after the other; what was refused."""
    refused = []
    for _ in range(CHANGES):
        await cluster.pause()
        verb = cluster.chance.choice(VERBS)
        wanted = msgspec.structs.replace(spec, labels={"n": str(cluster.chance.random())})
        try:
            if verb == "delete":
                await provider.delete(spec.name, DEFAULT_NAMESPACE)
            else:
                await getattr(provider, verb)(wanted)
        except PenstockError as error:
            refused.append(error)
    return refused


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_function_is_whole_or_gone_and_the_same_for_all(seed: int) -> None:
    await _all_at_once(seed, ECHO)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_pipeline_is_there_or_gone_and_the_same_for_all(seed: int) -> None:
    await _all_at_once(seed, PIPELINE)


async def _all_at_once(seed: int, spec: FunctionSpec) -> None:
    cluster = Slow(seed)
    clock = cluster.clock
    settings = ServeSettings(provider="kubernetes", kubernetes_namespace="platform")

    async def answer(*_: object) -> bool:
        return True

    gateways = [KubernetesProvider(parts_of(settings, {}, clock, answer, cluster.api)) for _ in range(GATEWAYS)]
    await asyncio.gather(*(gateway.start() for gateway in gateways))
    try:
        await gateways[0].deploy(ECHO if spec.stages else spec)
        if spec.stages:
            await gateways[0].deploy(spec)
        await clock.advance(LONG_AGO)
        done = await asyncio.gather(*(changes(gateway, cluster, spec) for gateway in gateways))
        await clock.advance(1.0)
        strange = [error for one in done for error in one if not isinstance(error, FunctionExists | FunctionNotFound)]
        assert not strange
        _check(cluster, gateways, spec)
    finally:
        for gateway in gateways:
            await gateway.close()


def _check(cluster: Slow, gateways: list[KubernetesProvider], spec: FunctionSpec) -> None:
    kinds = [CONFIG_MAP] if spec.stages else [DEPLOYMENT, SERVICE, SERVICE_ACCOUNT]
    plurals = sorted(kind.plural for kind in kinds)
    there = sorted(plural for plural, _, name in cluster.kept if plural in plurals and spec.name in name)
    assert there in ([], plurals)
    views = [gateway._view(spec.key) for gateway in gateways]
    assert {msgspec.json.encode(view.spec) if view else b"" for view in views} == {_spec(cluster, kinds[0])}


def _spec(cluster: Slow, kind: Kind) -> bytes:
    """What an object of this kind says of its function; empty where there is none."""
    found = [document for (plural, *_), document in cluster.kept.items() if plural == kind.plural]
    specs = [document["metadata"]["annotations"].get(marks.SPEC, "") for document in found]
    return max(specs, default="").encode()
