"""Named pipelines on a real Swarm, with two gateways: what one writes the other sees, and both see after a restart."""

from __future__ import annotations

import asyncio

import pytest

from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec
from penstock.providers.swarm.provider import SwarmProvider
from tests.engines.swarm import SwarmNode
from tests.integration.providers.swarm.harness import Installation, installed, started
from tests.integration.providers.waiting import until

pytestmark = pytest.mark.service("dockerd")

LONG = "long-" + "x" * 58
"""The longest name that a function may have."""


def flow(*stages: str, name: str = "flow") -> FunctionSpec:
    return FunctionSpec(name=name, stages=stages, annotations={"note": 'quotes " and {{templates}} ✓'})


async def stages(provider: SwarmProvider) -> tuple[str, ...]:
    """Those of the pipeline `flow`; none where it is not there."""
    try:
        return (await provider.get("flow", DEFAULT_NAMESPACE)).spec.stages
    except FunctionNotFound:
        return ()


async def sees(provider: SwarmProvider, *wanted: str) -> None:
    async def holds() -> bool:
        return await stages(provider) == wanted

    await until(f"the other gateway sees {wanted}", holds)


def kept(installation: Installation) -> list[str]:
    """Names of the configs, as the how-to has people list them."""
    engine = installation.engine
    listed = engine.docker("config", "ls", "--filter", "label=com.penstock.kind=pipeline", "--format", "{{.Name}}")
    return [name for name in listed.split() if name.startswith(installation.name)]


async def test_what_one_gateway_writes_the_other_sees(swarm_engine: SwarmNode) -> None:
    async with installed(swarm_engine) as installation, started(installation) as one, started(installation) as other:
        await one.deploy(flow("sort", "uniq"))
        assert kept(installation) == [f"{installation.name}.pipeline.{DEFAULT_NAMESPACE}.flow"]
        await sees(other, "sort", "uniq")
        await other.update(flow("rev"))
        await sees(one, "rev")
        await one.delete("flow", DEFAULT_NAMESPACE)
        await sees(other)
        assert kept(installation) == []


async def test_one_of_two_gateways_that_deploy_at_once_succeeds(swarm_engine: SwarmNode) -> None:
    async with installed(swarm_engine) as installation, started(installation) as one, started(installation) as other:
        answers = await asyncio.gather(one.deploy(flow("sort")), other.deploy(flow("rev")), return_exceptions=True)
        assert answers.count(None) == 1
        assert [type(answer) for answer in answers if answer is not None] == [FunctionExists]


async def test_a_cycle_is_found_although_the_other_gateway_has_written_the_rest_of_it(swarm_engine: SwarmNode) -> None:
    async with installed(swarm_engine) as installation, started(installation) as one, started(installation) as other:
        await one.deploy(flow("inner"))
        with pytest.raises(InvalidInput, match="cannot contain itself"):
            await other.deploy(flow("flow", name="inner"))


async def test_updates_of_two_gateways_at_once_are_both_made(swarm_engine: SwarmNode) -> None:
    async with installed(swarm_engine) as installation, started(installation) as one, started(installation) as other:
        await one.deploy(flow("sort"))
        await asyncio.gather(*(provider.update(flow(f"s{n}")) for n in range(3) for provider in (one, other)))
        await one.update(flow("last"))
        await sees(other, "last")


async def test_pipelines_outlive_the_gateway_whatever_their_names(swarm_engine: SwarmNode) -> None:
    async with installed(swarm_engine) as installation:
        async with started(installation) as provider:
            await provider.deploy(flow("sort/a?b={{c}}"))
            await provider.deploy(flow("sort", name=LONG))
            before = await provider.list(DEFAULT_NAMESPACE)
        async with started(installation) as provider:
            assert await provider.list(DEFAULT_NAMESPACE) == before
            assert [function.spec.name for function in before] == ["flow", LONG]
            assert not any(function.desired or function.replicas for function in before)
