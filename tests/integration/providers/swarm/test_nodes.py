"""Functions on a real Swarm of two nodes, of which one is drained, killed and cut off while functions are called."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from penstock.errors import InvalidInput
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec
from penstock.providers.swarm.provider import SwarmProvider
from tests.engines.images import import_busybox, import_root
from tests.engines.swarm import TwoNodeSwarm
from tests.integration.providers.swarm.harness import SERVER, call, calls_that_never_fail, program, running, watchdog
from tests.integration.providers.swarm.test_functions import server
from tests.integration.providers.waiting import ready, until

pytestmark = pytest.mark.service("dockerd", "busybox")

PATIENT = "patient:it"
WHATEVER_COMES = f"trap '' TERM; {SERVER}"
"""A server that serves on for its whole grace when it is told to end, for calls that come late where this process is slow."""


@pytest.fixture(scope="module")
def swarm(two_node_swarm: TwoNodeSwarm) -> Iterator[TwoNodeSwarm]:
    for node in two_node_swarm.nodes:
        server(node)
        import_busybox(node)
        import_busybox(node, PATIENT, [f"ENTRYPOINT {json.dumps(['sh', '-c', WHATEVER_COMES])}", "EXPOSE 8080"])
    yield two_node_swarm


def web(name: str, **fields: object) -> FunctionSpec:
    """An image that runs as it is, so that no watchdog has to be brought to nodes."""
    labels = {"com.openfaas.scale.min": "2"}
    return program(name, "", **{"image": "server:it", "labels": labels, **fields})


@asynccontextmanager
async def spread_over_both(swarm: TwoNodeSwarm, **fields: object) -> AsyncIterator[tuple[SwarmProvider, Function]]:
    """A function with a replica on each node."""
    async with running(swarm.manager) as (provider, _):
        await provider.deploy(web("wide", **fields))
        function = await ready(provider, "wide", 2)
        assert hosts(function) == {node.sandbox.address for node in swarm.nodes}
        yield provider, function


def hosts(function: Function) -> set[str]:
    return {endpoint.rpartition(":")[0] for endpoint in function.endpoints}


async def only_the_manager_serves(provider: SwarmProvider, swarm: TwoNodeSwarm) -> None:
    async def holds() -> bool:
        return hosts(await provider.get("wide", DEFAULT_NAMESPACE)) == {swarm.manager.sandbox.address}

    await until("endpoints of the worker have left", holds)


async def two_replicas_on_the_manager(provider: SwarmProvider, swarm: TwoNodeSwarm) -> None:
    async def holds() -> bool:
        function = await provider.get("wide", DEFAULT_NAMESPACE)
        return function.available == 2 and hosts(function) == {swarm.manager.sandbox.address}

    await until("both replicas run on the manager", holds)


async def every_endpoint_answers(provider: SwarmProvider) -> None:
    for endpoint in (await provider.get("wide", DEFAULT_NAMESPACE)).endpoints:
        assert (await call(endpoint, path="/_/ready", method="GET"))[0] == 200


async def test_replicas_on_every_node_answer(swarm: TwoNodeSwarm) -> None:
    async with spread_over_both(swarm) as (provider, _):
        await every_endpoint_answers(provider)


async def test_a_drained_node_leaves_the_routes_before_its_replicas_end(swarm: TwoNodeSwarm) -> None:
    patient = spread_over_both(swarm, image=PATIENT, env_vars={"write_timeout": "10s"})
    async with patient as (provider, _), calls_that_never_fail(provider, "wide"):
        drain(swarm, "drain")
        try:
            await two_replicas_on_the_manager(provider, swarm)
            await every_endpoint_answers(provider)
        finally:
            drain(swarm, "active")


def drain(swarm: TwoNodeSwarm, availability: str) -> None:
    swarm.manager.docker("node", "update", "--availability", availability, swarm.worker.id)


async def test_replicas_of_a_node_that_was_killed_run_elsewhere(swarm: TwoNodeSwarm) -> None:
    async with spread_over_both(swarm) as (provider, _):
        await asyncio.to_thread(swarm.worker.kill)
        try:
            await only_the_manager_serves(provider, swarm)
            await two_replicas_on_the_manager(provider, swarm)
            await every_endpoint_answers(provider)
        finally:
            await asyncio.to_thread(swarm.worker.start)
            await until("both nodes are ready", lambda: swarm.states() == {"ready"})


async def test_replicas_of_a_node_that_was_cut_off_run_elsewhere_and_come_back(swarm: TwoNodeSwarm) -> None:
    async with spread_over_both(swarm) as (provider, _):
        await asyncio.to_thread(swarm.cut)
        try:
            await two_replicas_on_the_manager(provider, swarm)
            await every_endpoint_answers(provider)
        finally:
            await asyncio.to_thread(swarm.mend)
        await provider.scale("wide", DEFAULT_NAMESPACE, 4)
        function = await ready(provider, "wide", 4)
        assert hosts(function) == {node.sandbox.address for node in swarm.nodes}
        await every_endpoint_answers(provider)


async def test_constraints_decide_the_node(swarm: TwoNodeSwarm) -> None:
    async with running(swarm.manager) as (provider, _):
        await provider.deploy(web("wide", constraints=("node.role==worker",)))
        assert hosts(await ready(provider, "wide", 2)) == {swarm.worker.sandbox.address}


@pytest.fixture(scope="module")
def watchdog_image(swarm: TwoNodeSwarm) -> str:
    """An image with the watchdog at its place, as that of the gateway has it, on both nodes."""
    files = io.BytesIO()
    with tarfile.open(fileobj=files, mode="w") as archive:
        archive.add(watchdog(), "penstock")
    for node in swarm.nodes:
        import_root(node, "watchdog:it", files.getvalue(), ['ENTRYPOINT ["/penstock/fwatchdog"]'])
    return "watchdog:it"


async def test_the_watchdog_is_brought_to_every_node(swarm: TwoNodeSwarm, watchdog_image: str) -> None:
    async with running(swarm.manager, watchdog_image=watchdog_image) as (provider, _):
        await provider.deploy(program("wide", "cat", labels={"com.openfaas.scale.min": "2"}))
        function = await ready(provider, "wide", 2)
        assert hosts(function) == {node.sandbox.address for node in swarm.nodes}
        for endpoint in function.endpoints:
            assert await call(endpoint, b"hello") == (200, b"hello")


async def test_a_node_that_takes_tasks_later_gets_the_watchdog_too(swarm: TwoNodeSwarm, watchdog_image: str) -> None:
    async with running(swarm.manager, watchdog_image=watchdog_image) as (provider, _):
        drain(swarm, "drain")
        try:
            await provider.deploy(program("wide", "cat"))
            await ready(provider, "wide")
        finally:
            drain(swarm, "active")
        await provider.update(program("wide", "cat", constraints=("node.role==worker",)))

        async def moved() -> bool:
            return hosts(await provider.get("wide", DEFAULT_NAMESPACE)) == {swarm.worker.sandbox.address}

        await until("a replica on the worker", moved)


async def test_a_watchdog_that_a_node_cannot_have_is_told(swarm: TwoNodeSwarm, watchdog_image: str) -> None:
    swarm.manager.docker("tag", watchdog_image, "manager-only:it")
    async with running(swarm.manager, watchdog_image="manager-only:it") as (provider, _):
        await provider.deploy(program("wide", "cat", constraints=("node.role==manager",)))
        assert hosts(await ready(provider, "wide")) == {swarm.manager.sandbox.address}


async def test_a_watchdog_for_several_nodes_needs_an_image(swarm: TwoNodeSwarm) -> None:
    async with running(swarm.manager) as (provider, _):
        with pytest.raises(InvalidInput, match="--watchdog-image"):
            await provider.deploy(program("injected"))
