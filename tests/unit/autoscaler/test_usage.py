"""When functions are measured, how many at once, and what is known of them when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from penstock.autoscaler.usage import CPU_AGE, OFTEN, SELDOM, SLICES, USAGE_AGE, UsageSampler
from penstock.errors import ProviderUnavailable
from penstock.model import Function, FunctionSpec, Replica, ReplicaState, Usage
from penstock.testing.clock import FakeClock

KEY = "f.openfaas-fn"


class Measured:
    """A provider that tells what `using` says, or raises `error`, once `gate` is open."""

    def __init__(self) -> None:
        self.using: dict[str, Usage] = {}
        self.calls: list[list[str]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def usages(self, keys: Sequence[str]) -> Mapping[str, Usage]:
        self.calls.append(sorted(keys))
        await self.gate.wait()
        if self.error:
            raise self.error
        return {key: self.using.get(key, Usage(cpu_millis=100)) for key in keys if key in self.using or not self.using}


def function(name: str = "f", replicas: int = 1, state: ReplicaState = "ready", **labels: str) -> Function:
    running = tuple(Replica(id=f"{name}-{number}", state=state, address="unix:/f") for number in range(replicas))
    spec = FunctionSpec(name=name, labels={f"com.openfaas.scale.{word}": value for word, value in labels.items()})
    return Function(spec=spec, desired=replicas, replicas=running, created_at=datetime(2026, 1, 1, tzinfo=UTC))


def keyed(*functions: Function) -> dict[str, Function]:
    return {one.key: one for one in functions}


@asynccontextmanager
async def sampling(
    provider: object, functions: Mapping[str, Function]
) -> AsyncIterator[tuple[UsageSampler, FakeClock]]:
    clock = FakeClock()
    sampler = UsageSampler(provider, functions, clock)
    task = asyncio.create_task(sampler.run())
    await clock.settle()
    yield sampler, clock
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_functions_scaled_by_cpu_are_measured_every_two_seconds() -> None:
    provider = Measured()
    async with sampling(provider, keyed(function(type="cpu"))) as (sampler, clock):
        assert sampler.cpu(KEY) == 100
        provider.using[KEY] = Usage(cpu_millis=700)
        await clock.advance(OFTEN)
        assert sampler.cpu(KEY) == 700
    assert provider.calls == [[KEY]] * 2


async def test_all_others_are_measured_once_every_fifteen_seconds_in_slices() -> None:
    provider = Measured()
    functions = keyed(*(function(f"f{number}") for number in range(100)))
    async with sampling(provider, functions) as (_, clock):
        await clock.advance(SELDOM - 0.1)
    assert len(provider.calls) == SLICES
    assert set(Counter(key for call in provider.calls for key in call).values()) == {1}
    assert sum(map(len, provider.calls)) == 100


async def test_no_function_is_measured_twice_at_once() -> None:
    provider = Measured()
    provider.gate.clear()
    functions = keyed(function(type="cpu"))
    async with sampling(provider, functions) as (sampler, clock):
        functions[KEY] = function()
        await clock.advance(2 * SELDOM)
        assert provider.calls == [[KEY]]
        provider.gate.set()
        await clock.advance(2 * SELDOM)
        assert len(provider.calls) > 1
        assert sampler.usage(KEY) == Usage(cpu_millis=100)


async def test_a_slow_answer_about_some_does_not_keep_those_scaled_by_cpu_waiting() -> None:
    class Slow(Measured):
        async def usages(self, keys: Sequence[str]) -> Mapping[str, Usage]:
            if "slow.openfaas-fn" in keys:
                await asyncio.Event().wait()
            return await super().usages(keys)

    provider = Slow()
    async with sampling(provider, keyed(function(type="cpu"), function("slow"))) as (_, clock):
        await clock.advance(10 * OFTEN)
    assert provider.calls == [[KEY]] * 11


async def test_a_function_without_replicas_uses_nothing_and_nobody_is_asked() -> None:
    provider = Measured()
    async with sampling(provider, keyed(function(replicas=0, type="cpu"))) as (sampler, clock):
        await clock.advance(SELDOM)
        assert (sampler.cpu(KEY), sampler.usage(KEY)) == (0.0, Usage())
    assert provider.calls == []


async def test_what_the_provider_does_not_tell_is_unknown() -> None:
    provider = Measured()
    provider.using["other"] = Usage()
    async with sampling(provider, keyed(function(type="cpu"))) as (sampler, _):
        assert (sampler.cpu(KEY), sampler.usage(KEY)) == (None, None)
        assert sampler.why(KEY) == "CPU has not been measured yet"


async def test_a_provider_that_cannot_measure_is_not_asked_and_is_named() -> None:
    sampler = UsageSampler(object(), keyed(function(), function("g", 0)), FakeClock(), named="swarm")
    await sampler.run()
    assert (sampler.cpu(KEY), sampler.usage("g.openfaas-fn")) == (None, None)
    assert sampler.why(KEY) == "the swarm provider cannot measure CPU"


async def test_the_load_of_a_function_that_only_starts_is_unknown_and_what_it_uses_is_not() -> None:
    functions = keyed(function(state="starting", type="cpu"))
    async with sampling(Measured(), functions) as (sampler, _):
        assert (sampler.cpu(KEY), sampler.usage(KEY)) == (None, Usage(cpu_millis=100))
        assert sampler.why(KEY) == "no replica is ready whose CPU could be measured"
        functions.update(keyed(function(type="cpu")))
        assert (sampler.cpu(KEY), sampler.why(KEY)) == (100, "")


async def test_a_measurement_that_is_too_old_is_unknown() -> None:
    provider = Measured()
    functions = keyed(function(type="cpu"))
    async with sampling(provider, functions) as (sampler, clock):
        provider.error = ProviderUnavailable("away")
        await clock.advance(CPU_AGE)
        assert sampler.cpu(KEY) == 100
        await clock.advance(1)
        assert sampler.cpu(KEY) is None
        assert sampler.usage(KEY) == Usage(cpu_millis=100)
        await clock.advance(USAGE_AGE - CPU_AGE)
        assert sampler.usage(KEY) is None


@pytest.mark.parametrize("error", [ProviderUnavailable("the engine is away"), RuntimeError("a defect")])
async def test_a_failure_is_logged_once_and_measuring_goes_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Measured()
    provider.error = error
    async with sampling(provider, keyed(function(type="cpu"))) as (sampler, clock):
        await clock.advance(5 * OFTEN)
        assert len(caplog.records) == 1
        assert str(error) in caplog.text
        provider.error = None
        await clock.advance(OFTEN)
        assert sampler.cpu(KEY) == 100


async def test_functions_that_are_gone_are_forgotten() -> None:
    provider = Measured()
    functions = keyed(function())
    async with sampling(provider, functions) as (sampler, clock):
        await clock.advance(SELDOM)
        assert sampler.usage(KEY) is not None
        kept = functions.pop(KEY)
        await clock.advance(SELDOM)
        provider.error = ProviderUnavailable("away")
        functions[kept.key] = kept
        assert sampler.usage(KEY) is None


async def test_a_function_that_comes_later_is_measured_in_the_turn_of_its_slice() -> None:
    provider = Measured()
    functions: dict[str, Function] = {}
    async with sampling(provider, functions) as (_, clock):
        functions.update(keyed(function()))
        await clock.advance(SELDOM)
    assert provider.calls == [[KEY]]
