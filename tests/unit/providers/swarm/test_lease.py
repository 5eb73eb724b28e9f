"""How a Swarm keeps the lease: what is written, whose it is, and that of two writers one succeeds. Who leads is `test_leasing`'s."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers.containers.engine import Engine
from penstock.providers.leasing import LONGEST, MARGIN, TERM, Lease
from penstock.providers.swarm import marks
from penstock.providers.swarm.lease import LeaseConfig
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.fake_swarm import FakeSwarm

SECONDS = 5.0
OVER = TERM * SECONDS + MARGIN


class World:
    def __init__(self) -> None:
        self.swarm, self.clock = FakeSwarm(), FakeClock()
        self.keeping = LeaseConfig(cast(Engine, self.swarm), "lab", self.clock)
        self.first, self.second = (Lease(self.keeping, self.clock) for _ in range(2))

    def labels(self) -> dict[str, str]:
        return dict(self.swarm.find("configs", "lab.lease")["Spec"]["Labels"])

    def change(self, **labels: str) -> None:
        names = {"holder": marks.HOLDER, "term": marks.TERM, "expires": marks.EXPIRES}
        config = self.swarm.find("configs", "lab.lease")
        config["Spec"]["Labels"].update({names[name]: text for name, text in labels.items()})

    def remove(self) -> None:
        self.swarm.kept["configs"].clear()


@pytest.fixture
def world() -> World:
    return World()


async def led(world: World) -> None:
    assert await world.first.hold("host0", SECONDS)
    assert not await world.second.hold("host1", SECONDS)


async def test_the_lease_says_for_people_who_has_it_until_when(world: World) -> None:
    await led(world)
    labels = world.labels()
    assert labels[marks.HOLDER].startswith("host0 ")
    assert (labels[marks.TERM], labels[marks.EXPIRES]) == ("10", "2026-01-01T00:00:10+00:00")


async def test_whoever_leads_writes_the_same_config_again(world: World) -> None:
    for _ in range(30):
        assert await world.first.hold("host0", SECONDS)
        assert not await world.second.hold("host1", SECONDS)
        await world.clock.advance(1.0)
    assert world.labels()[marks.EXPIRES] > "2026-01-01T00:00:30"
    assert len([path for method, path in world.swarm.asked if method == "POST"]) <= 11


async def test_of_two_that_make_it_at_once_one_has(world: World) -> None:
    made = await asyncio.gather(*(world.keeping.make(f"host{number}", 10.0) for number in range(2)))
    assert sorted(made) == [False, True]
    assert await world.keeping.make("host2", 10.0) is False


async def test_of_two_that_write_over_one_version_one_has(world: World) -> None:
    await world.keeping.make("host0", 10.0)
    found = await world.keeping.find()
    assert found
    assert await world.keeping.write(found, "host1", 10.0)
    assert not await world.keeping.write(found, "host2", 10.0)
    assert world.labels()[marks.HOLDER] == "host1"


async def test_a_leader_that_ends_is_followed_at_once(world: World) -> None:
    await led(world)
    await world.first.give_back()
    assert await world.second.hold("host1", SECONDS)
    assert world.labels()[marks.HOLDER].startswith("host1 ")


async def test_the_clock_of_another_machine_is_not_believed(world: World) -> None:
    await led(world)
    world.change(expires="1970-01-01T00:00:00+00:00")
    assert not await world.second.hold("host1", SECONDS)
    await world.clock.advance(OVER)
    world.change(expires="2999-01-01T00:00:00+00:00")
    assert await world.second.hold("host1", SECONDS)


@pytest.mark.parametrize("term", ["", "soon", "-1", "nan", "inf", "1e9", str(LONGEST + 1)])
async def test_a_term_that_makes_no_sense_is_none(world: World, term: str) -> None:
    await led(world)
    world.change(term=term)
    found = await world.keeping.find()
    assert found and found.term == 0.0
    assert not await world.second.hold("host1", SECONDS)
    await world.clock.advance(OVER)
    assert await world.second.hold("host1", SECONDS)


async def test_the_term_of_another_gateway_is_read(world: World) -> None:
    await world.keeping.make("host0", 60.0)
    found = await world.keeping.find()
    assert found and (found.holder, found.term) == ("host0", 60.0)


async def test_one_that_somebody_removed_is_made_again(world: World) -> None:
    await led(world)
    world.remove()
    assert await world.keeping.find() is None
    await world.clock.advance(3.0)
    assert await world.first.hold("host0", SECONDS)
    assert world.labels()[marks.HOLDER].startswith("host0 ")


async def test_a_config_of_that_name_that_is_not_ours_is_left_alone_and_told(world: World) -> None:
    await world.swarm.post("/configs/create", {"Name": "lab.lease", "Labels": {"theirs": "x"}, "Data": ""})
    with pytest.raises(ProviderUnavailable, match=r"config lab\.lease that is not ours"):
        await world.keeping.find()
    assert not await world.first.hold("host0", SECONDS)
    assert world.labels() == {"theirs": "x"}


async def test_a_manager_that_does_not_answer_is_told_by_its_name(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(path: str) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(world.swarm, "get", never)
    assert not await world.first.hold("host0", 0.02)
    assert "no manager of the Swarm answers within 0.01 s" in caplog.text
