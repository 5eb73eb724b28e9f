"""Restarting, rolling and draining, on a clock that tests move by hand."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest

from penstock.core.health import Check
from penstock.model import FunctionSpec
from penstock.providers.memory import Script
from tests.unit.providers.scripted import NS, only, spec, started, view


async def test_a_replica_is_starting_until_its_port_answers() -> None:
    async with started(lambda spec: Script(start_delay=5)) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(4.9)
        assert (await only(provider)).state == "starting"
        await clock.advance(0.2)
        assert (await only(provider)).state == "ready"


async def test_a_replica_is_asked_the_more_rarely_the_longer_it_takes_to_start() -> None:
    async with started(lambda spec: Script(start_delay=60)) as (provider, clock):
        asked: list[float] = []

        async def probe(address: str, check: Check) -> bool | str:
            asked.append(clock.monotonic() - begun)
            return asked[-1] > 30

        provider._crew.probe = probe
        begun = clock.monotonic()
        await provider.deploy(spec())
        await clock.advance(31)
        assert (await only(provider)).state == "ready"
        pauses = [(earlier, later - earlier) for earlier, later in itertools.pairwise(asked)]
        assert asked[:3] == pytest.approx([0, 0.001, 0.002])
        assert all(pause <= max(0.001, at / 16) + 1e-6 for at, pause in pauses), "the wait is a small part of the start"
        assert pauses[-1][1] == pytest.approx(0.25)
        await clock.advance(60)
        assert asked[-1] < 31, "one that is ready is asked no more"


async def test_a_crashed_replica_backs_off_with_its_reason() -> None:
    async with started(lambda spec: Script(crash_after=1, crash_reason="exit code 3: no disk")) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(1.01)
        replica = await only(provider)
        assert (replica.state, replica.reason, replica.address) == ("backoff", "exit code 3: no disk", "")


async def test_restarts_double_their_wait_up_to_thirty_seconds() -> None:
    async with started(lambda spec: Script(crash_after=0.001)) as (provider, clock):
        await provider.deploy(spec())
        starts = [clock.monotonic()]
        while len(starts) < 12:
            await clock.advance(0.025)
            while len(starts) < len(provider.runtime.starts):
                starts.append(clock.monotonic())
        waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
        expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
        assert all(abs(wait - wanted) < 0.05 for wait, wanted in zip(waits, expected, strict=True)), waits
        assert (await only(provider)).restarts == 11


async def test_a_healthy_minute_forgives_earlier_crashes() -> None:
    async with started(lambda spec: Script(crash_after=61)) as (provider, clock):
        await provider.deploy(spec())
        for _ in range(4):
            await clock.advance(61.05)
            assert (await only(provider)).state == "backoff"
            await clock.advance(0.06)
            assert (await only(provider)).state == "ready"


async def test_a_replica_that_crashes_once_recovers() -> None:
    async with started(lambda spec: Script(crash_after=1, crashes=1)) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(100)
        replica = await only(provider)
        assert (replica.state, replica.restarts, replica.reason) == ("ready", 1, "")


async def test_an_update_starts_the_new_before_it_drains_the_old() -> None:
    async with started(lambda spec: Script(start_delay=2)) as (provider, clock):
        await provider.deploy(spec("1"))
        await clock.advance(2.1)
        (old,) = (await view(provider)).endpoints
        await provider.update(spec("2"))
        await clock.advance(1.9)
        assert (await view(provider)).endpoints == (old,)
        await clock.advance(0.2)
        function = await view(provider)
        assert [replica.state for replica in function.replicas] == ["draining", "ready"]
        assert old not in function.endpoints
        await clock.advance(0.3)
        assert [replica.state for replica in (await view(provider)).replicas] == ["ready"]


async def test_the_old_replica_stops_only_after_the_routes_have_settled() -> None:
    async with started(lambda spec: Script(stop_delay=10)) as (provider, clock):
        await provider.deploy(spec("1"))
        await clock.advance(0.1)
        entry = next(iter(provider.runtime._live.values()))
        await provider.update(spec("2"))
        await clock.advance(0.1)
        assert [replica.state for replica in (await view(provider)).replicas] == ["draining", "ready"]
        assert not entry.stopping
        await clock.advance(0.15)
        assert entry.stopping


async def test_a_failed_update_keeps_the_old_serving_and_says_why() -> None:
    bad = Script(crash_after=0.5, never_ready=True, crash_reason="exit code 2: bad flag")
    async with started(lambda spec: bad if spec.env_vars["V"] == "2" else Script()) as (provider, clock):
        await provider.deploy(spec("1"))
        await clock.advance(0.1)
        before = (await view(provider)).endpoints
        await provider.update(spec("2"))
        await clock.advance(600)
        function = await view(provider)
        assert function.endpoints == before
        assert function.spec.env_vars["V"] == "2"
        failed = function.replicas[1]
        assert failed.restarts > 5
        assert failed.reason in ("exit code 2: bad flag", "scripted never to become ready")
        await provider.update(spec("3"))
        await clock.advance(1)
        function = await view(provider)
        assert len(function.replicas) == 1 and function.endpoints and function.endpoints != before


async def test_an_old_replica_that_crashes_during_a_failed_update_is_restarted() -> None:
    bad = Script(never_ready=True)
    async with started(lambda spec: bad if spec.env_vars["V"] == "2" else Script()) as (provider, clock):
        await provider.deploy(spec("1"))
        await clock.advance(0.1)
        await provider.update(spec("2"))
        provider.runtime.crash(provider.runtime.starts[0].token)
        await clock.advance(1)
        function = await view(provider)
        assert function.available == 1
        assert provider.runtime.starts[-1].spec.env_vars["V"] == "1"


async def test_an_update_at_zero_replicas_starts_nothing() -> None:
    async with started(lambda spec: Script()) as (provider, clock):
        await provider.deploy(spec("1", **{"com.openfaas.scale.min": "0"}))
        await provider.update(spec("2"))
        await clock.advance(1)
        assert provider.runtime.starts == []


async def test_a_replica_that_does_not_drain_is_killed_after_its_grace() -> None:
    async with started(lambda spec: Script(stop_delay=1000)) as (provider, clock):
        await provider.deploy(FunctionSpec(name="f", env_process="cat", env_vars={"write_timeout": "5"}))
        await clock.advance(0.1)
        await provider.scale("f", NS, 0)
        await clock.advance(5.1)
        assert (await only(provider)).state == "draining"
        await clock.advance(0.2)
        assert (await view(provider)).replicas == ()


async def test_scaling_down_ends_those_first_that_do_not_serve() -> None:
    async with started(lambda spec: Script()) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(0.1)
        (ready,) = (await view(provider)).endpoints
        provider.runtime._script = lambda spec: Script(never_ready=True)
        await provider.scale("f", NS, 3)
        await clock.advance(1)
        await provider.scale("f", NS, 1)
        await clock.advance(1)
        assert (await view(provider)).endpoints == (ready,)
        assert len((await view(provider)).replicas) == 1


async def test_scaling_to_zero_and_back_while_draining_starts_a_new_replica() -> None:
    async with started(lambda spec: Script(stop_delay=10)) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(0.1)
        await provider.scale("f", NS, 0)
        await clock.advance(1)
        await provider.scale("f", NS, 1)
        await clock.advance(1)
        assert [replica.state for replica in (await view(provider)).replicas] == ["draining", "ready"]


async def test_a_probe_that_ignores_its_cancellation_changes_nothing() -> None:
    async with started(lambda spec: Script(stop_delay=5)) as (provider, clock):
        asked = asyncio.Event()

        async def stubborn(address: str, check: Check) -> bool | str:
            asked.set()
            with contextlib.suppress(asyncio.CancelledError):
                await clock.sleep(100)
            return True

        provider._crew.probe = stubborn
        await provider.deploy(spec())
        await asyncio.wait_for(asked.wait(), 60)
        await provider.scale("f", NS, 0)
        await clock.advance(1)
        assert all(replica.state == "draining" for replica in (await view(provider)).replicas)
        await clock.advance(10)
        assert (await view(provider)).replicas == ()


PULLS = Script(address_after=5, waits_for="pulling alpine: 40 %")


async def test_a_replica_without_an_address_says_what_it_waits_for_and_is_asked_once_it_has_one() -> None:
    async with started(lambda spec: PULLS) as (provider, clock):
        await provider.deploy(spec())
        replica = await only(provider)
        assert (replica.state, replica.address, replica.reason) == ("starting", "", "it has no address yet")
        await clock.advance(4.9)
        replica = await only(provider)
        assert (replica.state, replica.address, replica.reason) == ("starting", "", "pulling alpine: 40 %")
        await clock.advance(0.2)
        replica = await only(provider)
        assert (replica.state, replica.reason) == ("ready", "")
        assert (await view(provider)).endpoints == (replica.address,) != ("",)


async def test_what_a_replica_waits_for_is_told_to_watchers() -> None:
    async with started(lambda spec: PULLS) as (provider, clock):
        watch = provider.watch()
        await anext(watch)
        await provider.deploy(spec())
        await anext(watch)
        await clock.advance(0.1)
        event = await asyncio.wait_for(anext(watch), 60)
        assert event.function and event.function.replicas[0].reason == "pulling alpine: 40 %"


async def test_a_replica_without_an_address_is_stopped_when_it_is_wanted_no_more() -> None:
    async with started(lambda spec: PULLS) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(1)
        await provider.scale("f", NS, 0)
        assert (await only(provider)).state == "draining"
        await clock.advance(0.01)
        assert (await view(provider)).replicas == ()
        assert not provider.runtime._live


async def test_a_start_that_fails_before_there_is_an_address_backs_off() -> None:
    async with started(lambda spec: PULLS) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(1)
        provider.runtime.crash(provider.runtime.starts[0].token, "no such image: alpine")
        await clock.advance(0.05)
        replica = await only(provider)
        assert (replica.state, replica.reason) == ("backoff", "no such image: alpine")
        await provider.scale("f", NS, 0)
        assert (await view(provider)).replicas == ()


async def test_a_replica_that_moves_is_asked_at_its_new_address() -> None:
    async with started(lambda spec: Script()) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(0.1)
        token = provider.runtime.starts[0].token
        provider.addressed(token, "10.0.0.7:8080")
        assert (await view(provider)).endpoints == ()
        provider.runtime._live[token].address = "10.0.0.7:8080"
        await clock.advance(0.1)
        assert (await view(provider)).endpoints == ("10.0.0.7:8080",)


async def test_a_replica_that_lost_its_address_is_asked_at_none_until_it_has_another() -> None:
    async with started(lambda spec: Script(never_ready=True)) as (provider, clock):
        await provider.deploy(spec())
        token = provider.runtime.starts[0].token
        provider.addressed(token, "")
        asked = 0

        async def probe(address: str, check: Check) -> bool | str:
            nonlocal asked
            asked += 1
            return address == "10.0.0.7:8080"

        provider._crew.probe = probe
        await clock.advance(5)
        replica = await only(provider)
        assert (replica.state, replica.address, replica.reason, asked) == ("starting", "", "it has no address yet", 0)
        provider.addressed(token, "10.0.0.7:8080")
        await clock.advance(0.1)
        assert (await view(provider)).endpoints == ("10.0.0.7:8080",)


async def test_only_the_replicas_of_a_function_at_zero_are_laid_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(lambda spec: Script()) as (provider, clock):
        rested: list[str] = []
        monkeypatch.setattr(provider.runtime, "rest", rested.append)
        await provider.deploy(spec(**{"com.openfaas.scale.min": "2"}))
        await provider.scale("f", NS, 1)
        await clock.advance(1)
        await provider.update(spec("2"))
        await clock.advance(1)
        assert rested == []
        await provider.scale("f", NS, 0)
        await clock.advance(1)
        assert rested == [provider.runtime.starts[-1].token]
