"""Checks of ready replicas: what leaves the routes, what comes back, what is restarted, and that nobody else is asked."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from penstock.core.health import Check
from penstock.providers.memory import Script
from penstock.providers.runtimes.base import Running
from tests.unit.providers.scripted import NS, annotated, only, spec, started, view

HEALTH = "com.openfaas.health.http."
READY = "com.openfaas.ready.http."


class Answers:
    """What a function answers by path, to be changed by tests, and what it was asked."""

    def __init__(self, **wrong: str) -> None:
        self.wrong = {f"/{name}": why for name, why in wrong.items()}
        self.asked: list[str] = []

    def __call__(self, path: str) -> bool | str:
        self.asked.append(path)
        return self.wrong.get(path, True)

    def script(self, **fields: Any) -> Script:
        return Script(health=self, **fields)


async def test_nothing_is_asked_of_a_ready_replica_without_annotations() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({"topic": "x"}))
        await clock.advance(3600)
        assert answers.asked == ["/_/ready"]
        assert clock.sleepers == 0


async def test_the_annotated_path_decides_about_the_first_readiness() -> None:
    answers = Answers(warm="the model is being loaded")
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({READY + "path": "/warm"}))
        await clock.advance(5)
        replica = await only(provider)
        assert (replica.state, replica.reason) == ("starting", "the model is being loaded")
        answers.wrong.clear()
        await clock.advance(0.3)
        assert (await only(provider)).state == "ready"
        assert set(answers.asked) == {"/warm"}


async def test_the_health_path_decides_about_readiness_where_no_other_is_given() -> None:
    answers = Answers(healthz="connecting")
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({HEALTH + "path": "/healthz"}))
        await clock.advance(5)
        assert (await only(provider)).state == "starting"
        answers.wrong.clear()
        await clock.advance(0.3)
        assert (await only(provider)).state == "ready"


async def test_a_delay_holds_back_the_first_check() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({READY + "initialDelaySeconds": "30"}))
        await clock.advance(29.9)
        replica = await only(provider)
        assert (replica.state, replica.reason) == ("starting", "its first readiness check comes 30s after its start")
        assert answers.asked == []
        await clock.advance(0.2)
        assert (await only(provider)).state == "ready"


async def test_a_replica_found_again_does_not_wait_for_its_delay_a_second_time() -> None:
    answers = Answers()
    wanted = annotated({READY + "path": "/r", READY + "initialDelaySeconds": "30"})
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(wanted)
        await clock.advance(31)
        keeper, member = provider._crew.by_token[provider.runtime.starts[0].token]
        running = Running(
            token=member.token,
            replica=member.id,
            spec=wanted,
            generation=1,
            deployed="",
            restarts=0,
            address=member.address,
            started_at=clock.now() - timedelta(seconds=29),
        )
        member.cancel_tasks()
        keeper.adopt(running)
        assert (await only(provider)).state == "starting"
        await clock.advance(1.1)
        assert (await only(provider)).state == "ready"


async def test_several_successes_in_a_row_can_be_asked_for() -> None:
    answers = Answers()
    wanted = {READY + "path": "/r", READY + "successThreshold": "3", READY + "periodSeconds": "10"}
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated(wanted))
        await clock.advance(19)
        assert (await only(provider)).state == "starting" and len(answers.asked) == 2
        await clock.advance(2)
        assert (await only(provider)).state == "ready"


async def test_a_replica_that_is_not_ready_leaves_the_routes_and_comes_back() -> None:
    answers = Answers()
    wanted = {READY + "path": "/r", READY + "periodSeconds": "5", READY + "failureThreshold": "2"}
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated(wanted))
        await clock.advance(0.1)
        (address,) = (await view(provider)).endpoints
        answers.wrong["/r"] = "the database is away"
        await clock.advance(5)
        assert (await view(provider)).endpoints == (address,), "one bad answer is not enough"
        await clock.advance(5)
        replica = await only(provider)
        assert (replica.state, replica.reason) == ("starting", "its readiness check fails: the database is away")
        answers.wrong["/r"] = "the database is waking"
        await clock.advance(5)
        assert (await only(provider)).reason == "its readiness check fails: the database is waking"
        answers.wrong.clear()
        await clock.advance(5)
        replica = await only(provider)
        assert (replica.state, replica.reason, replica.restarts) == ("ready", "", 0)
        assert (await view(provider)).endpoints == (address,)


async def test_watchers_hear_that_a_replica_leaves_the_routes_with_the_reason() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({READY + "path": "/r", READY + "failureThreshold": "1"}))
        await clock.advance(0.1)
        watch = provider.watch()
        assert (await anext(watch)).kind == "changed" and (await anext(watch)).kind == "synced"
        answers.wrong["/r"] = "away"
        await clock.advance(2)
        event = await asyncio.wait_for(anext(watch), 60)
        assert event.function and event.function.replicas[0].reason == "its readiness check fails: away"


async def test_one_good_answer_between_bad_ones_starts_the_count_anew() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({READY + "path": "/r", READY + "periodSeconds": "1"}))
        await clock.advance(0.1)
        for _ in range(5):
            answers.wrong["/r"] = "hiccup"
            await clock.advance(2)
            answers.wrong.clear()
            await clock.advance(1)
            assert (await only(provider)).state == "ready"


async def test_a_replica_that_lives_no_more_is_restarted_with_the_reason() -> None:
    answers = Answers()
    wanted = {HEALTH + "path": "/l", HEALTH + "periodSeconds": "10", HEALTH + "failureThreshold": "2"}
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated(wanted))
        await clock.advance(0.1)
        before = await only(provider)
        answers.wrong["/l"] = "deadlock"
        await clock.advance(10)
        assert (await only(provider)).state == "ready"
        await clock.advance(10)
        replica = await only(provider)
        assert (replica.state, replica.reason) == ("backoff", "its health check failed 2 times in a row: deadlock")
        assert (await view(provider)).endpoints == ()
        await clock.advance(0.15)
        replica = await only(provider)
        assert (replica.state, replica.reason) == ("backoff", "its health check failed 2 times in a row: deadlock")
        answers.wrong.clear()
        await clock.advance(0.2)
        replica = await only(provider)
        assert (replica.id, replica.state, replica.restarts) == (before.id, "ready", 1)
        assert replica.address != before.address


async def test_it_is_ended_only_after_the_routes_have_settled() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({HEALTH + "path": "/l", HEALTH + "failureThreshold": "1"}))
        await clock.advance(0.1)
        entry = next(iter(provider.runtime._live.values()))
        answers.wrong["/l"] = "deadlock"
        await clock.advance(2)
        assert (await view(provider)).endpoints == () and not entry.stopping
        await clock.advance(0.15)
        assert entry.stopping


async def test_other_replicas_keep_serving_while_one_is_restarted() -> None:
    ill: set[str] = set()
    async with started(lambda spec: Script()) as (provider, clock):

        async def probe(address: str, check: Check) -> bool | str:
            return "deadlock" if address in ill else True

        provider._crew.probe = probe
        await provider.deploy(annotated({HEALTH + "path": "/l"}, replicas="3"))
        await clock.advance(0.1)
        first, second, third = (await view(provider)).endpoints
        ill.add(second)
        await clock.advance(6)
        assert (await view(provider)).endpoints == (first, third)
        await clock.advance(1)
        function = await view(provider)
        assert function.available == 3 and {first, third} < set(function.endpoints)
        assert [replica.restarts for replica in function.replicas] == [0, 1, 0]


async def test_a_replica_that_never_lives_backs_off_longer_each_time() -> None:
    answers = Answers(l="deadlock")
    wanted = {HEALTH + "path": "/l", HEALTH + "failureThreshold": "1", READY + "path": "/r"}
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated(wanted))
        await clock.advance(200)
        restarts = (await only(provider)).restarts
        assert 8 <= restarts <= 14, "some 90 without a pause that grows"
        answers.wrong.clear()
        await clock.advance(40)
        assert (await only(provider)).state == "ready"


async def test_liveness_waits_for_its_delay_counted_from_the_start() -> None:
    answers = Answers(l="deadlock")
    wanted = {HEALTH + "path": "/l", HEALTH + "initialDelaySeconds": "60", HEALTH + "failureThreshold": "1"}
    async with started(lambda spec: answers.script(start_delay=20)) as (provider, clock):
        await provider.deploy(annotated({**wanted, READY + "path": "/r"}))
        await clock.advance(59.9)
        assert (await only(provider)).state == "ready" and "/l" not in answers.asked
        await clock.advance(0.2)
        assert (await only(provider)).state == "backoff"


async def test_a_slow_start_is_not_ended_by_the_liveness_check() -> None:
    answers = Answers(l="still starting", r="still starting")
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({HEALTH + "path": "/l", READY + "path": "/r"}))
        await clock.advance(600)
        replica = await only(provider)
        assert (replica.state, replica.restarts) == ("starting", 0)
        assert "/l" not in answers.asked


async def test_a_replica_out_of_the_routes_is_still_restarted_when_it_lives_no_more() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({HEALTH + "path": "/l", READY + "path": "/r"}))
        await clock.advance(0.1)
        answers.wrong["/r"] = "busy"
        await clock.advance(10)
        assert (await only(provider)).state == "starting"
        answers.wrong["/l"] = "deadlock"
        await clock.advance(6.5)
        assert (await only(provider)).restarts == 1
        answers.wrong.clear()
        await clock.advance(1)
        assert (await only(provider)).state == "ready"


@pytest.mark.parametrize("annotation", [HEALTH + "path", READY + "path"])
async def test_nothing_is_asked_after_the_function_is_scaled_to_zero(annotation: str) -> None:
    answers = Answers()
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({annotation: "/x"}))
        await clock.advance(10)
        await provider.scale("f", NS, 0)
        await clock.advance(1)
        asked = len(answers.asked)
        await clock.advance(100)
        assert len(answers.asked) == asked
        assert clock.sleepers == 0


async def test_a_replica_that_is_being_ended_can_be_scaled_away() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script(stop_delay=1000)) as (provider, clock):
        await provider.deploy(annotated({HEALTH + "path": "/l", HEALTH + "failureThreshold": "1"}))
        await clock.advance(0.1)
        answers.wrong["/l"] = "deadlock"
        await clock.advance(2.05)
        assert (await only(provider)).state == "backoff"
        await provider.scale("f", NS, 0)
        await clock.advance(0.1)
        assert (await view(provider)).replicas == ()


async def test_an_update_takes_the_annotations_of_the_new_specification() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script()) as (provider, clock):
        await provider.deploy(annotated({HEALTH + "path": "/old"}, "1"))
        await clock.advance(10)
        await provider.update(annotated({HEALTH + "path": "/new"}, "2"))
        await clock.advance(1)
        answers.asked.clear()
        await clock.advance(10)
        assert set(answers.asked) == {"/new"}


async def test_an_image_as_it_is_is_asked_what_its_runtime_says() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script(check=Check(path="/_/health"))) as (provider, clock):
        await provider.deploy(spec())
        await clock.advance(1)
        assert answers.asked == ["/_/health"]


async def test_a_replica_that_only_tells_why_it_cannot_serve_is_not_taken_for_ready() -> None:
    answers = Answers()
    async with started(lambda spec: answers.script(start_delay=1)) as (provider, clock):
        await provider.deploy(annotated({READY + "path": "/_/health"}))
        await clock.advance(0.1)
        provider.broken(provider.runtime.starts[0].token, "ImportError: no module named x")
        await clock.advance(10)
        replica = await only(provider)
        assert (replica.state, replica.reason) == ("failed", "ImportError: no module named x")


async def test_a_check_that_ignores_its_cancellation_changes_nothing() -> None:
    async with started(lambda spec: Script(stop_delay=5)) as (provider, clock):
        await provider.deploy(annotated({HEALTH + "path": "/l", READY + "path": "/r"}))
        await clock.advance(0.1)
        asked = asyncio.Event()

        async def stubborn(address: str, check: Check) -> bool | str:
            asked.set()
            with contextlib.suppress(asyncio.CancelledError):
                await clock.sleep(100)
            return "deadlock"

        provider._crew.probe = stubborn
        await clock.advance(2)
        await asyncio.wait_for(asked.wait(), 60)
        await provider.scale("f", NS, 0)
        await clock.advance(1)
        assert (await only(provider)).state == "draining"
        await clock.advance(10)
        assert (await view(provider)).replicas == ()
        assert clock.sleepers == 0
