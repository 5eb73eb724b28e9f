"""How a cluster keeps the lease: what is written, whose it is, and that of two writers one succeeds. Who leads is `test_leasing`'s."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.providers.kubernetes.client.errors import ApiRefused
from penstock.providers.kubernetes.client.kinds import LEASE
from penstock.providers.kubernetes.lease import LeaseObject
from penstock.providers.leasing import MARGIN, TERM, Lease
from penstock.testing.clock import FakeClock
from tests.unit.providers.kubernetes.fake_cluster import FakeCluster

SECONDS = 5.0
OVER = TERM * SECONDS + MARGIN


class World:
    def __init__(self) -> None:
        self.cluster, self.clock = FakeCluster(), FakeClock()
        self.keeping = LeaseObject(self.cluster.api, "platform", "penstock", self.clock)
        self.one, self.other = (Lease(self.keeping, self.clock) for _ in range(2))

    def spec(self) -> dict[str, Any]:
        found = self.cluster.find(LEASE, "penstock", "platform")
        assert found
        return dict(found["spec"])

    def change(self, **fields: Any) -> None:
        found = self.cluster.find(LEASE, "penstock", "platform")
        assert found
        self.cluster.put(LEASE, {**found, "spec": {**found["spec"], **fields}})


@pytest.fixture
def world() -> World:
    return World()


async def led(world: World) -> None:
    assert await world.one.hold("one", SECONDS)
    assert not await world.other.hold("other", SECONDS)


async def test_the_lease_says_who_has_it_since_when_and_for_how_long(world: World) -> None:
    await led(world)
    spec = world.spec()
    assert spec.pop("holderIdentity").startswith("one ")
    assert spec == {
        "leaseDurationSeconds": 10,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
        "leaseTransitions": 1,
    }


async def test_whoever_leads_goes_on_leading_and_writes_seldom(world: World) -> None:
    for _ in range(40):
        assert await world.one.hold("one", SECONDS)
        assert not await world.other.hold("other", SECONDS)
        await world.clock.advance(1)
    writes = [asked for asked in world.cluster.asked if asked[:2] == ("replace", "leases")]
    assert 4 <= len(writes) <= 20
    spec = world.spec()
    assert (spec["leaseTransitions"], spec["acquireTime"]) == (1, "2026-01-01T00:00:00.000000Z")
    assert spec["renewTime"] > "2026-01-01T00:00:30"


async def test_of_two_that_make_it_at_once_one_has(world: World) -> None:
    made = await asyncio.gather(*(world.keeping.make(f"host{number}", 10.0) for number in range(2)))
    assert sorted(made) == [False, True]


async def test_of_two_that_write_over_one_version_one_has(world: World) -> None:
    await world.keeping.make("one", 10.0)
    found = await world.keeping.find()
    assert found
    assert await world.keeping.write(found, "two", 10.0)
    assert not await world.keeping.write(found, "three", 10.0)
    assert world.spec()["holderIdentity"] == "two"


async def test_who_follows_is_counted(world: World) -> None:
    await led(world)
    await world.clock.advance(OVER)
    assert await world.other.hold("other", SECONDS)
    assert world.spec()["leaseTransitions"] == 2


async def test_it_is_given_back_at_once(world: World) -> None:
    await led(world)
    await world.one.give_back()
    assert world.spec()["holderIdentity"] == ""
    assert await world.other.hold("other", SECONDS)
    assert not await world.one.hold("one", SECONDS)


async def test_a_lease_of_others_is_left_alone(world: World) -> None:
    world.cluster.put(LEASE, {"metadata": {"name": "penstock", "namespace": "platform"}, "spec": {}})
    with pytest.raises(ApiRefused, match="platform/penstock is not ours; remove or rename it"):
        await world.keeping.find()
    assert not await world.one.hold("one", SECONDS)
    assert world.spec() == {}


async def test_a_lease_that_somebody_removed_is_made_again(world: World) -> None:
    await world.one.hold("one", SECONDS)
    world.cluster.drop(LEASE, "penstock", "platform")
    assert await world.keeping.find() is None
    await world.clock.advance(SECONDS)
    assert await world.one.hold("one", SECONDS)
    assert world.spec()["holderIdentity"].startswith("one ")


@pytest.mark.parametrize("term", (None, "x", -1, 10**9))
async def test_a_term_that_makes_no_sense_is_not_waited_for(world: World, term: Any) -> None:
    await led(world)
    world.change(leaseDurationSeconds=term)
    found = await world.keeping.find()
    assert found and found.term == 0.0
    assert not await world.other.hold("other", SECONDS)
    await world.clock.advance(OVER)
    assert await world.other.hold("other", SECONDS)


@pytest.mark.parametrize("count", ["x", [], None, {}])
async def test_a_count_that_makes_no_sense_begins_anew(world: World, count: Any) -> None:
    await led(world)
    world.change(leaseTransitions=count)
    assert not await world.other.hold("other", SECONDS)
    await world.clock.advance(OVER)
    assert await world.other.hold("other", SECONDS)
    assert world.spec()["leaseTransitions"] == 1
