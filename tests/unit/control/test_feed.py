"""The feed over its real unix socket: snapshot, changes, wake requests, counters, and workers that misbehave."""

from __future__ import annotations

import asyncio
import itertools
import logging
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from penstock.control import link as link_module
from penstock.control.feed import Feed
from penstock.control.link import frame
from penstock.core.policy import AS_STAGES_SAY, TIMEOUT_LABEL, Policy
from penstock.errors import ProviderUnavailable
from penstock.gateway.messages import (
    Completed,
    Counters,
    Flush,
    Hello,
    Route,
    RouteRemoved,
    Synced,
    ToControl,
    ToWorker,
    Wake,
)
from penstock.model import Function, FunctionEvent, FunctionSpec
from penstock.providers.memory import MemoryProvider, Script
from tests.unit.control.support import until, within

KEY = "cat.openfaas-fn"
HELLO = Hello(worker=3, pid=1)
_decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)


class FakeWorker:
    """A worker's end of the feed that does only what a test tells it to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, directory: Path, hello: Hello | None = HELLO) -> FakeWorker:
        worker = cls(*await asyncio.open_unix_connection(directory / "feed.sock"))
        if hello:
            worker.send(hello)
        return worker

    def send(self, message: ToControl) -> None:
        self.send_bytes(frame(message))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def receive(self) -> ToWorker:
        length = int.from_bytes(await within(self._reader.readexactly(4)))
        return _decoder.decode(await within(self._reader.readexactly(length)))

    async def receive_snapshot(self) -> dict[str, Route]:
        """Every message up to `Synced`."""
        routes: dict[str, Route] = {}
        while not isinstance(message := await self.receive(), Synced):
            assert isinstance(message, Route)
            routes[message.key] = message
        return routes

    async def receive_route(self, ready: bool) -> Route:
        """Messages up to a route with, or without, endpoints."""
        while True:
            message = await self.receive()
            if isinstance(message, Route) and bool(message.endpoints) is ready:
                return message

    async def receive_flush(self) -> int:
        while not isinstance(message := await self.receive(), Flush):
            pass
        return message.id

    async def cut_off(self) -> bool:
        """Wait until control closes the connection."""
        while await within(self._reader.read(65536)):
            pass
        return True

    def close(self) -> None:
        self._writer.close()


async def deploy(provider: MemoryProvider, feed: Feed, name: str = "cat", **labels: str) -> None:
    """Deploy a function and wait until the feed knows its ready replica."""
    await provider.deploy(FunctionSpec(name=name, env_process="cat", labels=labels))
    key = f"{name}.openfaas-fn"
    await until(lambda: key in feed.functions and feed.functions[key].available, "the ready replica")


async def rest(provider: MemoryProvider, feed: Feed) -> None:
    """Scale the function to zero and wait until the feed knows."""
    await provider.scale("cat", "openfaas-fn", 0)
    await until(lambda: feed.functions[KEY].desired == 0 and not feed.functions[KEY].endpoints, "zero replicas")


async def test_the_socket_is_private(feed: Feed, directory: Path) -> None:
    assert stat.S_IMODE((directory / "feed.sock").stat().st_mode) == 0o600


async def test_a_new_worker_gets_every_route_and_then_synced(
    provider: MemoryProvider, feed: Feed, directory: Path
) -> None:
    await deploy(provider, feed, **{"com.penstock.timeout": "5s"})
    worker = await FakeWorker.connect(directory)
    routes = await worker.receive_snapshot()
    (endpoint,) = feed.functions[KEY].endpoints
    assert routes == {KEY: Route(key=KEY, endpoints=(endpoint,), policy=Policy(timeout=5.0))}


async def test_changes_reach_every_connected_worker(provider: MemoryProvider, feed: Feed, directory: Path) -> None:
    workers = [await FakeWorker.connect(directory, Hello(worker=n, pid=n)) for n in range(3)]
    for worker in workers:
        assert await worker.receive_snapshot() == {}
    await deploy(provider, feed)
    for worker in workers:
        assert (await worker.receive_route(ready=True)).key == KEY


async def test_whoever_listens_hears_of_every_change_in_turn(provider: MemoryProvider, feed: Feed) -> None:
    heard: list[tuple[str, int]] = []
    feed.tell = lambda function: heard.append((function.key, function.desired))
    await deploy(provider, feed)
    await rest(provider, feed)
    await provider.scale("cat", "openfaas-fn", 2)
    await until(lambda: feed.functions[KEY].desired == 2)
    assert [one for one, _ in itertools.groupby(heard)] == [(KEY, 1), (KEY, 0), (KEY, 2)]


async def test_a_removed_function_is_announced(provider: MemoryProvider, feed: Feed, directory: Path) -> None:
    await deploy(provider, feed)
    worker = await FakeWorker.connect(directory)
    await worker.receive_snapshot()
    await provider.delete("cat", "openfaas-fn")
    while not isinstance(message := await worker.receive(), RouteRemoved):
        pass
    assert message.key == KEY
    assert KEY not in feed.functions


async def test_no_worker_hears_synced_before_the_provider_has_named_everything(
    directory: Path, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    original = provider.watch

    async def slow() -> AsyncIterator[FunctionEvent]:
        await go_on.wait()
        async for event in original():
            yield event

    monkeypatch.setattr(provider, "watch", slow)
    await provider.deploy(FunctionSpec(name="cat", env_process="cat"))
    feed = Feed(provider, Policy())
    await feed.start(directory / "feed.sock")
    worker = await FakeWorker.connect(directory)
    snapshot = asyncio.create_task(worker.receive_snapshot())
    await asyncio.sleep(0)
    go_on.set()
    assert list(await snapshot) == [KEY]
    await feed.close()


async def test_a_watch_that_breaks_off_is_begun_again_and_forgets_what_is_gone(
    directory: Path, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("penstock.control.feed.WATCH_RETRY", 0.0)
    await provider.deploy(FunctionSpec(name="old", env_process="cat"))
    old = await provider.get("old", "openfaas-fn")
    snapshots = iter([[old], []])

    async def breaking() -> AsyncIterator[FunctionEvent]:
        for function in next(snapshots):
            yield FunctionEvent(kind="changed", key=function.key, function=function)
        yield FunctionEvent(kind="synced")
        if function_seen:
            await asyncio.Event().wait()
        function_seen.append(True)
        raise ProviderUnavailable("the engine went away")

    function_seen: list[bool] = []
    monkeypatch.setattr(provider, "watch", breaking)
    feed = Feed(provider, Policy())
    await feed.start(directory / "feed.sock")
    await until(lambda: function_seen and not feed.functions, "the second snapshot")
    assert "the provider's watch broke off: the engine went away" in caplog.text
    await feed.close()


async def test_a_wake_starts_a_function_at_zero(provider: MemoryProvider, feed: Feed, directory: Path) -> None:
    await deploy(provider, feed)
    await rest(provider, feed)
    worker = await FakeWorker.connect(directory)
    await worker.receive_snapshot()
    worker.send(Wake(key=KEY))
    await worker.receive_route(ready=True)
    assert feed.functions[KEY].desired == 1


async def test_a_wake_starts_as_many_replicas_as_the_minimum_says(
    provider: MemoryProvider, feed: Feed, directory: Path
) -> None:
    await deploy(provider, feed, **{"com.openfaas.scale.min": "3"})
    await rest(provider, feed)
    worker = await FakeWorker.connect(directory)
    worker.send(Wake(key=KEY))
    await until(lambda: feed.functions[KEY].desired == 3, "three replicas")


async def test_many_wakes_are_one_scaling(
    provider: MemoryProvider, feed: Feed, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deploy(provider, feed)
    await rest(provider, feed)
    calls: list[int] = []
    original = provider.scale

    async def counting(name: str, namespace: str, replicas: int) -> None:
        calls.append(replicas)
        await original(name, namespace, replicas)

    monkeypatch.setattr(provider, "scale", counting)
    workers = [await FakeWorker.connect(directory, Hello(worker=n, pid=n)) for n in range(2)]
    for worker in workers:
        await worker.receive_snapshot()
        for _ in range(50):
            worker.send(Wake(key=KEY))
    for worker in workers:
        await worker.receive_route(ready=True)
    await feed.flush(0)
    assert calls == [1]


async def test_a_wake_leaves_a_function_alone_that_already_wants_replicas(
    provider: MemoryProvider, feed: Feed, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deploy(provider, feed)
    await provider.scale("cat", "openfaas-fn", 2)
    await until(lambda: feed.functions[KEY].desired == 2, "two replicas")
    worker = await FakeWorker.connect(directory)
    worker.send(Wake(key=KEY))
    worker.send(Wake(key="nothing.openfaas-fn"))
    worker.send(Wake(key=""))
    worker.send(Counters(started={KEY: 1}))
    await until(lambda: feed.totals.started, "the message after the wakes")
    assert feed.functions[KEY].desired == 2


async def test_a_wake_sent_right_after_hello_is_not_lost_while_the_provider_still_names_its_functions(
    directory: Path, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.deploy(FunctionSpec(name="cat", env_process="cat"))
    await provider.scale("cat", "openfaas-fn", 0)
    go_on = asyncio.Event()
    original = provider.watch

    async def slow() -> AsyncIterator[FunctionEvent]:
        await go_on.wait()
        async for event in original():
            yield event

    monkeypatch.setattr(provider, "watch", slow)
    feed = Feed(provider, Policy())
    await feed.start(directory / "feed.sock")
    worker = await FakeWorker.connect(directory)
    worker.send(Wake(key=KEY))
    await until(lambda: feed._tasks and len(feed._tasks) == 2, "the connection")
    go_on.set()
    await worker.receive_route(ready=True)
    await feed.close()


async def test_a_wake_that_fails_is_tried_again(
    provider: MemoryProvider, feed: Feed, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deploy(provider, feed)
    await rest(provider, feed)
    original = provider.scale
    failures = [ProviderUnavailable("busy"), RuntimeError("a defect")]

    async def failing(name: str, namespace: str, replicas: int) -> None:
        if failures:
            raise failures.pop()
        await original(name, namespace, replicas)

    monkeypatch.setattr(provider, "scale", failing)
    worker = await FakeWorker.connect(directory)
    worker.send(Wake(key=KEY))
    await worker.receive_route(ready=True)


def some_counters(flush: int = 0, inflight: int = 1) -> Counters:
    completed = Completed(key=KEY, code=200, count=1, seconds=0.1, buckets=[1, *[0] * 11])
    return Counters(flush=flush, started={KEY: 1}, completed=[completed], inflight={KEY: inflight}, connections=4)


async def test_counters_of_all_workers_add_up_and_outlive_them(feed: Feed, directory: Path) -> None:
    workers = [await FakeWorker.connect(directory, Hello(worker=n, pid=1)) for n in range(2)]
    for worker in workers:
        await worker.receive_snapshot()
        worker.send(some_counters())
    await until(lambda: feed.totals.invocations(KEY) == 2, "the counters")
    assert feed.inflight() == {KEY: 2}
    assert feed.connections() == {0: 4, 1: 4}
    workers[0].close()
    await until(lambda: feed.inflight() == {KEY: 1}, "the end of the first worker")
    assert feed.totals.invocations(KEY) == 2


async def test_flush_waits_for_the_counters_of_every_worker(feed: Feed, directory: Path) -> None:
    workers = [await FakeWorker.connect(directory, Hello(worker=n, pid=1)) for n in range(2)]
    for worker in workers:
        await worker.receive_snapshot()
    flushing = asyncio.create_task(feed.flush(60.0))
    numbers = [await worker.receive_flush() for worker in workers]
    workers[0].send(some_counters(flush=numbers[0]))
    await until(lambda: feed.totals.invocations(KEY) == 1, "the first answer")
    assert not flushing.done()
    workers[1].send(some_counters(flush=numbers[1]))
    await within(flushing)
    assert feed.totals.invocations(KEY) == 2


async def test_flush_gives_up_on_a_worker_that_does_not_answer(feed: Feed, directory: Path) -> None:
    worker = await FakeWorker.connect(directory)
    await worker.receive_snapshot()
    await within(feed.flush(0.01))


async def test_a_function_counts_as_announced_only_when_the_worker_has_answered_behind_its_route(
    provider: MemoryProvider, feed: Feed, directory: Path
) -> None:
    worker = await FakeWorker.connect(directory)
    await worker.receive_snapshot()
    announcing = asyncio.create_task(feed.announced(KEY, 60.0))
    await provider.deploy(FunctionSpec(name="cat", env_process="cat"))
    seen: list[ToWorker] = [await worker.receive()]
    while not isinstance(seen[-1], Flush):
        seen.append(await worker.receive())
    assert isinstance(seen[0], Route)
    assert seen[0].key == KEY
    assert not announcing.done()
    worker.send(some_counters(flush=seen[-1].id))
    await within(announcing)


async def test_waiting_for_the_announcement_of_an_unknown_function_ends(feed: Feed) -> None:
    await within(feed.announced("nobody.openfaas-fn", 0.01))
    assert feed._awaited == {}


async def test_flush_does_not_wait_for_a_worker_that_leaves(feed: Feed, directory: Path) -> None:
    worker = await FakeWorker.connect(directory)
    await worker.receive_snapshot()
    flushing = asyncio.create_task(feed.flush(60.0))
    await worker.receive_flush()
    worker.close()
    await within(flushing)


async def test_flush_without_workers_returns_at_once(feed: Feed) -> None:
    await within(feed.flush(60.0))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x03abc",
        frame(Wake(key=KEY)),
        frame(Counters()),
        frame(HELLO) + frame(HELLO),
        frame(HELLO) + frame(Counters(started={KEY: -1})),
        frame(HELLO) + frame(Synced()),
        frame(HELLO) + b"\x00\x00\x00\x02\x91\x91",
    ],
)
async def test_nonsense_closes_that_connection_with_one_log_line_and_no_other(
    feed: Feed, directory: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good = await FakeWorker.connect(directory)
    await good.receive_snapshot()
    bad = await FakeWorker.connect(directory, hello=None)
    bad.send_bytes(data)
    assert await bad.cut_off()
    warnings = [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert ["the peer sent nonsense" in entry.getMessage() for entry in warnings] == [True]
    good.send(some_counters())
    await until(lambda: feed.totals.invocations(KEY) == 1, "the good worker's counters")


async def test_a_connection_that_says_nothing_is_cut_off(
    feed: Feed, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_module, "HELLO_TIMEOUT", 0.05)
    silent = await FakeWorker.connect(directory, hello=None)
    assert await silent.cut_off()
    assert "never said hello" in caplog.text


async def test_a_worker_that_leaves_in_the_middle_of_a_message_is_no_fault(
    feed: Feed, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await FakeWorker.connect(directory)
    await worker.receive_snapshot()
    worker.send_bytes(b"\x00\x00")
    worker.close()
    await until(lambda: not feed.connections(), "the end of the link")
    assert caplog.text == ""


async def test_a_change_that_alters_no_route_is_not_sent(feed: Feed, directory: Path, provider: MemoryProvider) -> None:
    await deploy(provider, feed)
    worker = await FakeWorker.connect(directory)
    await worker.receive_snapshot()
    feed._apply(FunctionEvent(kind="changed", key=KEY, function=feed.functions[KEY]))
    feed._apply(FunctionEvent(kind="removed", key=KEY))
    assert await worker.receive() == RouteRemoved(key=KEY)


async def test_a_policy_that_cannot_be_read_becomes_the_default(
    feed: Feed, provider: MemoryProvider, caplog: pytest.LogCaptureFixture
) -> None:
    await deploy(provider, feed)
    function = feed.functions[KEY]
    bad = msgspec.structs.replace(function.spec, labels={"com.penstock.timeout": "soon"})
    feed._apply(FunctionEvent(kind="changed", key=KEY, function=msgspec.structs.replace(function, spec=bad)))
    assert "the defaults apply" in caplog.text
    assert feed.functions[KEY].spec.labels == {"com.penstock.timeout": "soon"}
    assert feed._policy(feed.functions[KEY]).buckets == ()


async def test_closing_drops_workers_and_tasks(directory: Path) -> None:
    provider = MemoryProvider(script=lambda spec: Script())
    await provider.start()
    before = asyncio.all_tasks()
    feed = Feed(provider, Policy())
    await feed.start(directory / "feed.sock")
    worker = await FakeWorker.connect(directory)
    await worker.receive_snapshot()
    await feed.close()
    assert await worker.cut_off()
    await until(lambda: asyncio.all_tasks() <= before, "the end of all tasks")
    await provider.close()


async def follow(
    directory: Path, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch, spec: FunctionSpec
) -> Feed:
    """A feed of a provider that has exactly this one, without a replica."""

    async def watch() -> AsyncIterator[FunctionEvent]:
        function = Function(spec=spec, desired=0, created_at=datetime(2026, 1, 1, tzinfo=UTC))
        yield FunctionEvent(kind="changed", key=function.key, function=function)
        yield FunctionEvent(kind="synced")
        await asyncio.Event().wait()

    monkeypatch.setattr(provider, "watch", watch)
    feed = Feed(provider, Policy())
    await feed.start(directory / "feed.sock")
    return feed


async def test_the_route_of_a_pipeline_has_its_stages_with_their_namespaces(
    directory: Path, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = FunctionSpec(name="p", namespace="dev", stages=("sort/a?b=c", "wc.other"), labels={TIMEOUT_LABEL: "5s"})
    feed = await follow(directory, provider, monkeypatch, spec)
    routes = await (await FakeWorker.connect(directory)).receive_snapshot()
    stages = ("sort.dev/a?b=c", "wc.other")
    assert routes == {"p.dev": Route(key="p.dev", stages=stages, policy=Policy(timeout=5.0))}
    await feed.close()


async def test_a_pipeline_with_a_stage_that_cannot_be_read_answers_as_failed(
    directory: Path, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feed = await follow(directory, provider, monkeypatch, FunctionSpec(name="p", stages=("sort", "\r\nX: y")))
    routes = await (await FakeWorker.connect(directory)).receive_snapshot()
    assert routes == {"p.openfaas-fn": Route(key="p.openfaas-fn", failed=True, policy=Policy(timeout=AS_STAGES_SAY))}
    assert "p.openfaas-fn: pipeline: stage '\\r\\nX: y.openfaas-fn' does not begin with" in caplog.text
    await feed.close()


async def test_a_pipeline_is_never_woken_itself(
    directory: Path, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = await follow(directory, provider, monkeypatch, FunctionSpec(name="p", stages=("sort", "wc")))
    worker = await FakeWorker.connect(directory)
    worker.send(Wake(key="p.openfaas-fn"))
    worker.send(Counters(started={"p.openfaas-fn": 1}))
    await until(lambda: feed.totals.started, "the message after the wake")
    assert not feed._waking
    await feed.close()
