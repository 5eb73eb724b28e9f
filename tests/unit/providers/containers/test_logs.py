"""A function's lines from several logs: what there is, what comes, and what breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.errors import ProviderUnavailable
from penstock.model import LogLine, LogQuery
from penstock.providers.containers import following, logs
from penstock.providers.containers.engine import EngineRefused
from penstock.providers.containers.following import Changes
from penstock.providers.containers.frames import SPLIT
from penstock.providers.containers.logs import function_lines, last_words
from penstock.providers.containers.logsource import Source, task_of
from tests.unit.providers.containers.scripted_logs import START, Part, ScriptedEngine, broken, frame, silence, stamp

A, B, SERVICE = "/containers/a/logs", "/containers/b/logs", "/services/s/logs"
DEADLINE = 60.0


def query(**fields: Any) -> LogQuery:
    return LogQuery(name="f", namespace="ns", **fields)


def source(path: str, alive: bool = True, quiet: float = 5.0) -> Source:
    return Source(path, path.split("/")[2], alive, quiet)


async def past(engine: ScriptedEngine, sources: list[Source], **fields: Any) -> list[LogLine]:
    return [line async for line in function_lines(engine, query(**fields), lambda: sources)]


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


# What there is


async def test_lines_of_all_sources_come_by_time_to_the_nanosecond() -> None:
    engine = ScriptedEngine(
        {A: [[frame(b"1\n", 1), frame(b"4\n", 900)]], B: [[frame(b"3\n", 3), frame(b"2\n", 2, stream=2)]]}
    )
    lines = await past(engine, [source(B), source(A)])
    assert [(line.text, line.instance) for line in lines] == [("1", "a"), ("2", "b"), ("3", "b"), ("4", "a")]
    assert {(line.name, line.namespace) for line in lines} == {("f", "ns")}


async def test_instance_asks_only_the_source_that_is_meant() -> None:
    engine = ScriptedEngine({A: [[frame(b"a\n")]], B: [[frame(b"b\n")]]})
    assert texts(await past(engine, [source(A), source(B)], instance="b")) == ["b"]
    assert [path for path, _ in engine.asked] == [B]


async def test_the_instance_of_a_services_line_is_found_in_its_attributes() -> None:
    details = "com.docker.swarm.node.id=n,com.docker.swarm.task.id=t%31,x=y+z"
    engine = ScriptedEngine({SERVICE: [[frame(b"hello world\n", details=details)]] * 2})
    [line] = await past(engine, [Source(SERVICE, task_of)])
    assert (line.instance, line.text) == ("t1", "hello world")
    assert engine.asked[0][1]["details"] == "1"
    assert await past(engine, [Source(SERVICE, task_of)], instance="t2") == []


async def test_since_is_asked_for_with_its_fraction_and_kept_to() -> None:
    engine = ScriptedEngine({A: [[frame(b"old\n", 249_999_999), frame(b"new\n", 250_000_001)]]})
    since = datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    assert texts(await past(engine, [source(A)], since=since)) == ["new"]
    assert engine.asked[0][1]["since"] == f"{START}.250000000"


async def test_a_time_before_1970_is_no_bound() -> None:
    engine = ScriptedEngine({A: [[frame(b"line\n")]]})
    assert texts(await past(engine, [source(A)], since=datetime(1, 1, 1, tzinfo=UTC))) == ["line"]
    assert engine.asked[0][1]["since"] is None


async def test_tail_is_of_all_sources_together() -> None:
    engine = ScriptedEngine({A: [[frame(b"1\n", 1), frame(b"3\n", 3)]], B: [[frame(b"2\n", 2), frame(b"4\n", 4)]]})
    assert texts(await past(engine, [source(A), source(B)], tail=3)) == ["2", "3", "4"]


async def test_tail_counts_lines_where_the_engine_counts_pieces() -> None:
    pieces = [frame(b"x" * SPLIT, 1)] * 9
    engine = ScriptedEngine({A: [[*pieces[:4]], [frame(b"0\n"), *pieces, frame(b"end\n", 2)]]})
    [first, last] = await past(engine, [source(A)], tail=2)
    assert (first.text, len(last.text)) == ("0", 9 * SPLIT + 3)
    assert [params["tail"] for _, params in engine.asked] == ["4", "16"]


async def test_a_tail_that_no_log_has_is_all() -> None:
    engine = ScriptedEngine({A: [[frame(b"line\n")]]})
    await past(engine, [source(A)], tail=10**17)
    assert engine.asked[0][1]["tail"] == "all"


async def test_a_source_that_hangs_or_is_gone_costs_no_line_of_the_others() -> None:
    hanging: list[Part] = [frame(b"before\n", 1), silence]
    engine = ScriptedEngine({A: [hanging], B: [[frame(b"fine\n", 2)]]})
    lines = await past(engine, [source(A, quiet=0.05), source(B), source("/containers/gone/logs")])
    assert texts(lines) == ["before", "fine"]


async def test_a_source_that_breaks_off_or_is_no_log_costs_no_line_of_the_others() -> None:
    engine = ScriptedEngine({A: [[frame(b"before\n", 1), broken()]], B: [[frame(b"fine\n", 2), b"\x01nonsense"]]})
    assert texts(await past(engine, [source(A), source(B)])) == ["before", "fine"]


async def test_an_engine_that_does_not_answer_at_all_is_no_empty_log() -> None:
    engine = ScriptedEngine({A: [[broken()]], B: [[broken()]]})
    with pytest.raises(ProviderUnavailable):
        await past(engine, [source(A), source(B)])


async def test_nothing_to_read_is_no_line() -> None:
    assert await past(ScriptedEngine(), []) == []
    assert await past(ScriptedEngine(), [source(A)]) == []


async def test_what_is_held_is_bounded_and_the_newest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "HELD", 100)
    engine = ScriptedEngine({A: [[frame(b"%030d\n" % number, number) for number in range(10)]]})
    assert [int(text) for text in texts(await past(engine, [source(A)]))] == [7, 8, 9]


# Last words


async def test_last_words_are_the_last_line_with_something_in_it() -> None:
    engine = ScriptedEngine({A: [[frame(b"Traceback\n"), frame(b"\x1b[31mKeyError\x07: 'x'\n"), frame(b" \n")]]})
    assert await last_words(engine, A) == "[31mKeyError : 'x'"


async def test_last_words_on_stderr_go_before_those_on_stdout() -> None:
    engine = ScriptedEngine({A: [[frame(b"died\n", 1, stream=2), frame(b"\n", 2, stream=2), frame(b"out\n", 3)]]})
    assert await last_words(engine, A) == "died"


async def test_last_words_without_line_end_are_heard_and_long_ones_are_cut() -> None:
    engine = ScriptedEngine({A: [[frame(b"y" * 2000)]]})
    assert await last_words(engine, A) == "y" * logs.LAST_WORDS_LENGTH


async def test_last_words_of_a_container_that_is_gone_silent_or_unreachable_are_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "LAST_WORDS_LIMIT", 0.05)
    engine = ScriptedEngine({A: [[silence]], B: [[broken()]]})
    assert [await last_words(engine, path) for path in (A, B, "/containers/gone/logs")] == ["", "", ""]


# What comes


class World:
    """A function with its sources, one who follows it, and a clock that does not wait."""

    def __init__(self, engine: ScriptedEngine, *sources: Source) -> None:
        self.engine = engine
        self.sources = {source.path: source for source in sources}
        self.deployed = True
        self.changes = Changes()
        self.sleeps = 0

    def change(self, *sources: Source) -> None:
        self.sources = {source.path: source for source in sources}
        self.changes.fire()

    def delete(self) -> None:
        self.deployed = False
        self.changes.fire()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await asyncio.sleep(0)

    def follow(self, **fields: Any) -> AsyncGenerator[LogLine, None]:
        wanted = query(follow=True, **fields)
        return function_lines(
            self.engine, wanted, lambda: list(self.sources.values()), lambda: self.deployed, self.changes, self
        )


async def take(stream: AsyncGenerator[LogLine, None], count: int) -> list[str]:
    async with asyncio.timeout(DEADLINE):
        return [(await anext(stream)).text for _ in range(count)]


async def rest(stream: AsyncGenerator[LogLine, None]) -> list[str]:
    async with asyncio.timeout(DEADLINE):
        return [line.text async for line in stream]


def when(condition: Callable[[], bool]) -> Callable[[], Any]:
    """A part of an answer that waits until something is so."""

    async def wait() -> None:
        while not condition():  # noqa: ASYNC110 - the conditions are of the scripted engine's, which tells nobody
            await asyncio.sleep(0)

    return wait


async def test_following_tells_what_there_was_then_what_comes_and_nothing_twice() -> None:
    old: list[Part] = [frame(b"1\n", 1), frame(b"2\n", 2, stream=2)]
    engine = ScriptedEngine({A: [[*old], [*old, frame(b"3\n", 3), silence]]})
    async with aclosing(World(engine, source(A)).follow()) as stream:
        assert await take(stream, 3) == ["1", "2", "3"]
    assert engine.closed == 2


async def test_lines_of_the_same_nanosecond_are_not_taken_for_one_another() -> None:
    engine = ScriptedEngine({A: [[frame(b"same\n", 1)] * 2, [*[frame(b"same\n", 1)] * 3, frame(b"end\n", 2), silence]]})
    async with aclosing(World(engine, source(A)).follow()) as stream:
        assert await take(stream, 4) == ["same", "same", "same", "end"]


async def test_a_tail_is_not_undone_by_reading_on() -> None:
    old: list[Part] = [frame(b"%d\n" % number, number, stream=1 + (number < 5)) for number in range(10)]
    engine = ScriptedEngine({A: [old[6:], [*old, frame(b"new\n", 20), silence]]})
    async with aclosing(World(engine, source(A)).follow(tail=2)) as stream:
        assert await take(stream, 3) == ["8", "9", "new"]


async def test_a_tail_is_kept_where_what_there_was_could_not_be_read() -> None:
    engine = ScriptedEngine({A: [[broken()], [frame(b"line\n"), silence]]})
    async with aclosing(World(engine, source(A)).follow(tail=2)) as stream:
        assert await take(stream, 1) == ["line"]
    assert engine.asked[-1][1]["tail"] == "2"


async def test_the_lines_of_a_replica_that_starts_later_are_followed_from_its_first() -> None:
    engine = ScriptedEngine({A: [[], [silence]], B: [[frame(b"early\n", 1), frame(b"late\n", 2), silence]]})
    world = World(engine, source(A))
    async with aclosing(world.follow(tail=1)) as stream:
        first = asyncio.ensure_future(take(stream, 2))
        await when(lambda: len(engine.asked) == 2)()
        world.change(source(A), source(B))
        assert await first == ["early", "late"]


async def test_a_replica_that_ends_is_read_to_its_end_and_no_further() -> None:
    engine = ScriptedEngine(
        {
            A: [[], [frame(b"1\n", 1)], [frame(b"1\n", 1), frame(b"last\n", 2)]],
            B: [[frame(b"b\n", 3), silence]],
        }
    )
    world = World(engine, source(A))
    async with aclosing(world.follow()) as stream:
        assert await take(stream, 1) == ["1"]
        world.change(source(A, alive=False))
        assert await take(stream, 1) == ["last"]
        for _ in range(3):
            world.change(source(A, alive=False), source(B))
        assert await take(stream, 1) == ["b"]
    assert sum(path == A and params["follow"] == "0" for path, params in engine.asked if "follow" in params) == 1


async def test_a_replica_that_is_started_again_is_followed_again() -> None:
    engine = ScriptedEngine(
        {A: [[frame(b"1\n", 1)], [frame(b"1\n", 1)], [frame(b"1\n", 1), frame(b"2\n", 2), silence]]}
    )
    world = World(engine, source(A, alive=False))
    async with aclosing(world.follow()) as stream:
        assert await take(stream, 1) == ["1"]
        second = asyncio.ensure_future(take(stream, 1))
        await when(lambda: engine.closed == 2)()
        world.change(source(A))
        assert await second == ["2"]


async def test_a_stream_that_breaks_is_read_on_where_it_broke() -> None:
    long: list[Part] = [frame(b"x" * SPLIT, 3_000_000_000), frame(b"end\n", 3_000_000_000)]
    engine = ScriptedEngine(
        {
            A: [
                [],
                [frame(b"1\n", 1), frame(b"2\n", 2_000_000_002), long[0], broken()],
                [broken()],
                [frame(b"2\n", 2_000_000_002), *long, silence],
            ]
        }
    )
    async with aclosing(World(engine, source(A)).follow()) as stream:
        assert [text[-3:] for text in await take(stream, 3)] == ["1", "2", "end"]
    assert engine.asked[-1][1]["since"] == f"{START + 1}.000000002"


async def test_a_stream_that_is_no_log_is_tried_again_slower_and_slower() -> None:
    nonsense: list[Part] = [b"\x01nonsense"]
    engine = ScriptedEngine({A: [[], *[nonsense] * 5, [frame(b"line\n"), silence]]})
    world = World(engine, source(A))
    async with aclosing(world.follow()) as stream:
        assert await take(stream, 1) == ["line"]
    assert world.sleeps == 5


async def test_a_replica_that_the_engine_does_not_know_yet_is_waited_for() -> None:
    engine = ScriptedEngine()
    world = World(engine, source(A))
    async with aclosing(world.follow()) as stream:
        first = asyncio.ensure_future(take(stream, 1))
        await when(lambda: world.sleeps > 2)()
        engine.answers[A] = [[frame(b"line\n"), silence]]
        assert await first == ["line"]


async def test_a_log_that_cannot_be_read_is_not_asked_for_without_end_once_its_replica_is_dead() -> None:
    engine = ScriptedEngine({A: [[], [EngineRefused(501, "no such log driver")]], B: [[], [frame(b"b\n"), silence]]})
    async with aclosing(World(engine, source(A, alive=False), source(B)).follow()) as stream:
        assert await take(stream, 1) == ["b"]
    assert len([path for path, _ in engine.asked if path == A]) == 2


async def test_a_source_that_went_and_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "GRACE", 0.05)
    engine = ScriptedEngine({A: [[], [silence]], B: [[], [when(lambda: engine.closed >= 3), frame(b"b\n"), silence]]})
    world = World(engine, source(A), source(B))
    async with aclosing(world.follow()) as stream:
        line = asyncio.ensure_future(take(stream, 1))
        await when(lambda: len(engine.asked) == 4)()
        world.change(source(B))
        assert await line == ["b"]


async def test_following_ends_when_the_function_is_deleted_with_what_had_come() -> None:
    engine = ScriptedEngine({A: [[], [frame(b"line\n"), silence]]})
    world = World(engine, source(A))
    lines = asyncio.ensure_future(rest(world.follow()))
    await when(lambda: len(engine.asked) == 2)()
    world.delete()
    assert await lines in ([], ["line"])
    assert engine.closed == 2


async def test_following_nothing_waits_for_the_first_replica() -> None:
    engine = ScriptedEngine({A: [[frame(b"line\n"), silence]]})
    world = World(engine)
    async with aclosing(world.follow()) as stream:
        first = asyncio.ensure_future(take(stream, 1))
        await asyncio.sleep(0)
        world.change(source(A))
        assert await first == ["line"]


async def test_following_is_no_more_than_the_query() -> None:
    details = "com.docker.swarm.task.id="
    lines: list[Part] = [
        frame(b"%d\n" % number, number * 1000, details=f"{details}t{number % 2}") for number in range(6)
    ]
    engine = ScriptedEngine({SERVICE: [[], [*lines, silence]]})
    since = datetime(2026, 1, 1, 0, 0, 0, 3, tzinfo=UTC)
    async with aclosing(World(engine, Source(SERVICE, task_of)).follow(instance="t1", since=since)) as stream:
        assert await take(stream, 2) == ["3", "5"]


async def test_a_slow_reader_makes_the_engine_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "WAITING_LINES", 2)
    lines: list[Part] = [frame(b"%d\n" % number, number) for number in range(50)]
    taken: list[int] = []

    def counted(number: int) -> Callable[[], Any]:
        async def count() -> None:
            taken.append(number)

        return count

    script = [part for number, line in enumerate(lines) for part in (line, counted(number))]
    engine = ScriptedEngine({A: [[], [*script, silence]]})
    async with aclosing(World(engine, source(A)).follow()) as stream:
        assert await take(stream, 1) == ["0"]
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(taken) < 6
        assert await take(stream, 49) == [str(number) for number in range(1, 50)]


async def test_what_a_reader_did_not_expect_is_not_kept_from_who_follows() -> None:
    engine = ScriptedEngine({A: [[], [ZeroDivisionError("bug")]]})
    with pytest.raises(ZeroDivisionError):
        await rest(World(engine, source(A)).follow())


async def test_a_terminals_log_is_followed_too() -> None:
    engine = ScriptedEngine({A: [[], [f"{stamp(1)} hi\r\n".encode(), silence]]})
    async with aclosing(World(engine, source(A)).follow()) as stream:
        assert await take(stream, 1) == ["hi"]
