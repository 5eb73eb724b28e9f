"""Logs of containers and services of real engines: read, followed through deaths and restarts, and heard for last words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import pytest

from penstock.model import LogLine, LogQuery
from penstock.providers.containers import following, logs
from penstock.providers.containers.engine import Engine
from penstock.providers.containers.following import Changes
from penstock.providers.containers.logs import function_lines, last_words
from penstock.providers.containers.logsource import Source, task_of
from tests.engines import engine as engines
from tests.engines.fixtures import StartEngine
from tests.engines.images import import_busybox
from tests.engines.swarm import SwarmNode, TwoNodeSwarm
from tests.engines.waiting import DEADLINE

pytestmark = [pytest.mark.service("dockerd"), pytest.mark.service("busybox")]

COUNT = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.05; done"
LONG = "head -c 100000 /dev/zero | busybox tr '\\0' x; echo end"


class Docker:
    """Containers of one test on an engine."""

    def __init__(self, engine: engines.Engine, image: str) -> None:
        self.engine = engine
        self.image = image
        self.made: list[str] = []

    async def run(self, script: str, *flags: str, wait: bool = False) -> str:
        """Its id."""
        container = await self.docker("run", "--detach", "--network", "none", *flags, self.image, "sh", "-c", script)
        self.made.append(container)
        if wait:
            await self.docker("wait", container)
        return container

    async def docker(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.engine.docker, *arguments)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine of a busy machine may be silent for longer than users want to wait."""
    monkeypatch.setattr(following, "GRACE", DEADLINE)
    monkeypatch.setattr(logs, "LAST_WORDS_LIMIT", DEADLINE)


@pytest.fixture
def docker(docker_engine: engines.Engine, busybox_image: str) -> Iterator[Docker]:
    made = Docker(docker_engine, busybox_image)
    yield made
    for container in made.made:
        docker_engine.docker("rm", "--force", "--volumes", container)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Engine]:
    engine = Engine({"DOCKER_HOST": url})
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


def logs_of(container: str) -> str:
    return f"/containers/{container}/logs"


def source(container: str, alive: bool = False) -> Source:
    return Source(logs_of(container), container[:12], alive, quiet=DEADLINE)


def source_of_service(service: str) -> Source:
    return Source(f"/services/{service}/logs", task_of, quiet=DEADLINE)


async def past(engine: Engine, *sources: Source, query: LogQuery | None = None) -> list[LogLine]:
    async with asyncio.timeout(DEADLINE):
        wanted = query or LogQuery(name="f")
        return [line async for line in function_lines(engine, wanted, lambda: list(sources))]


async def until(lines: AsyncGenerator[LogLine, None], last: Callable[[LogLine], bool]) -> list[LogLine]:
    found: list[LogLine] = []
    async with asyncio.timeout(DEADLINE):
        while not found or not last(found[-1]):
            found.append(await anext(lines))
    return found


async def test_lines_of_several_containers_come_whole_and_by_time(docker: Docker) -> None:
    long = await docker.run(LONG, wait=True)
    both = await docker.run("echo out; echo err >&2; printf 'no end'", wait=True)
    async with opened(docker.engine.url) as engine:
        lines = await past(engine, source(both), source(long))
    assert (lines[0].instance, lines[0].text) == (long[:12], "x" * 100_000 + "end")
    # Two streams are two pipes: which of them the engine reads first is its own business.
    assert sorted((line.instance, line.text) for line in lines[1:]) == [
        (both[:12], text) for text in ("err", "no end", "out")
    ]
    assert [line.timestamp for line in lines] == sorted(line.timestamp for line in lines)


async def test_the_log_of_a_terminal_is_read_as_any(docker: Docker) -> None:
    container = await docker.run(f"echo first; {LONG}", "--tty", wait=True)
    async with opened(docker.engine.url) as engine:
        lines = await past(engine, source(container))
    assert [line.text for line in lines] == ["first", "x" * 100_000 + "end"]


async def test_tail_and_since_are_exact(docker: Docker) -> None:
    container = await docker.run(f"for i in 1 2 3 4; do echo $i; sleep 0.02; done; {LONG}", wait=True)
    async with opened(docker.engine.url) as engine:
        lines = await past(engine, source(container))
        tail = await past(engine, source(container), query=LogQuery(name="f", tail=2))
        third = lines[2].timestamp
        since = await past(engine, source(container), query=LogQuery(name="f", since=third))
        later = await past(engine, source(container), query=LogQuery(name="f", since=third + timedelta(microseconds=1)))
    assert tail == lines[-2:]
    assert since == [line for line in lines if line.timestamp >= third]
    assert later == [line for line in lines if line.timestamp > third]


async def test_last_words_of_the_dead(docker: Docker) -> None:
    words = await docker.run("echo starting; echo 'no such file: x' >&2; echo; exit 3", wait=True)
    silent = await docker.run("exit 1", wait=True)
    async with opened(docker.engine.url) as engine:
        assert await last_words(engine, logs_of(words)) == "no such file: x"
        assert await last_words(engine, logs_of(silent)) == ""
        assert await last_words(engine, logs_of("0" * 64)) == ""


async def test_a_replica_that_dies_and_its_successor_are_followed(docker: Docker) -> None:
    sources: dict[str, Source] = {}
    changes = Changes()
    first = await docker.run("echo one; sleep 600", "--init")
    sources[first] = source(first, alive=True)
    async with opened(docker.engine.url) as engine:
        query = LogQuery(name="f", follow=True)
        lines = function_lines(engine, query, lambda: list(sources.values()), changes=changes)
        async with aclosing(lines):
            assert [line.text for line in await until(lines, lambda line: line.text == "one")] == ["one"]
            second = await docker.run("echo two; echo words; exit 1", wait=True)
            third = await docker.run("echo three; sleep 600", "--init")
            await docker.docker("kill", first)
            sources[first], sources[second] = source(first), source(second)
            sources[third] = source(third, alive=True)
            changes.fire()
            found: list[LogLine] = []
            while len(found) < 3:
                found += await until(lines, lambda line: True)
    assert sorted(line.text for line in found) == ["three", "two", "words"]


async def test_a_container_started_again_goes_on_where_it_ended(docker: Docker) -> None:
    container = await docker.run("echo started; printf partial", wait=True)
    changes = Changes()
    alive = False
    async with opened(docker.engine.url) as engine:
        query = LogQuery(name="f", follow=True)
        lines = function_lines(engine, query, lambda: [source(container, alive)], changes=changes)
        async with aclosing(lines):
            assert [line.text for line in await until(lines, lambda line: line.text == "partial")] == [
                "started",
                "partial",
            ]
            await docker.docker("start", container)
            await docker.docker("wait", container)
            alive = True
            changes.fire()
            assert [line.text for line in await until(lines, lambda line: line.text == "partial")] == [
                "started",
                "partial",
            ]


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_following_goes_on_when_the_engine_comes_back(how: str, start_engine: StartEngine) -> None:
    own = start_engine(live_restore=True)
    image = await asyncio.to_thread(import_busybox, own)
    docker = Docker(own, image)
    container = await docker.run(COUNT, "--init")
    async with opened(own.url) as engine:
        query = LogQuery(name="f", follow=True)
        lines = function_lines(engine, query, lambda: [source(container, alive=True)])
        async with aclosing(lines):
            found = await until(lines, lambda line: int(line.text) >= 10)
            await asyncio.to_thread(getattr(own, how))
            await asyncio.to_thread(own.start)
            beyond = int((await docker.docker("logs", "--tail", "1", container)).strip()) + 20
            found += await until(lines, lambda line: int(line.text) >= beyond)
    assert [line.text for line in found] == (await asyncio.to_thread(own.logs, container)).splitlines()[: len(found)]


def service_of(node: SwarmNode, *arguments: str) -> str:
    """The id of a service that runs busybox."""
    made = node.docker("service", "create", "--detach", "--endpoint-mode", "dnsrr", *arguments)
    return made.splitlines()[-1]


async def test_the_lines_of_a_service_name_their_tasks_and_later_tasks_are_followed(swarm_engine: SwarmNode) -> None:
    image = await asyncio.to_thread(import_busybox, swarm_engine)
    flags = ("--no-resolve-image", "--replicas", "2", image, "sh", "-c", "echo hello from $HOSTNAME; exec sleep 600")
    service = await asyncio.to_thread(service_of, swarm_engine, *flags)
    try:
        async with opened(swarm_engine.url) as engine:
            of_service = source_of_service(service)
            lines = function_lines(engine, LogQuery(name="f", follow=True), lambda: [of_service])
            async with aclosing(lines):
                found = [*await until(lines, lambda line: True), *await until(lines, lambda line: True)]
                await asyncio.to_thread(swarm_engine.docker, "service", "scale", "--detach", f"{service}=3")
                found += await until(lines, lambda line: True)
            kept = await past(engine, of_service)
            tasks = await engine.get("/tasks", filters={"service": {service: True}})
            last = found[-1]
            of_task = await past(engine, Source(f"/tasks/{last.instance}/logs", task_of, quiet=DEADLINE))
            one = await past(engine, of_service, query=LogQuery(name="f", instance=last.instance))
        assert {line.instance for line in found} == {task["ID"] for task in tasks}
        assert sorted(found, key=lambda line: line.timestamp) == kept
        assert of_task == one == [last]
    finally:
        await asyncio.to_thread(swarm_engine.docker, "service", "rm", service)


async def test_a_node_that_is_lost_costs_no_line_of_the_others(two_node_swarm: TwoNodeSwarm) -> None:
    manager, worker = two_node_swarm.manager, two_node_swarm.worker
    image = await asyncio.to_thread(import_busybox, manager)
    await asyncio.to_thread(import_busybox, worker)
    script = "echo hello from $HOSTNAME; exec sleep 600"
    flags = ("--no-resolve-image", "--replicas", "2", "--replicas-max-per-node", "1", image, "sh", "-c", script)
    service = await asyncio.to_thread(service_of, manager, *flags)
    try:
        async with opened(manager.url) as engine:
            of_service = source_of_service(service)
            lines = function_lines(engine, LogQuery(name="f", follow=True), lambda: [of_service])
            async with aclosing(lines):
                found = [*await until(lines, lambda line: True), *await until(lines, lambda line: True)]
            of_tasks = [Source(f"/tasks/{line.instance}/logs", task_of, quiet=15.0) for line in found]
            here = {task["ID"] for task in await engine.get("/tasks", filters={"node": {manager.id: True}})}
            worker.cut()
            left = await past(engine, *of_tasks)
        assert left == [line for line in found if line.instance in here]
        assert len(left) == 1
    finally:
        await asyncio.to_thread(two_node_swarm.mend)
        await asyncio.to_thread(manager.docker, "service", "rm", service)
