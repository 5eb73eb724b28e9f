"""Zero as `stop` and as `pause`: the container is kept, is the next replica's, and goes when nobody can want it any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.model import DEFAULT_NAMESPACE, Function, LogQuery, Secret
from penstock.providers.containers.freezing import connections
from penstock.providers.local import LocalProvider
from tests.engines.engine import Engine
from tests.engines.images import import_busybox
from tests.engines.waiting import DEADLINE
from tests.integration.providers.docker.harness import (
    Box,
    answer,
    boxed,
    call,
    deployed,
    die,
    running_box,
    spec,
    started,
)
from tests.integration.providers.waiting import ready, until

pytestmark = [pytest.mark.service("dockerd", "busybox"), pytest.mark.usefixtures("busybox_image")]

ZERO = "com.penstock.zero"
STATES = {"stop": "exited", "pause": "paused"}


async def to_zero(provider: LocalProvider, name: str) -> None:
    await provider.scale(name, DEFAULT_NAMESPACE, 0)
    await ready(provider, name, 0)


async def woken(provider: LocalProvider, name: str) -> Function:
    await provider.scale(name, DEFAULT_NAMESPACE, 1)
    return await ready(provider, name)


async def removed(box: Box, container: str) -> None:
    await until("the container is removed", lambda: container not in box.containers())


@pytest.mark.parametrize("manner", ["stop", "pause"])
async def test_the_container_of_a_function_at_zero_is_the_next_replicas(docker_engine: Engine, manner: str) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "sleepy", labels={ZERO: manner})
        [container] = box.containers()
        for body in (b"one", b"two"):
            await to_zero(provider, "sleepy")
            await until(f"it is {STATES[manner]}", lambda: box.containers(STATES[manner]) == [container])
            function = await woken(provider, "sleepy")
            await until("it runs", lambda: box.containers("running") == [container])
            assert await answer(function, body) == body.decode()
    assert not box.containers()


async def test_a_container_that_ignores_its_signal_is_stopped_by_force_and_kept(docker_engine: Engine) -> None:
    """As most servers do that are the first process of their container and never heard of SIGTERM."""
    import_busybox(docker_engine, "deaf:1", ['CMD ["httpd", "-f", "-p", "8000", "-h", "/"]'])
    labels = {ZERO: "stop", "com.penstock.http-port": "8000"}
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "deaf", "", image="deaf:1", labels=labels, env_vars={"write_timeout": "1s"})
        [container] = box.containers()
        await to_zero(provider, "deaf")
        await until("it is stopped", lambda: box.containers("exited") == [container])
        await woken(provider, "deaf")
        assert box.containers("running") == [container]


async def test_without_a_label_nothing_is_kept(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "gone")
        await to_zero(provider, "gone")
        await until("its container is removed", lambda: not box.containers())


async def test_of_several_replicas_one_container_is_kept(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "many", labels={ZERO: "pause"})
        await provider.scale("many", DEFAULT_NAMESPACE, 3)
        await ready(provider, "many", 3)
        await to_zero(provider, "many")
        await until("one container is left", lambda: len(box.containers()) == 1)
        assert len(box.containers("paused")) == 1


@pytest.mark.parametrize("manner", ["stop", "pause"])
async def test_a_woken_replica_has_the_secrets_of_now(docker_engine: Engine, manner: str) -> None:
    async with running_box(docker_engine) as (provider, box):
        await provider.create_secret(Secret(name="key", value=b"old"))
        function = await deployed(
            provider, "keeper", "cat /var/openfaas/secrets/key", secrets=("key",), labels={ZERO: manner}
        )
        assert await answer(function) == "old"
        [container] = box.containers()
        await to_zero(provider, "keeper")
        await provider.update_secret(Secret(name="key", value=b"new"))
        assert await answer(await woken(provider, "keeper")) == "new"
        assert box.containers() == [container]


async def test_an_update_at_zero_replaces_the_kept_container(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "changed", "echo one", labels={ZERO: "pause"})
        [container] = box.containers()
        await to_zero(provider, "changed")
        await provider.update(spec("changed", "echo two", labels={ZERO: "pause"}))
        assert await answer(await woken(provider, "changed")) == "two\n"
        await removed(box, container)


async def test_the_kept_container_of_a_deleted_function_is_removed(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "deleted", labels={ZERO: "pause"})
        await to_zero(provider, "deleted")
        await provider.delete("deleted", DEFAULT_NAMESPACE)
        await until("nothing is left", lambda: not box.containers())


async def test_a_function_deleted_while_it_waits_to_be_frozen_ends(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "hurried", labels={ZERO: "pause"})
        await provider.scale("hurried", DEFAULT_NAMESPACE, 0)
        await until("it waits to be frozen", lambda: bool(lives(provider)._resting._freezing))
        await provider.delete("hurried", DEFAULT_NAMESPACE)
        await until("nothing is left", lambda: not box.containers())


async def test_a_function_wanted_while_it_waits_to_be_frozen_keeps_its_container(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "wanted", labels={ZERO: "pause"})
        [container] = box.containers()
        await provider.scale("wanted", DEFAULT_NAMESPACE, 0)
        await until("it waits to be frozen", lambda: bool(lives(provider)._resting._freezing))
        function = await woken(provider, "wanted")
        assert await answer(function, b"still here") == "still here"
        assert box.containers("running") == [container]


@pytest.mark.parametrize("manner", ["stop", "pause"])
async def test_a_kept_container_that_somebody_removes_is_replaced(docker_engine: Engine, manner: str) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "robbed", labels={ZERO: manner})
        await to_zero(provider, "robbed")
        docker_engine.docker("rm", "-f", *box.containers())
        assert await answer(await woken(provider, "robbed"), b"new") == "new"


async def test_a_frozen_container_outlives_control_and_is_frozen_again(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await deployed(first, "frozen", labels={ZERO: "pause"})
        await to_zero(first, "frozen")
        [container] = box.containers("paused")
        await die(first)
        async with started(box) as second:
            await until("it is frozen again", lambda: box.containers("paused") == [container])
            await ready(second, "frozen", 0)
            assert await answer(await woken(second, "frozen"), b"again") == "again"
            assert box.containers() == [container]


async def test_a_stopped_container_of_an_earlier_control_is_removed(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await deployed(first, "stopped", labels={ZERO: "stop"})
        await to_zero(first, "stopped")
        await die(first)
        async with started(box) as second:
            await until("nothing is left", lambda: not box.containers())
            assert await answer(await woken(second, "stopped"), b"new") == "new"


async def test_the_log_of_a_kept_container_can_be_read(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, _):
        function = await deployed(provider, "talker", "cat /spoken", labels={ZERO: "pause"})
        await call(function.endpoints[0])

        async def told() -> bool:
            return any(["spoken" in line.text async for line in provider.logs(LogQuery(name="talker"))])

        await until("it is in the log", told)
        await to_zero(provider, "talker")
        await until("it is in the log of the kept container", told)


async def test_a_frozen_container_is_thawed_and_not_started_again(docker_engine: Engine) -> None:
    """Which is why it takes milliseconds; how many is the bench's to measure."""
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "quick", labels={ZERO: "pause"})
        [container] = box.containers()
        state = box.inspect(container)["State"]
        for _ in range(3):
            await to_zero(provider, "quick")
            await woken(provider, "quick")
        assert box.containers("running") == [container]
        now = box.inspect(container)["State"]
        assert (now["StartedAt"], now["Pid"]) == (state["StartedAt"], state["Pid"])


async def test_connections_of_a_container_elsewhere_are_not_guessed_at(docker_engine: Engine) -> None:
    """The numbers of processes in the engine's sandbox are those of others out here."""
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "far")
        [container] = box.containers()
        pid = box.inspect(container)["State"]["Pid"]
        assert connections(pid, container, 8080) is None
        outside = docker_engine.sandbox.outside(pid)
        # That of the readiness probe may not have ended yet.
        await until("nobody is connected", lambda: connections(outside, container, 8080) == 0)


async def test_a_request_under_way_keeps_a_container_from_being_frozen(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        function = await deployed(provider, "busy", labels={ZERO: "pause"})
        [container] = box.containers()
        entry = next(iter(lives(provider).entries.values()))
        entry.pid = docker_engine.sandbox.outside(entry.pid)
        await until("the readiness probe is over", lambda: connections(entry.pid, container, 8080) == 0)
        host, _, port = function.endpoints[0].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST / HTTP/1.0\r\nHost: test\r\nContent-Length: 9\r\n\r\n")
        await until("it is connected", lambda: connections(entry.pid, container, 8080) == 1)
        await provider.scale("busy", DEFAULT_NAMESPACE, 0)
        await until("it waits to be frozen", lambda: bool(lives(provider)._resting._freezing))
        assert box.containers("running") == [container]
        writer.write(b"the rest\n")
        assert (await asyncio.wait_for(reader.read(), DEADLINE)).endswith(b"\r\n\r\nthe rest\n")
        writer.close()
        await ready(provider, "busy", 0)
        assert box.containers("paused") == [container]


def lives(provider: LocalProvider) -> Any:
    """A private room of the provider."""
    runtime: Any = provider._runtime
    return runtime._started.lives
