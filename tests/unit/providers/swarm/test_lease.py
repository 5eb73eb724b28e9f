"""Who leads: several processes, a Swarm that is reached or not, and time that passes for all of them alike."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import ProviderUnavailable
from penstock.providers.containers.engine import Document, Engine
from penstock.providers.leasing import LONGEST, MARGIN, TERM, Lease
from penstock.providers.swarm import marks
from penstock.providers.swarm.lease import LeaseConfig
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.fake_swarm import FakeSwarm

SECONDS = 5.0
OVER = TERM * SECONDS + MARGIN


class Way:
    """How one process reaches the Swarm: well, not at all, without answers to what it writes, or late."""

    def __init__(self, swarm: FakeSwarm, clock: FakeClock) -> None:
        self.how = "well"
        self._swarm = swarm
        self._clock = clock

    async def get(self, path: str, **params: Any) -> Any:
        return await self._through(self._swarm.get(path, **params))

    async def post(self, path: str, body: Document | None = None, **params: Any) -> Any:
        answer = await self._through(self._swarm.post(path, body, **params))
        if self.how == "unanswered":
            raise ProviderUnavailable("the connection broke")
        return answer

    async def _through(self, call: Any) -> Any:
        if self.how == "away":
            call.close()
            raise ProviderUnavailable("nobody answers")
        if self.how == "late":
            await self._clock.advance(1.0)
        answer = await call
        if self.how == "late":
            await self._clock.advance(1.0)
        return answer


class Process:
    def __init__(self, swarm: FakeSwarm, clock: FakeClock, name: str) -> None:
        self.way = Way(swarm, clock)
        self.name = name
        self.lease = Lease(LeaseConfig(cast(Engine, self.way), "lab", clock), clock)

    async def leads(self, seconds: float = SECONDS) -> bool:
        return await self.lease.hold(self.name, seconds)


class World:
    def __init__(self, processes: int = 2) -> None:
        self.swarm = FakeSwarm()
        self.clock = FakeClock()
        self.processes = [self.another(f"host{number}") for number in range(processes)]

    def another(self, name: str) -> Process:
        return Process(self.swarm, self.clock, name)

    def labels(self) -> dict[str, str]:
        return dict(self.swarm.find("configs", "lab.lease")["Spec"]["Labels"])

    def change(self, **labels: str) -> None:
        names = {"holder": marks.HOLDER, "term": marks.TERM, "expires": marks.EXPIRES}
        config = self.swarm.find("configs", "lab.lease")
        config["Spec"]["Labels"].update({names[name]: text for name, text in labels.items()})

    def remove(self) -> None:
        self.swarm.kept["configs"].clear()


async def led() -> tuple[World, Process, Process]:
    """Two processes: one that leads, and one that has seen it."""
    world = World()
    first, second = world.processes
    assert await first.leads()
    assert not await second.leads()
    return world, first, second


async def removed() -> tuple[World, Process, Process]:
    """The same, when somebody has removed the lease and the second has seen that."""
    world, first, second = await led()
    world.remove()
    assert not await second.leads()
    return world, first, second


async def test_the_first_leads_and_goes_on_leading_and_the_second_waits() -> None:
    world = World()
    first, second = world.processes
    for _ in range(60):
        assert await first.leads()
        assert not await second.leads()
        await world.clock.advance(1.0)


async def test_the_lease_says_for_people_who_has_it_until_when() -> None:
    world = World()
    assert await world.processes[0].leads()
    labels = world.labels()
    assert labels[marks.HOLDER].startswith("host0 ")
    assert (labels[marks.TERM], labels[marks.EXPIRES]) == ("10", "2026-01-01T00:00:10+00:00")


async def test_a_leader_writes_now_and_then_and_not_at_each_call() -> None:
    world = World(1)
    for _ in range(30):
        assert await world.processes[0].leads()
        await world.clock.advance(1.0)
    writes = [path for method, path in world.swarm.asked if method == "POST"]
    assert len(writes) <= 11


async def test_one_that_came_at_the_same_moment_waits_for_the_other() -> None:
    world = World(4)
    assert sorted(await asyncio.gather(*(one.leads() for one in world.processes))) == [False, False, False, True]


async def test_a_leader_that_died_is_followed_once_its_lease_is_over() -> None:
    world, _, second = await led()
    await world.clock.advance(OVER - 0.01)
    assert not await second.leads()
    await world.clock.advance(0.01)
    assert await second.leads()


async def test_a_leader_that_ends_is_followed_at_once() -> None:
    world, first, second = await led()
    await first.lease.give_back()
    assert await second.leads()
    assert world.labels()[marks.HOLDER].startswith("host1 ")


async def test_who_does_not_lead_gives_nothing_back() -> None:
    world = World()
    first, second = world.processes
    assert await first.leads()
    await second.leads()
    await second.lease.give_back()
    assert not await second.leads()


async def test_giving_back_what_cannot_be_reached_is_no_error() -> None:
    world = World(1)
    first = world.processes[0]
    assert await first.leads()
    first.way.how = "away"
    await first.lease.give_back()


async def test_a_leader_that_is_cut_off_stops_before_another_begins(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "penstock")
    world = World()
    first, second = world.processes
    assert await first.leads()
    first.way.how = "away"
    ended, followed = None, None
    for second_of_time in range(20):
        if not await first.leads() and ended is None:
            ended = second_of_time
        if await second.leads() and followed is None:
            followed = second_of_time
        await world.clock.advance(1.0)
    assert (ended, followed) == (6, 11)  # what it decided at 5 it may do until 10
    assert caplog.text.count("cannot be found out: nobody answers") == 1
    first.way.how = "well"
    assert not await first.leads()
    assert "who leads is known again" in caplog.text


async def test_a_process_that_starts_again_under_its_name_does_not_lead_beside_its_old_self() -> None:
    world = World()
    first, _ = world.processes
    assert await first.leads()
    assert not await world.another(first.name).leads()


async def test_the_clock_of_another_machine_is_not_believed() -> None:
    world = World()
    first, second = world.processes
    assert await first.leads()
    world.change(expires="1970-01-01T00:00:00+00:00")
    assert not await second.leads()
    await world.clock.advance(OVER)
    world.change(expires="2999-01-01T00:00:00+00:00")
    assert await second.leads()


@pytest.mark.parametrize("term", ["", "soon", "-1", "nan", "inf", "1e9", str(LONGEST + 1)])
async def test_a_term_that_makes_no_sense_counts_as_our_own(term: str) -> None:
    world = World()
    first, second = world.processes
    assert await first.leads()
    world.change(term=term)
    assert not await second.leads()
    await world.clock.advance(OVER)
    assert await second.leads()


async def test_a_longer_term_of_another_gateway_is_waited_for() -> None:
    world = World()
    first, second = world.processes
    assert await first.leads(30.0)
    assert not await second.leads()
    await world.clock.advance(59.0)
    assert not await second.leads()
    await world.clock.advance(2.0)
    assert await second.leads()


async def test_a_lease_that_somebody_removed_is_made_again_by_who_leads() -> None:
    world, first, second = await removed()
    await world.clock.advance(3.0)
    assert await first.leads()
    assert not await second.leads()


async def test_a_lease_that_was_removed_with_its_holder_is_taken_when_it_would_be_over() -> None:
    world, _, second = await removed()
    await world.clock.advance(OVER)
    assert await second.leads()


async def test_a_config_of_that_name_that_is_not_ours_is_left_alone_and_told(caplog: pytest.LogCaptureFixture) -> None:
    world = World(1)
    await world.swarm.post("/configs/create", {"Name": "lab.lease", "Labels": {"theirs": "x"}, "Data": ""})
    assert not await world.processes[0].leads()
    assert world.labels() == {"theirs": "x"}
    assert "config lab.lease that is not ours" in caplog.text


async def test_a_manager_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(1)

    async def never(path: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(world.processes[0].way, "get", never)
    assert not await world.processes[0].leads(0.02)


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 2)),
    st.tuples(st.just("all"), st.just(0)),
    st.tuples(st.just("pass"), st.integers(1, 40)),
    st.tuples(st.sampled_from(["well", "away", "unanswered", "late"]), st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(0, 2)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=60))
def test_there_are_never_two_leaders_whatever_is_lost_or_late(steps: list[tuple[str, int]]) -> None:
    asyncio.run(_live_through(steps))


async def _live_through(steps: list[tuple[str, int]]) -> None:
    world = World(3)
    until = [0.0, 0.0, 0.0]

    async def ask(number: int) -> None:
        if await world.processes[number].leads():
            now = world.clock.monotonic()
            rivals = [end for other, end in enumerate(until) if other != number]
            assert all(end <= now for end in rivals), "somebody else may still decide"
            until[number] = now + SECONDS

    for what, number in steps:
        if what == "ask":
            await ask(number)
        elif what == "all":
            await asyncio.gather(*(ask(each) for each in range(3)))
        elif what == "pass":
            await world.clock.advance(number / 2)
        elif what == "end":
            until[number] = 0.0
            await world.processes[number].lease.give_back()
        else:
            world.processes[number].way.how = what
