"""What containers use, from the engine's samples."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.model import Usage
from penstock.providers.containers import stats
from penstock.providers.containers.engine import Document, EngineRefused
from penstock.providers.containers.stats import ContainerMeter, usage_of
from tests.unit.providers.containers.scripted_logs import ScriptedEngine, broken, silence

NEVER = "0001-01-01T00:00:00Z"
MEMORY: Document = {"usage": 1000, "stats": {"total_inactive_file": 300, "inactive_file": 999}}


class Clock:
    """Notes how long it was asked to wait, and does not."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> Any:
        raise NotImplementedError

    def monotonic(self) -> float:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def sample(second: float, cpu: int, memory: Document | None = None, **more: Any) -> Document:
    read = f"2026-01-01T00:{int(second // 60):02}:{second % 60:012.9f}Z"
    cpu_stats = {"cpu_usage": {"total_usage": cpu}}
    return {"read": read, "preread": NEVER, "cpu_stats": cpu_stats, "memory_stats": memory or MEMORY, **more}


def engine_of(**documents: list[Document | Exception]) -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.documents_of = {f"/containers/{name}/stats": list(answers) for name, answers in documents.items()}
    return engine


async def test_usage_is_that_of_all_containers_between_two_samples() -> None:
    engine = engine_of(
        a=[sample(1, 10**9), sample(1.5, 10**9 + 250_000_000)],
        b=[sample(1, 0), sample(2, 1_500_000_000)],
    )
    clock = Clock()
    assert await usage_of(engine, ["a", "b"], clock) == Usage(cpu_millis=2000.0, memory_bytes=1400.0)
    assert clock.slept == [stats.INTERVAL] * 2
    assert all(params == {"stream": "false", "one-shot": "true"} for _, params in engine.asked)


async def test_an_engine_that_takes_two_samples_by_itself_is_asked_once() -> None:
    before = {"cpu_usage": {"total_usage": 0}}
    both = sample(2, 500_000_000, preread="2026-01-01T00:00:01Z", precpu_stats=before)
    clock = Clock()
    assert await usage_of(engine_of(a=[both]), ["a"], clock) == Usage(cpu_millis=500.0, memory_bytes=700.0)
    assert clock.slept == []


@pytest.mark.parametrize(
    ("memory", "used"),
    [
        (MEMORY, 700.0),
        ({"usage": 1000, "stats": {"inactive_file": 100}}, 900.0),
        ({"usage": 1000, "stats": {"inactive_file": 1001}}, 1000.0),
        ({"usage": 1000}, 1000.0),
        ({"stats": None}, 0.0),
    ],
)
async def test_memory_is_without_pages_of_files_that_nobody_used_lately(memory: Document, used: float) -> None:
    usage = await usage_of(engine_of(a=[sample(1, 0, memory), sample(2, 0, memory)]), ["a"], Clock())
    assert usage == Usage(cpu_millis=0.0, memory_bytes=used)


async def test_containers_that_are_gone_or_ended_count_nothing() -> None:
    ended: Document = {"read": NEVER, "preread": NEVER, "cpu_stats": {}, "memory_stats": {}}
    engine = engine_of(ended=[ended], ending=[sample(1, 5), ended], refused=[EngineRefused(409, "not running")])
    assert await usage_of(engine, ["ended", "ending", "refused", "gone"], Clock()) == Usage()


async def test_no_containers_use_nothing() -> None:
    assert await usage_of(ScriptedEngine(), []) == Usage()


async def test_a_container_started_again_between_two_samples_has_used_no_less_than_nothing() -> None:
    usage = await usage_of(engine_of(a=[sample(1, 10**9), sample(2, 10)]), ["a"], Clock())
    assert usage is not None
    assert usage.cpu_millis == 0.0


async def test_two_samples_of_the_same_moment_tell_no_cpu() -> None:
    assert await usage_of(engine_of(a=[sample(1, 0), sample(1, 10)]), ["a"], Clock()) == Usage(memory_bytes=700.0)


@pytest.mark.parametrize("error", [broken(), EngineRefused(500, "its own trouble")])
async def test_an_engine_that_does_not_tell_is_not_taken_for_idle_containers(error: Exception) -> None:
    assert await usage_of(engine_of(a=[error], b=[sample(1, 0), sample(2, 0)]), ["a", "b"], Clock()) is None


async def test_an_engine_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(ScriptedEngine):
        async def get(self, path: str, **params: Any) -> Any:
            await silence()

    monkeypatch.setattr(stats, "LIMIT", 0.05)
    assert await usage_of(Hanging(), ["a"], Clock()) is None


NONE_STARTS: frozenset[str] = frozenset()


async def test_who_measures_again_is_told_of_all_the_time_since_the_look_before() -> None:
    meter = ContainerMeter(engine_of(a=[sample(1, 0), sample(3, 10**9), sample(7, 2 * 10**9)]))
    assert await meter.usages({"f": ["a"]}, NONE_STARTS) == {}
    assert await meter.usages({"f": ["a"]}, NONE_STARTS) == {"f": Usage(cpu_millis=500.0, memory_bytes=700.0)}
    assert await meter.usages({"f": ["a"]}, NONE_STARTS) == {"f": Usage(cpu_millis=250.0, memory_bytes=700.0)}


async def test_what_the_start_of_a_container_took_is_no_load() -> None:
    engine = engine_of(
        a=[sample(second, 0) for second in (1, 3, 5, 7)],
        new=[sample(3, 10**9), sample(5, 2 * 10**9), sample(7, 3 * 10**9)],
    )
    meter = ContainerMeter(engine)
    await meter.usages({"f": ["a"]}, NONE_STARTS)
    idle = {"f": Usage(memory_bytes=1400.0)}
    assert await meter.usages({"f": ["a", "new"]}, frozenset({"new"})) == idle
    assert await meter.usages({"f": ["a", "new"]}, NONE_STARTS) == idle
    assert await meter.usages({"f": ["a", "new"]}, NONE_STARTS) == {"f": Usage(cpu_millis=500.0, memory_bytes=1400.0)}


async def test_of_a_function_that_only_starts_the_memory_is_known() -> None:
    meter = ContainerMeter(engine_of(a=[sample(1, 10**9)]))
    assert await meter.usages({"f": ["a"]}, frozenset({"a"})) == {"f": Usage(memory_bytes=700.0)}


@pytest.mark.parametrize(
    ("second", "cpu", "then"),
    [(1.1, 10**8, 500.0), (1.0, 10**8, 500.0), (2, 10**7, 990.0), (90, 10**9, 0.0)],
    ids=["too-soon", "same-moment", "started-again", "long-ago"],
)
async def test_a_look_that_does_not_serve_tells_nothing_and_the_next_one_does(
    second: float, cpu: int, then: float
) -> None:
    start, last = 10**7 * 2, 10**9 + 2 * 10**7
    following = {1.1: sample(3, last), 1.0: sample(3, last), 2: sample(3, 10**9), 90: sample(91, 10**9)}[second]
    meter = ContainerMeter(engine_of(a=[sample(1, start), sample(second, cpu), following]))
    await meter.usages({"f": ["a"]}, NONE_STARTS)
    assert await meter.usages({"f": ["a"]}, NONE_STARTS) == {}
    assert await meter.usages({"f": ["a"]}, NONE_STARTS) == {"f": Usage(cpu_millis=then, memory_bytes=700.0)}


async def test_looks_at_containers_that_are_gone_are_forgotten() -> None:
    meter = ContainerMeter(engine_of(a=[sample(1, 0)], b=[sample(1, 0), sample(121, 0)]))
    await meter.usages({"f": ["a"], "g": ["b"]}, NONE_STARTS)
    await meter.usages({"g": ["b"]}, NONE_STARTS)
    assert list(meter._looks) == ["b"]


async def test_functions_of_which_the_engine_does_not_tell_are_missing() -> None:
    meter = ContainerMeter(engine_of(a=[broken()], b=[sample(1, 0), sample(2, 0)]))
    await meter.usages({"g": ["b"]}, NONE_STARTS)
    told = await meter.usages({"f": ["a"], "g": ["b"], "h": []}, NONE_STARTS)
    assert told == {"g": Usage(memory_bytes=700.0), "h": Usage()}
