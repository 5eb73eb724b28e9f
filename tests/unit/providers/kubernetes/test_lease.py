"""Who leads: several processes and one cluster, with time that passes for all of them alike."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers.kubernetes.api import Api, Document
from penstock.providers.kubernetes.kinds import LEASE, Kind
from penstock.providers.kubernetes.lease import LeaseObject
from penstock.providers.leasing import MARGIN, TERM, Lease
from penstock.testing.clock import FakeClock
from tests.unit.providers.kubernetes.fake_cluster import FakeCluster

SECONDS = 5.0
OVER = TERM * SECONDS + MARGIN


class Way:
    """How one process reaches the cluster: well, or not at all."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.away = False
        self._cluster = cluster

    def _check(self) -> None:
        if self.away:
            raise ProviderUnavailable("nobody answers")

    async def get(self, kind: Kind, name: str, namespace: str) -> Document:
        self._check()
        return await self._cluster.get(kind, name, namespace)

    async def create(self, kind: Kind, document: Document) -> Document:
        self._check()
        return await self._cluster.create(kind, document)

    async def replace(self, kind: Kind, document: Document) -> Document:
        self._check()
        return await self._cluster.replace(kind, document)


class Process:
    def __init__(self, cluster: FakeCluster, clock: FakeClock, name: str) -> None:
        self.way, self.name = Way(cluster), name
        self.lease = Lease(LeaseObject(cast(Api, self.way), "platform", "penstock", clock), clock)

    async def leads(self) -> bool:
        return await self.lease.hold(self.name, SECONDS)


class World:
    def __init__(self) -> None:
        self.cluster, self.clock = FakeCluster(), FakeClock()
        self.one, self.other = (Process(self.cluster, self.clock, name) for name in ("one", "other"))

    def document(self) -> dict[str, Any]:
        found = self.cluster.find(LEASE, "penstock", "platform")
        assert found
        return found


@pytest.fixture
def world() -> World:
    return World()


async def test_the_first_one_leads_and_the_other_does_not(world: World) -> None:
    assert await world.one.leads()
    assert not await world.other.leads()
    assert world.one.lease.held and not world.other.lease.held
    assert world.document()["spec"]["holderIdentity"].startswith("one ")


async def test_whoever_leads_goes_on_leading_and_writes_seldom(world: World) -> None:
    for _ in range(40):
        assert await world.one.leads()
        assert not await world.other.leads()
        await world.clock.advance(1)
    writes = [asked for asked in world.cluster.asked if asked[:2] == ("replace", "leases")]
    assert 4 <= len(writes) <= 20
    assert world.document()["spec"]["leaseTransitions"] == 1


async def test_when_the_leader_dies_the_other_follows_after_its_term(world: World) -> None:
    await world.one.leads()
    assert not await world.other.leads()
    await world.clock.advance(OVER - 0.1)
    assert not await world.other.leads()
    await world.clock.advance(0.2)
    assert await world.other.leads()
    assert world.document()["spec"]["leaseTransitions"] == 2


async def test_a_leader_that_reaches_nobody_stops_before_another_begins(world: World) -> None:
    await world.one.leads()
    await world.other.leads()
    world.one.way.away = True
    for _ in range(200):
        leads = await world.one.leads(), await world.other.leads()
        assert leads != (True, True)
        if leads[1]:
            break
        await world.clock.advance(0.2)
    assert not world.one.lease.held and await world.other.leads()


async def test_it_is_given_back_at_once(world: World) -> None:
    await world.one.leads()
    await world.other.leads()
    await world.one.lease.give_back()
    assert await world.other.leads()
    assert not await world.one.leads()


async def test_of_two_that_come_at_once_one_leads(world: World) -> None:
    leads = await asyncio.gather(world.one.leads(), world.other.leads())
    assert sorted(leads) == [False, True]


async def test_a_lease_of_others_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.cluster.put(LEASE, {"metadata": {"name": "penstock", "namespace": "platform"}, "spec": {}})
    assert not await world.one.leads()
    assert "not ours" in caplog.text
    assert world.document()["spec"] == {}


async def test_a_lease_that_somebody_removed_is_made_again(world: World) -> None:
    await world.one.leads()
    world.cluster.drop(LEASE, "penstock", "platform")
    await world.clock.advance(SECONDS)
    assert await world.one.leads()
    assert not await world.other.leads()


@pytest.mark.parametrize("term", (None, "x", -1, 10**9))
async def test_a_term_that_makes_no_sense_is_not_waited_for(world: World, term: Any) -> None:
    await world.one.leads()
    spec = {**world.document()["spec"], "leaseDurationSeconds": term}
    world.cluster.put(LEASE, {**world.document(), "spec": spec})
    assert not await world.other.leads()
    await world.clock.advance(OVER + 0.1)
    assert await world.other.leads()
