"""What is known of the Swarm, and how often it is asked."""

from __future__ import annotations

import asyncio

import pytest

from penstock.providers.containers import labels
from penstock.providers.swarm.cluster import STEADY, Cluster
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.fake_swarm import FakeSwarm
from tests.unit.providers.swarm.samples import generation, service


def made() -> tuple[FakeSwarm, Cluster]:
    swarm = FakeSwarm()
    return swarm, Cluster(swarm.engine, "lab", FakeClock())


async def test_only_services_of_the_installation_are_seen() -> None:
    swarm, cluster = made()
    await swarm.post("/services/create", service(generation())["Spec"])
    await swarm.post("/services/create", service(generation(2), installation="theirs")["Spec"])
    await cluster.look()
    assert [one["Spec"]["Name"] for one in cluster.services.values()] == ["echo___lab"]


async def test_a_list_that_was_asked_for_earlier_does_not_undo_what_was_written_since() -> None:
    swarm, cluster = made()
    created = await swarm.post("/services/create", service(generation())["Spec"])
    await cluster.look()
    looking = asyncio.create_task(cluster.look())
    await asyncio.sleep(0)
    fresh = {"ID": "new", "Spec": {"Name": "new"}}
    cluster.wrote("new", fresh)
    cluster.wrote(created["ID"], None)
    await looking
    assert cluster.services == {"new": fresh}
    await cluster.look()
    assert list(cluster.services) == [created["ID"]]


async def test_of_two_looks_at_once_the_earlier_does_not_undo_what_was_written_before_the_later() -> None:
    swarm, cluster = made()
    listed = asyncio.Event()

    async def get(path: str, **params: object) -> object:
        """The first list of services is as old as the first look, however late it comes."""
        first = not swarm.asked
        found = await FakeSwarm.get(swarm, path, **params)
        if first:
            await listed.wait()
        return found

    swarm.get = get  # type: ignore[method-assign]
    earlier = asyncio.create_task(cluster.look())
    for _ in range(5):
        await asyncio.sleep(0)
    created = await swarm.post("/services/create", service(generation())["Spec"])
    cluster.wrote(created["ID"], swarm.find("services", created["ID"]))
    later = asyncio.create_task(cluster.look())
    for _ in range(20):
        await asyncio.sleep(0)
    listed.set()
    await asyncio.gather(earlier, later)
    assert list(cluster.services) == [created["ID"]]


async def test_an_event_makes_it_look() -> None:
    swarm, cluster = made()
    looks: list[int] = []
    clock = FakeClock()
    cluster = Cluster(swarm.engine, "lab", clock)
    cluster.follow(lambda: looks.append(len(cluster.services)), lambda: False, lambda: None)
    await clock.advance(1)
    await swarm.post("/services/create", service(generation())["Spec"])
    swarm.tell({"Type": "service", "Action": "create"})
    await clock.advance(1)
    await cluster.close()
    assert looks[0] == 0 and looks[-1] == 1


async def test_containers_of_others_and_commands_in_ours_are_no_reason_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.providers.swarm.cluster.STEADY", 3600.0)  # of the machine's time, and it may be slow
    swarm, clock = FakeSwarm(), FakeClock()
    cluster = Cluster(swarm.engine, "lab", clock)
    looks: list[None] = []
    cluster.follow(lambda: looks.append(None), lambda: False, lambda: None)
    await clock.advance(1)
    before = len(looks)
    ours = {"Attributes": {labels.OWNER: "lab"}}
    swarm.tell({"Type": "container", "Action": "die", "Actor": {"Attributes": {}}})
    swarm.tell({"Type": "container", "Action": "exec_start: true", "Actor": ours})
    await clock.advance(1)
    assert len(looks) == before
    swarm.tell({"Type": "container", "Action": "die", "Actor": ours})
    await clock.advance(1)
    await cluster.close()
    assert len(looks) == before + 1


async def test_it_says_when_the_manager_was_away() -> None:
    swarm, clock = FakeSwarm(), FakeClock()
    cluster = Cluster(swarm.engine, "lab", clock)
    told: list[str] = []
    cluster.follow(lambda: told.append("changed"), lambda: False, lambda: told.append("returned"))
    await clock.advance(1)
    assert "returned" not in told
    swarm.away = True
    swarm.break_off()
    await clock.advance(3)
    before = len(told)
    swarm.away = False
    await clock.advance(3)
    await cluster.close()
    assert told[before : before + 2] == ["returned", "changed"]
    assert told.count("returned") == 1


async def test_what_cannot_be_read_ends_neither_events_nor_looks() -> None:
    swarm, clock = FakeSwarm(), FakeClock()
    cluster = Cluster(swarm.engine, "lab", clock)
    looks: list[int] = []
    cluster.follow(lambda: looks.append(len(cluster.nodes)), lambda: False, lambda: None)
    await clock.advance(1)
    node = swarm.nodes["node1"]
    swarm.nodes["node1"] = {}
    swarm.tell({"Type": "container", "Actor": "no document"})
    await clock.advance(1)
    before = len(looks)
    swarm.nodes["node1"] = node
    swarm.tell({"Type": "node"})
    await clock.advance(1)
    await cluster.close()
    assert len(looks) > before


def test_in_a_steady_state_it_looks_every_few_seconds_only() -> None:
    assert STEADY >= 3
