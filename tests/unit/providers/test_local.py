"""The local provider's own promises beyond the shared suite: what is durable when, and what a restart finds."""

from __future__ import annotations

import asyncio

import pytest

from penstock.errors import FunctionNotFound, ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec, Namespace, Usage
from penstock.providers.clock import SystemClock
from penstock.providers.local import LocalProvider, Parts
from penstock.providers.memory import MemoryProvider, MemoryRuntime, Script, SecretMemory, VolatileStore, fake_address
from penstock.providers.store import Desired, FunctionRecord
from penstock.testing.clock import FakeClock

NS = DEFAULT_NAMESPACE


class SlowStore(VolatileStore):
    """Desired state that becomes durable only when a test says so; what it was told stays in `told`."""

    def __init__(self, desired: Desired | None = None) -> None:
        self.told: list[str] = []
        self.pending: list[asyncio.Future[None]] = []
        self._desired = desired or Desired()

    async def open(self) -> Desired:
        return self._desired

    def put_function(self, record: FunctionRecord) -> asyncio.Future[None]:
        return self._pend(f"put {record.spec.name} {record.generation} {record.desired}")

    def set_desired(self, name: str, namespace: str, desired: int) -> asyncio.Future[None]:
        return self._pend(f"desired {name} {desired}")

    def remove_function(self, name: str, namespace: str) -> asyncio.Future[None]:
        return self._pend(f"remove {name}")

    def put_namespace(self, namespace: Namespace) -> asyncio.Future[None]:
        return self._pend(f"namespace {namespace.name}")

    def _pend(self, what: str) -> asyncio.Future[None]:
        self.told.append(what)
        self.pending.append(asyncio.get_running_loop().create_future())
        return self.pending[-1]


def provider_on(store: VolatileStore) -> tuple[LocalProvider, MemoryRuntime]:
    runtime = MemoryRuntime(lambda spec: Script(), fake_address, SystemClock())
    return LocalProvider(Parts(store=store, secrets=SecretMemory(), runtime=runtime, probe=runtime.probe)), runtime


def spec(name: str = "f", version: str = "1") -> FunctionSpec:
    return FunctionSpec(name=name, env_process="cat", env_vars={"V": version})


async def test_nothing_starts_before_the_deployment_is_durable() -> None:
    store = SlowStore()
    provider, runtime = provider_on(store)
    await provider.start()
    deploying = asyncio.create_task(provider.deploy(spec()))
    await asyncio.sleep(0.01)
    assert not deploying.done() and not runtime.starts
    store.pending[0].set_result(None)
    await deploying
    assert len(runtime.starts) == 1
    await provider.close()


async def test_a_deployment_that_cannot_be_stored_leaves_nothing() -> None:
    store = SlowStore()
    provider, runtime = provider_on(store)
    await provider.start()
    deploying = asyncio.create_task(provider.deploy(spec()))
    await asyncio.sleep(0)
    store.pending[0].set_exception(ProviderUnavailable("disk full"))
    with pytest.raises(ProviderUnavailable, match="disk full"):
        await deploying
    with pytest.raises(FunctionNotFound):
        await provider.get("f", NS)
    assert not runtime.starts
    await provider.close()


async def test_scale_does_not_wait_for_the_disk() -> None:
    store = SlowStore(_one_function(desired=0))
    provider, runtime = provider_on(store)
    await provider.start()
    await provider.scale("f", NS, 1)
    assert store.told == ["desired f 1"] and not store.pending[0].done()
    assert len(runtime.starts) == 1
    store.pending[0].set_exception(ProviderUnavailable("disk full"))
    await asyncio.sleep(0)
    assert (await provider.get("f", NS)).desired == 1
    await provider.close()


async def test_a_failed_delete_keeps_the_function() -> None:
    store = SlowStore(_one_function(desired=1))
    provider, _ = provider_on(store)
    await provider.start()
    deleting = asyncio.create_task(provider.delete("f", NS))
    await asyncio.sleep(0)
    store.pending[0].set_exception(ProviderUnavailable("disk full"))
    with pytest.raises(ProviderUnavailable):
        await deleting
    assert (await provider.get("f", NS)).desired == 1
    await provider.close()


async def test_two_updates_at_once_end_with_the_later_one() -> None:
    store = SlowStore(_one_function(desired=1))
    provider, _ = provider_on(store)
    await provider.start()
    first = asyncio.create_task(provider.update(spec(version="2")))
    second = asyncio.create_task(provider.update(spec(version="3")))
    await asyncio.sleep(0)
    assert store.told == ["put f 2 1", "put f 3 1"]
    store.pending[1].set_result(None)
    await second
    store.pending[0].set_result(None)
    await first
    assert (await provider.get("f", NS)).spec.env_vars["V"] == "3"
    await provider.close()


async def test_stored_functions_start_and_their_namespaces_exist() -> None:
    store = SlowStore(_one_function(desired=2, namespace="team"))
    provider, runtime = provider_on(store)
    await provider.start()
    assert [function.desired for function in await provider.list("team")] == [2]
    assert len(runtime.starts) == 2
    await provider.close()


async def test_a_namespace_that_is_deleted_while_it_is_updated_stays_deleted() -> None:
    store = SlowStore(Desired(namespaces=[Namespace(name="team")]))
    provider, _ = provider_on(store)
    await provider.start()
    updating = asyncio.create_task(provider.update_namespace(Namespace(name="team", labels={"a": "b"})))
    await asyncio.sleep(0)
    await provider.delete_namespace("team")
    store.pending[0].set_result(None)
    await updating
    assert [namespace.name for namespace in await provider.list_namespaces()] == [NS]
    await provider.close()


async def test_close_ends_every_replica_and_every_stream() -> None:
    provider = MemoryProvider(lambda spec: Script(stop_delay=0.05))
    await provider.start()
    await provider.deploy(spec())
    watching = asyncio.create_task(_watch_to_the_end(provider))
    await asyncio.sleep(0.05)
    await provider.close()
    assert not provider.runtime._live
    await asyncio.wait_for(watching, 60)


async def test_close_kills_what_does_not_drain() -> None:
    clock = FakeClock()
    provider = MemoryProvider(lambda spec: Script(stop_delay=10_000), clock=clock)
    await provider.start()
    await provider.deploy(FunctionSpec(name="f", env_process="cat", env_vars={"write_timeout": "1h"}))
    await clock.advance(1)
    closing = asyncio.create_task(provider.close())
    await clock.advance(29)
    assert not closing.done()
    await clock.advance(2)
    await asyncio.wait_for(closing, 60)
    assert not provider.runtime._live


async def test_a_secret_that_is_gone_is_the_visible_reason() -> None:
    from penstock.model import Secret

    provider = MemoryProvider()
    await provider.start()
    await provider.create_secret(Secret(name="key", value=b"1"))
    labels = {"com.openfaas.scale.min": "0"}
    await provider.deploy(FunctionSpec(name="f", env_process="cat", secrets=("key",), labels=labels))
    await provider.delete_secret("key", NS)
    await provider.scale("f", NS, 1)
    (replica,) = (await provider.get("f", NS)).replicas
    assert replica.state == "backoff" and "'key'" in replica.reason
    await provider.close()


def _one_function(desired: int, namespace: str = NS) -> Desired:
    wanted = FunctionSpec(name="f", namespace=namespace, env_process="cat", env_vars={"V": "1"})
    now = SystemClock().now()
    return Desired(functions=[FunctionRecord(spec=wanted, desired=desired, generation=1, created_at=now)])


async def _watch_to_the_end(provider: LocalProvider) -> None:
    async for _ in provider.watch():
        pass


async def test_processor_time_of_a_replica_counts_once_it_is_ready_and_its_memory_from_the_start() -> None:
    clock, slow = FakeClock(), Script(start_delay=5.0, usage=Usage(cpu_millis=900.0, memory_bytes=10.0))
    provider = MemoryProvider(script=lambda spec: slow, clock=clock)
    await provider.start()
    await provider.deploy(spec())
    await clock.advance(4)
    assert await provider.usages([spec().key]) == {spec().key: Usage(memory_bytes=10.0)}
    await clock.advance(2)
    assert await provider.usages([spec().key]) == {spec().key: Usage(cpu_millis=900.0, memory_bytes=10.0)}
    await provider.scale("f", NS, 2)
    await clock.advance(1)
    assert await provider.usages([spec().key]) == {spec().key: Usage(cpu_millis=900.0, memory_bytes=20.0)}
    closing = asyncio.create_task(provider.close())
    while not closing.done():
        await clock.advance(1)
    await closing
