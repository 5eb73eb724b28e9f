"""Who leads: several processes, a platform that is reached or not, and time that passes for all of them alike."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError, ProviderUnavailable
from penstock.providers.leasing import MARGIN, TERM, Found, Lease
from penstock.testing.clock import FakeClock

SECONDS = 5.0
OVER = TERM * SECONDS + MARGIN
Answer = TypeVar("Answer")


class Platform:
    """Keeps one lease, whose version is new with each write."""

    def __init__(self) -> None:
        self.kept: Found | None = None
        self.writes = 0
        self.foreign = False
        self._version = 0

    def put(self, holder: str, term: float) -> bool:
        self._version += 1
        self.writes += 1
        self.kept = Found(holder, str(self._version), term, None)
        return True


class Way:
    """How one process reaches the platform: well, not at all, without answers to what it writes, late, or without an end."""

    silent = "no platform answers"

    def __init__(self, platform: Platform, clock: FakeClock) -> None:
        self.how = "well"
        self._platform, self._clock = platform, clock

    async def find(self) -> Found | None:
        return await self._through(self._find())

    async def make(self, holder: str, term: float) -> bool:
        return self._answered(await self._through(self._make(holder, term)))

    async def write(self, found: Found, holder: str, term: float) -> bool:
        return self._answered(await self._through(self._write(found, holder, term)))

    async def _find(self) -> Found | None:
        if self._platform.foreign:
            raise PenstockError("there is one that is not ours")
        return self._platform.kept

    async def _make(self, holder: str, term: float) -> bool:
        return not self._platform.kept and self._platform.put(holder, term)

    async def _write(self, found: Found, holder: str, term: float) -> bool:
        kept = self._platform.kept
        return kept is not None and kept.version == found.version and self._platform.put(holder, term)

    def _answered(self, answer: bool) -> bool:
        if self.how == "unanswered":
            raise ProviderUnavailable("the connection broke")
        return answer

    async def _through(self, call: Coroutine[None, None, Answer]) -> Answer:
        if self.how == "hanging":
            call.close()
            await asyncio.Event().wait()
        if self.how == "late":
            await self._clock.advance(1.0)
        if self.how == "away":
            call.close()
            raise ProviderUnavailable("nobody answers")
        answer = await call
        if self.how == "late":
            await self._clock.advance(1.0)
        return answer


class Process:
    def __init__(self, platform: Platform, clock: FakeClock, name: str) -> None:
        self.way, self.name = Way(platform, clock), name
        self.lease = Lease(self.way, clock)

    async def leads(self, seconds: float = SECONDS) -> bool:
        return await self.lease.hold(self.name, seconds)


class World:
    def __init__(self, processes: int = 2) -> None:
        self.platform, self.clock = Platform(), FakeClock()
        self.processes = [self.another(f"host{number}") for number in range(processes)]

    def another(self, name: str) -> Process:
        return Process(self.platform, self.clock, name)


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
    world.platform.kept = None
    assert not await second.leads()
    return world, first, second


async def test_the_first_leads_and_goes_on_leading_and_the_second_waits() -> None:
    world = World()
    first, second = world.processes
    for _ in range(60):
        assert await first.leads()
        assert not await second.leads()
        assert first.lease.held and not second.lease.held
        await world.clock.advance(1.0)


async def test_a_leader_writes_now_and_then_and_not_at_each_call() -> None:
    world = World(1)
    for _ in range(30):
        assert await world.processes[0].leads()
        await world.clock.advance(1.0)
    assert 4 <= world.platform.writes <= 11


async def test_the_holder_is_named_for_people() -> None:
    world, _, _ = await led()
    assert world.platform.kept and world.platform.kept.holder.startswith("host0 ")


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
    assert not first.lease.held
    assert await second.leads()
    assert not await first.leads()
    assert world.platform.kept and world.platform.kept.holder.startswith("host1 ")


async def test_who_does_not_lead_gives_nothing_back() -> None:
    world, _, second = await led()
    writes = world.platform.writes
    await second.lease.give_back()
    assert world.platform.writes == writes
    assert not await second.leads()


async def test_whoever_was_followed_gives_nothing_back() -> None:
    world, first, second = await led()
    first.way.how = "away"
    await world.clock.advance(OVER)
    assert await second.leads()
    first.way.how = "well"
    await first.lease.give_back()
    assert world.platform.kept and world.platform.kept.holder.startswith("host1 ")


async def test_giving_back_what_cannot_be_reached_is_no_error() -> None:
    world = World(1)
    first = world.processes[0]
    assert await first.leads()
    first.way.how = "away"
    await first.lease.give_back()
    assert not first.lease.held


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


async def test_a_term_that_makes_no_sense_counts_as_our_own() -> None:
    world, _, second = await led()
    kept = world.platform.kept
    assert kept
    world.platform.put(kept.holder, 0.0)
    assert not await second.leads()
    await world.clock.advance(OVER - 0.01)
    assert not await second.leads()
    await world.clock.advance(0.01)
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


async def test_one_that_is_not_ours_is_told_and_nobody_leads(caplog: pytest.LogCaptureFixture) -> None:
    world = World(1)
    world.platform.foreign = True
    assert not await world.processes[0].leads()
    assert not await world.processes[0].leads()
    assert caplog.text.count("who leads cannot be found out: there is one that is not ours") == 1
    assert world.platform.writes == 0


async def test_a_platform_that_does_not_answer_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    world = World(1)
    world.processes[0].way.how = "hanging"
    assert not await world.processes[0].leads(0.02)
    assert "no platform answers within 0.01 s" in caplog.text


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 2)),
    st.tuples(st.just("all"), st.just(0)),
    st.tuples(st.just("pass"), st.integers(1, 40)),
    st.tuples(st.sampled_from(["well", "away", "unanswered", "late"]), st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(0, 2)),
)


@settings(max_examples=300)
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
