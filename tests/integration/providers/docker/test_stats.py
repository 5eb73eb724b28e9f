"""What containers of a real engine use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from penstock.model import Usage
from penstock.providers.containers import stats
from penstock.providers.containers.engine import Engine
from penstock.providers.containers.stats import usage_of
from tests.engines import engine as engines
from tests.engines.fixtures import StartEngine
from tests.engines.waiting import DEADLINE, wait_until

pytestmark = [pytest.mark.service("dockerd"), pytest.mark.service("busybox")]

MIB = 1 << 20


class Containers:
    """Of one test."""

    def __init__(self, engine: engines.Engine, image: str) -> None:
        self.engine = engine
        self.image = image
        self.made: list[str] = []

    def run(self, script: str, *flags: str) -> str:
        """The id of a container that has said that it is ready, or has ended."""
        shell = ("sh", "-c", script)
        made = self.engine.docker("run", "--detach", "--init", "--network", "none", *flags, self.image, *shell)
        self.made.append(made)
        wait_until(lambda: "ready" in self.engine.logs(made), "a container that says ready")
        return made


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine of a busy machine may need longer than users want to wait."""
    monkeypatch.setattr(stats, "LIMIT", DEADLINE)


@pytest.fixture
def containers(docker_engine: engines.Engine, busybox_image: str) -> Iterator[Containers]:
    made = Containers(docker_engine, busybox_image)
    yield made
    for container in made.made:
        docker_engine.docker("rm", "--force", "--volumes", container)


async def usage(url: str, *ids: str) -> Usage | None:
    engine = Engine({"DOCKER_HOST": url})
    await engine.open()
    try:
        return await usage_of(engine, ids)
    finally:
        await engine.close()


async def busy_usage(url: str, *ids: str) -> Usage | None:
    """Once it is of about a core: other programs may have had both all the while, and the engine takes the time of a sample
    a moment after the sample."""
    end = time.monotonic() + DEADLINE
    while (used := await usage(url, *ids)) is None or not 20 < used.cpu_millis < 1500:
        assert time.monotonic() < end, used
    return used


async def test_a_busy_container_uses_cpu_and_an_idle_one_hardly_any(containers: Containers) -> None:
    busy = containers.run("echo ready; while true; do :; done")
    idle = containers.run("echo ready; exec sleep 600")
    used = await busy_usage(containers.engine.url, busy)
    calm = await usage(containers.engine.url, idle)
    both = await busy_usage(containers.engine.url, busy, idle)
    assert used is not None and calm is not None and both is not None
    assert calm.cpu_millis < 20
    assert both.memory_bytes > calm.memory_bytes > 0


async def test_memory_counts_what_is_held_and_not_the_cache_of_files(containers: Containers) -> None:
    holding = containers.run("head -c 33554432 /dev/zero > /dev/shm/held; echo ready; exec sleep 600")
    caching = containers.run("head -c 33554432 /dev/zero > /written; echo ready; exec sleep 600")
    held, cached = await usage(containers.engine.url, holding), await usage(containers.engine.url, caching)
    assert held is not None and cached is not None
    assert held.memory_bytes > 32 * MIB
    assert cached.memory_bytes < 16 * MIB


async def test_the_ended_and_the_gone_use_nothing(containers: Containers) -> None:
    ended = containers.run("echo ready")
    containers.engine.docker("wait", ended)
    assert await usage(containers.engine.url, ended, "0" * 64) == Usage()


async def test_an_engine_that_hangs_or_is_away_tells_nothing(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = start_engine()
    engine = Engine({"DOCKER_HOST": own.url})
    await engine.open()
    try:
        monkeypatch.setattr(stats, "LIMIT", 0.5)
        own.pause()
        assert await usage_of(engine, ["any"]) is None
        own.resume()
        monkeypatch.setattr(stats, "LIMIT", DEADLINE)
        await asyncio.to_thread(own.stop)
        assert await usage_of(engine, ["any"]) is None
    finally:
        await engine.close()
