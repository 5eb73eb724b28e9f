"""Namespaces as configs, and their networks."""

from __future__ import annotations

import pytest

from penstock.errors import AlreadyExists, NamespaceNotFound, ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE, Namespace
from penstock.providers.swarm.namespaces import Namespaces
from penstock.providers.swarm.networks import Networks
from penstock.providers.swarm.surroundings import Surroundings
from tests.unit.providers.swarm.fake_swarm import FakeSwarm

TEAM = Namespace(name="team", labels={"a": "b"}, annotations={"c": "d"})


async def test_a_namespace_is_found_again_by_another_gateway() -> None:
    swarm = FakeSwarm()
    await Namespaces(swarm.engine, "lab").create(TEAM)
    other = Namespaces(swarm.engine, "lab")
    await other.load()
    assert other.all() == [Namespace(name=DEFAULT_NAMESPACE), TEAM]


async def test_the_default_namespace_can_be_described_too() -> None:
    swarm = FakeSwarm()
    namespaces = Namespaces(swarm.engine, "lab")
    default = Namespace(name=DEFAULT_NAMESPACE, labels={"x": "y"})
    await namespaces.update(default)
    assert namespaces.all() == [default]
    with pytest.raises(AlreadyExists):
        await namespaces.create(default)


async def test_a_namespace_that_another_gateway_made_exists() -> None:
    swarm = FakeSwarm()
    ours = Namespaces(swarm.engine, "lab")
    await ours.load()
    await Namespaces(swarm.engine, "lab").create(TEAM)
    with pytest.raises(AlreadyExists, match="namespace team already exists"):
        await ours.create(TEAM)


async def test_a_namespace_that_another_gateway_deleted_is_not_found() -> None:
    swarm = FakeSwarm()
    ours = Namespaces(swarm.engine, "lab")
    await ours.create(TEAM)
    await Namespaces(swarm.engine, "lab").delete("team")
    with pytest.raises(NamespaceNotFound):
        await ours.update(TEAM)


def networks(swarm: FakeSwarm, joins: str = "") -> Networks:
    return Networks(swarm.engine, "lab", "base", Surroundings("auto", "", joins=joins))


async def test_a_network_is_made_once_and_can_be_joined() -> None:
    swarm = FakeSwarm()
    first = await networks(swarm).ensure("team")
    assert await networks(swarm).ensure("team") == first
    network = swarm.find("networks", "base-team")
    assert (network["Driver"], network["Attachable"]) == ("overlay", True)


async def test_our_own_container_joins() -> None:
    swarm = FakeSwarm()
    number = await networks(swarm, joins="me").ensure(DEFAULT_NAMESPACE)
    assert ("POST", f"/networks/{number}/connect") in swarm.asked
    assert swarm.bodies[-1] == {"Container": "me"}


async def test_our_own_container_joins_networks_that_tasks_are_in_already() -> None:
    swarm = FakeSwarm()
    number = await networks(swarm).ensure("team")
    await networks(swarm).reach(number)
    assert ("POST", f"/networks/{number}/connect") not in swarm.asked
    await networks(swarm, joins="me").reach(number)
    assert ("POST", f"/networks/{number}/connect") in swarm.asked


async def test_a_bridge_of_that_name_is_refused_with_advice() -> None:
    swarm = FakeSwarm()
    await swarm.post("/networks/create", {"Name": "base", "Driver": "bridge", "Scope": "local"})
    with pytest.raises(ProviderUnavailable, match="--docker-network"):
        await networks(swarm).ensure(DEFAULT_NAMESPACE)


async def test_networks_go_with_their_namespace_and_the_default_one_stays() -> None:
    swarm = FakeSwarm()
    ours = networks(swarm)
    for namespace in (DEFAULT_NAMESPACE, "team", "other"):
        await ours.ensure(namespace)
    await swarm.post("/networks/create", {"Name": "base-theirs", "Driver": "overlay"})
    swarm.used_networks.add(swarm.find("networks", "base-other")["Id"])
    assert await ours.collect({DEFAULT_NAMESPACE})
    assert swarm.names("networks") == ["base", "base-other", "base-theirs"]
    swarm.used_networks.clear()
    assert not await ours.collect({DEFAULT_NAMESPACE})
    assert swarm.names("networks") == ["base", "base-theirs"]
