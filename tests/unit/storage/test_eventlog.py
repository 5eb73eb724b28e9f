from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.storage import eventlog
from penstock.storage.eventlog import KEEP_DONE, Counts, Delivery, EventLog, Seen
from tests.unit.storage.support import event


def delivery(identity: str, function: str = "f.ns") -> Delivery:
    return Delivery(identity, function, event(f"{identity}.jpg"))


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    opened = EventLog(tmp_path / "events.db")
    await opened.open()
    yield opened
    await opened.close()


async def ids(log: EventLog, now: float = 1e12, limit: int = 100) -> list[str]:
    return [one.id for one in await log.due(now, limit, (), ())]


async def test_what_was_accepted_is_due_at_once_and_survives(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    await log.open()
    assert await log.accept([delivery("a"), delivery("b")], 10.0) == 2
    await log.close()
    again = EventLog(tmp_path / "events.db")
    await again.open()
    assert again.counts == Counts(pending=2, dead=0)
    [first, _] = await again.due(10.0, 10, (), ())
    assert first == delivery("a")._replace(accepted=10.0, ended=10.0)
    await again.close()


async def test_what_is_known_is_not_accepted_again_whatever_became_of_it(log: EventLog) -> None:
    await log.accept([delivery("waiting"), delivery("done"), delivery("dead")], 0.0)
    await log.delivered("done", 1.0)
    await log.give_up("dead", 1, 1.0, "why")
    assert await log.accept([delivery("waiting"), delivery("done"), delivery("dead"), delivery("new")], 2.0) == 1
    assert log.counts == Counts(pending=2, dead=1)
    assert await ids(log) == ["waiting", "new"]


async def test_those_in_progress_and_those_of_full_functions_are_left_out(log: EventLog) -> None:
    await log.accept([delivery("a"), delivery("b", "g.ns"), delivery("c")], 0.0)
    assert [one.id for one in await log.due(0.0, 10, ["a"], ["g.ns"])] == ["c"]
    assert await ids(log, limit=1) == ["a"]


async def test_what_was_put_off_is_due_later_with_its_attempts_and_its_reason(log: EventLog) -> None:
    await log.accept([delivery("a")], 0.0)
    await log.put_off("a", 1, 5.0, "503: busy")
    assert await ids(log, now=4.9) == []
    assert await log.next_due(4.9) == 5.0
    [one] = await log.due(5.0, 1, (), ())
    assert (one.attempts, one.reason) == (1, "503: busy")
    assert await log.next_due(5.0) is None


async def test_a_clock_that_was_set_back_delays_nothing_for_long(log: EventLog) -> None:
    await log.accept([delivery("a")], 1e9)
    await log.hasten(100.0)
    assert await ids(log, now=100.0) == ["a"]


async def test_those_given_up_are_listed_the_latest_first_and_can_be_made_again(log: EventLog) -> None:
    await log.accept([delivery("a"), delivery("b")], 0.0)
    await log.give_up("a", 10, 1.0, "500: broken")
    await log.give_up("b", 1, 2.0, "400: bad")
    assert [(one.id, one.attempts, one.reason, one.ended) for one in await log.dead(10)] == [
        ("b", 1, "400: bad", 2.0),
        ("a", 10, "500: broken", 1.0),
    ]
    assert [one.id for one in await log.dead(1)] == ["b"]
    assert await log.revive(3.0) == 2
    assert log.counts == Counts(pending=2, dead=0)
    assert [one.attempts for one in await log.due(3.0, 10, (), ())] == [0, 0]


async def test_what_is_over_is_forgotten_after_a_day(log: EventLog) -> None:
    await log.accept([delivery("a"), delivery("waiting")], 0.0)
    await log.delivered("a", 10.0)
    await log.forget(10.0 + KEEP_DONE)
    assert await log.accept([delivery("a")], 20.0) == 0
    await log.forget(10.1 + KEEP_DONE)
    assert await log.accept([delivery("a"), delivery("waiting")], 30.0) == 1


async def test_of_too_many_given_up_the_oldest_make_room(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventlog, "MOST_DEAD", 2)
    await log.accept([delivery(name) for name in "abcd"], 0.0)
    for number, name in enumerate("abcd"):
        await log.give_up(name, 1, float(number), "why")
    assert await log.forget(100.0) == 2
    assert [one.id for one in await log.dead(10)] == ["d", "c"]
    assert log.counts == Counts(pending=0, dead=2)


async def test_an_end_that_comes_twice_counts_once(log: EventLog) -> None:
    await log.accept([delivery("a")], 0.0)
    await log.delivered("a", 1.0)
    await log.delivered("a", 1.0)
    await log.give_up("a", 1, 1.0, "why")
    assert log.counts == Counts(0, 0)


async def test_what_a_look_has_found_is_noted_with_its_deliveries(log: EventLog) -> None:
    assert not await log.looked("photos")
    assert await log.note("photos", [Seen("a", "1"), Seen("b", "1")], [], [delivery("x")], 0.0) == 1
    assert await log.note("photos", [Seen("b", "2")], ["a"], [], 0.0) == 0
    await log.note("other", [Seen("c", "1")], [], [], 0.0)
    await log.finish_look("photos")
    assert await log.looked("photos")
    assert not await log.looked("other")
    assert await log.seen("photos", "", None, 10) == [Seen("b", "2")]
    assert log.counts.pending == 1


async def test_what_was_seen_is_read_in_order_of_keys_and_in_part(log: EventLog) -> None:
    keys = ["B", "a", "a/b", "a0", "z", "é", "日", "\U0001f600"]
    await log.note("photos", [Seen(key, "1") for key in reversed(keys)], [], [], 0.0)
    assert [one.key for one in await log.seen("photos", "", None, 100)] == sorted(keys)
    assert [one.key for one in await log.seen("photos", "a", "z", 100)] == ["a/b", "a0", "z"]
    assert [one.key for one in await log.seen("photos", "a", None, 1)] == ["a/b"]
