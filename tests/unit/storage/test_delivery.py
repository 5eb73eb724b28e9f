"""At least once, later and later, and not for ever. Time stands still but where a test lets it pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.database import DatabaseUnavailable
from penstock.storage.delivery import LONGEST_PAUSE, LONGEST_WISH, OPEN_EVERY, Limits, Outcome, Submitted, pause_after
from penstock.storage.eventlog import Counts, EventLog
from tests.unit.storage.support import Deliveries, ScriptedCaller, by_key, event, function

BROKEN = Outcome(500, "500: broken")
KEY = "f.openfaas-fn"


def failures(one: Deliveries, number: int) -> Callable[[], bool]:
    return lambda: one.deliverer.outcomes[KEY, "failed"] == number


def calls_of(caller: ScriptedCaller, number: int) -> Callable[[], bool]:
    return lambda: len(caller.calls) == number


async def test_a_function_is_told_of_an_object_that_came(tmp_path: Path) -> None:
    functions = by_key(function("f", output="s3://out/{stem}.png"))
    async with Deliveries(tmp_path, functions, ScriptedCaller()) as one:
        assert await one.deliverer.submit([event("in/a b+é.jpg")]) == Submitted(1, 0, 0)
        await one.until(lambda: one.deliverer.outcomes[KEY, "delivered"] == 1)
        [(called, headers)] = one.caller.calls
        assert called == KEY
        assert headers == {
            "X-Call-Id": headers["X-Call-Id"],
            "X-Event-Name": "s3:ObjectCreated:Put",
            "X-Object-Bucket": "photos",
            "X-Object-Key": "in/a%20b%2B%C3%A9.jpg",
            "X-Object-ETag": "e1",
            "X-Object-Size": "3",
            "X-Input-Object": "s3://photos/in/a%20b+%C3%A9.jpg",
            "X-Output-Object": "s3://out/a%20b+%C3%A9.png",
        }
        assert one.log.counts == Counts(0, 0)


async def test_of_an_object_that_went_there_is_no_input_and_no_output(tmp_path: Path) -> None:
    functions = by_key(function("f", output="s3://out/{key}", events="removed"))
    async with Deliveries(tmp_path, functions, ScriptedCaller()) as one:
        await one.deliverer.submit([event(kind="removed")])
        await one.until(lambda: one.deliverer.outcomes[KEY, "delivered"] == 1)
        [(_, headers)] = one.caller.calls
        assert headers["X-Event-Name"] == "s3:ObjectRemoved:Delete"
        assert not {"X-Input-Object", "X-Output-Object"} & set(headers)


async def test_each_function_that_subscribes_is_told(tmp_path: Path) -> None:
    async with Deliveries(tmp_path, by_key(function("f"), function("g")), ScriptedCaller()) as one:
        assert await one.deliverer.submit([event()]) == Submitted(2, 0, 0)
        await one.until(lambda: one.deliverer.outcomes.total() == 2)
        assert {called for called, _ in one.caller.calls} == {"f.openfaas-fn", "g.openfaas-fn"}
        assert len(set(one.caller.ids)) == 2


async def test_what_nobody_wants_and_what_the_settings_do_not_allow_is_dropped(tmp_path: Path) -> None:
    functions = by_key(function("f", "s3:photos,s3:forbidden"))
    async with Deliveries(tmp_path, functions, ScriptedCaller()) as one:
        submitted = await one.deliverer.submit([event(bucket="out"), event(bucket="forbidden")])
        assert submitted == Submitted(0, 0, 2)
        assert one.deliverer.events["unmatched"] == 2
        assert one.log.counts == Counts(0, 0)


async def test_an_event_that_a_store_tells_twice_is_delivered_once(tmp_path: Path) -> None:
    async with Deliveries(tmp_path, by_key(function("f")), ScriptedCaller()) as one:
        await one.deliverer.submit([event()])
        await one.until(lambda: one.deliverer.outcomes[KEY, "delivered"] == 1)
        assert await one.deliverer.submit([event()]) == Submitted(0, 1, 0)
        await one.at_rest()
        assert len(one.caller.calls) == 1


async def test_a_failed_one_is_made_again_later_with_the_same_call_id(tmp_path: Path) -> None:
    async with Deliveries(tmp_path, by_key(function("f")), ScriptedCaller(BROKEN, Outcome(0, "cut"))) as one:
        await one.deliverer.submit([event()])
        for attempts, pause in ((1, 1.0), (2, 2.0)):
            await one.until(failures(one, attempts))
            await one.at_rest()
            await one.clock.advance(pause - 0.1)
            await one.at_rest()
            assert len(one.caller.calls) == attempts
            await one.clock.advance(0.2)
        await one.until(lambda: one.deliverer.outcomes[KEY, "delivered"] == 1)
        assert len(set(one.caller.ids)) == 1
        assert one.log.counts == Counts(0, 0)


async def test_after_its_attempts_it_is_given_up_logged_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caller = ScriptedCaller(*[Outcome(500, "500: \x1b[2J")] * 3)
    async with Deliveries(tmp_path, by_key(function("f")), caller, Limits(attempts=3)) as one:
        await one.deliverer.submit([event()])
        for attempts in (1, 2):
            await one.until(failures(one, attempts))
            await one.at_rest()
            await one.clock.advance(LONGEST_PAUSE)
        await one.until(lambda: one.deliverer.outcomes[KEY, "dead"] == 1)
        assert one.log.counts == Counts(0, 1)
        [dead] = await one.log.dead(10)
        assert (dead.attempts, dead.function, dead.event) == (3, KEY, event())
        assert "s3://photos/a.jpg" in caplog.text
        assert "\x1b" not in caplog.text


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_an_answer_that_blames_the_request_ends_it_at_once(tmp_path: Path, status: int) -> None:
    async with Deliveries(tmp_path, by_key(function("f")), ScriptedCaller(Outcome(status, "no"))) as one:
        await one.deliverer.submit([event()])
        await one.until(lambda: one.deliverer.outcomes[KEY, "dead"] == 1)
        assert len(one.caller.calls) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 429, 500, 502, 503, 504])
async def test_an_answer_that_may_change_is_waited_for(tmp_path: Path, status: int) -> None:
    async with Deliveries(tmp_path, by_key(function("f")), ScriptedCaller(Outcome(status, "later"))) as one:
        await one.deliverer.submit([event()])
        await one.until(lambda: one.deliverer.outcomes[KEY, "failed"] == 1)
        assert one.log.counts == Counts(1, 0)


async def test_a_gateway_that_is_away_costs_no_attempt(tmp_path: Path) -> None:
    away = Outcome(0, "no gateway worker answers", reached=False)
    caller = ScriptedCaller(*[away] * 5)
    async with Deliveries(tmp_path, by_key(function("f")), caller, Limits(attempts=1)) as one:
        await one.deliverer.submit([event()])
        for calls in range(1, 6):
            await one.until(calls_of(caller, calls))
            await one.at_rest()
            await one.clock.advance(1.1)
        await one.until(lambda: one.deliverer.outcomes[KEY, "delivered"] == 1)
        assert one.deliverer.outcomes[KEY, "failed"] == 0


async def test_a_function_that_is_gone_is_waited_for_and_not_called(tmp_path: Path) -> None:
    functions = by_key(function("f"))
    caller = ScriptedCaller(BROKEN)
    async with Deliveries(tmp_path, functions, caller) as one:
        await one.deliverer.submit([event()])
        await one.until(lambda: one.deliverer.outcomes[KEY, "failed"] == 1)
        kept = functions.pop(KEY)
        await one.at_rest()
        await one.clock.advance(1.1)
        await one.until(lambda: one.deliverer.outcomes[KEY, "failed"] == 2)
        assert len(caller.calls) == 1
        functions[KEY] = kept
        await one.at_rest()
        await one.clock.advance(2.1)
        await one.until(lambda: one.deliverer.outcomes[KEY, "delivered"] == 1)


async def test_a_function_that_would_call_itself_with_its_output_is_not_called(tmp_path: Path) -> None:
    functions = by_key(function("f", "s3:photos", output="s3://photos/{key}.again"))
    async with Deliveries(tmp_path, functions, ScriptedCaller()) as one:
        await one.deliverer.submit([event()])
        await one.until(lambda: one.deliverer.outcomes[KEY, "dead"] == 1)
        [dead] = await one.log.dead(1)
        assert "would call itself" in dead.reason
        assert one.caller.calls == []


@pytest.mark.parametrize("key", ["k" * 1020, "a/b"])
async def test_an_output_that_cannot_be_is_given_up(tmp_path: Path, key: str) -> None:
    functions = by_key(function("f", output="s3://out/{key}/../{etag}"))
    async with Deliveries(tmp_path, functions, ScriptedCaller()) as one:
        await one.deliverer.submit([event(key)])
        await one.until(lambda: one.deliverer.outcomes[KEY, "dead"] == 1)
        assert one.caller.calls == []


async def test_only_so_many_are_in_progress_and_one_function_leaves_room_for_others(tmp_path: Path) -> None:
    caller = ScriptedCaller()
    caller.go.clear()
    functions = by_key(function("slow", "s3:photos::.jpg"), function("other", "s3:photos::.png"))
    async with Deliveries(tmp_path, functions, caller, Limits(in_flight=4)) as one:
        await one.deliverer.submit([event(f"{number}.jpg") for number in range(20)])
        await one.until(lambda: len(caller.calls) == 3)
        await one.deliverer.submit([event(f"{number}.png") for number in range(20)])
        await one.until(lambda: len(caller.calls) == 4)
        assert [called for called, _ in caller.calls] == ["slow.openfaas-fn"] * 3 + ["other.openfaas-fn"]
        assert one.deliverer.in_flight == 4
        caller.go.set()
        await one.until(lambda: one.deliverer.outcomes.total() == 40)
        assert len(set(caller.ids)) == 40


async def test_what_was_in_progress_at_the_end_is_made_again_by_the_next_with_the_same_call_id(tmp_path: Path) -> None:
    functions, caller = by_key(function("f")), ScriptedCaller()
    caller.go.clear()
    async with Deliveries(tmp_path, functions, caller) as one:
        await one.deliverer.submit([event()])
        await one.until(lambda: len(caller.calls) == 1)
    assert caller.cancelled == 1
    async with Deliveries(tmp_path, functions, ScriptedCaller()) as again:
        await again.until(lambda: again.deliverer.outcomes[KEY, "delivered"] == 1)
        assert again.caller.ids == caller.ids


async def test_another_process_that_has_the_log_is_waited_for(tmp_path: Path) -> None:
    other = EventLog(tmp_path / "events.db")
    await other.open()
    waiting = Deliveries(tmp_path, by_key(function("f")), ScriptedCaller())
    running = asyncio.create_task(waiting.deliverer.run())
    await waiting.until(lambda: waiting.clock.sleepers == 1)
    assert not waiting.deliverer.is_open
    with pytest.raises(DatabaseUnavailable):
        await waiting.deliverer.submit([event()])
    await other.close()
    await waiting.clock.advance(OPEN_EVERY)
    assert await waiting.deliverer.opened(60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_pauses_grow_and_a_wish_for_more_is_granted_within_reason() -> None:
    pauses = [pause_after(attempts, BROKEN) for attempts in range(1, 11)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert pause_after(1, Outcome(503, "", retry_after=30)) == 30
    assert pause_after(1, Outcome(503, "", retry_after=1e9)) == LONGEST_WISH
