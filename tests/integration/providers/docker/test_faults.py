"""What goes wrong with an engine and its containers: each is said where users look, and passes without a lost function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import InvalidInput, ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE, Resources
from penstock.providers.local import LocalProvider
from penstock.providers.runtimes.docker import create_docker_provider
from penstock.settings import ServeSettings
from tests.engines.engine import Engine
from tests.engines.fixtures import StartEngine
from tests.engines.images import import_busybox
from tests.integration.providers.docker.harness import (
    IMAGE,
    NETWORK,
    answer,
    boxed,
    deployed,
    running_box,
    spec,
    started,
)
from tests.integration.providers.waiting import ready, reason, until

pytestmark = [pytest.mark.service("dockerd", "busybox"), pytest.mark.usefixtures("busybox_image")]

EATER = json.dumps(["busybox", "awk", 'BEGIN { x = "x"; while (1) x = x x }'])


@pytest.fixture(scope="module")
def own_engine(start_module_engine: StartEngine) -> Iterator[Engine]:
    """One that tests of this file may stop; they leave it running."""
    engine = start_module_engine()
    import_busybox(engine)
    yield engine


async def unhealthy(provider: LocalProvider) -> str:
    """Why the provider is not healthy, once it says so."""
    why = ""

    async def holds() -> bool:
        nonlocal why
        try:
            await provider.health()
        except ProviderUnavailable as error:
            why = str(error)
        return bool(why)

    await until("the provider is not healthy", holds)
    return why


async def healthy(provider: LocalProvider) -> None:
    async def holds() -> bool:
        try:
            await provider.health()
        except ProviderUnavailable:
            return False
        return True

    await until("the provider is healthy", holds)


# Containers


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("kill",), "ended by signal 9 (Killed)"),
        (("rm", "-f"), "removed by somebody else"),
        (("network", "disconnect", NETWORK), "disconnected from its network by somebody else"),
    ],
)
async def test_a_container_that_somebody_ends_is_replaced(
    docker_engine: Engine, command: tuple[str, ...], why: str
) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "victim")
        [container] = box.containers()
        told = asyncio.create_task(reason(provider, "victim", why))
        docker_engine.docker(*command, container)
        await told
        function = await ready(provider, "victim")
        assert function.replicas[0].restarts == 1
        assert await answer(function, b"again") == "again"
        assert box.container_at(function.endpoints[0]) != container


async def test_a_container_killed_by_hand_does_not_disturb_others(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        await deployed(provider, "victim")
        [container] = box.containers()
        bystander = await deployed(provider, "bystander")
        docker_engine.docker("kill", container)
        assert await answer(bystander, b"untouched") == "untouched"
        assert (await ready(provider, "bystander")).replicas == bystander.replicas


async def test_a_container_that_somebody_freezes_goes_on(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        function = await deployed(provider, "frozen")
        [container] = box.containers()
        docker_engine.docker("pause", container)
        await until("it goes on", lambda: box.containers("running") == [container])
        assert await answer(function, b"alive") == "alive"


async def test_a_program_that_ends_at_once_says_its_last_words_and_backs_off(docker_engine: Engine) -> None:
    image = "ends:1"
    import_busybox(docker_engine, image, ['CMD ["cat", "/absent"]', "EXPOSE 8080"])
    async with running_box(docker_engine) as (provider, box):
        await provider.deploy(spec("ends", "", image=image))
        # A busy engine may not give the words of every end in time.
        why = await reason(provider, "ends", "can't open '/absent'")
        assert "exit code 1" in why

        async def restarted() -> bool:
            return (await provider.get("ends", DEFAULT_NAMESPACE)).replicas[0].restarts >= 4

        await until("it was restarted several times", restarted)
        assert len(box.containers()) <= 5, "of the dead only the latest are kept"


async def test_running_out_of_memory_is_called_so(docker_engine: Engine) -> None:
    image = "eater:1"
    import_busybox(docker_engine, image, [f"CMD {EATER}", "EXPOSE 8080"])
    async with running_box(docker_engine) as (provider, _):
        await provider.deploy(spec("eater", "", image=image, limits=Resources(memory="8Mi")))
        await reason(provider, "eater", "out of memory, its limit is 8Mi")


async def test_a_memory_limit_below_the_least_is_raised_and_reported_as_asked(docker_engine: Engine) -> None:
    image = "small:1"
    import_busybox(docker_engine, image, ['CMD ["httpd", "-f", "-p", "8080"]', "EXPOSE 8080"])
    async with running_box(docker_engine) as (provider, box):
        given = {"limits": Resources(memory="1Mi"), "env_vars": {"write_timeout": "1s"}}
        await provider.deploy(spec("small", "", image=image, **given))
        await ready(provider, "small")
        [container] = box.containers()
        assert box.inspect(container)["HostConfig"]["Memory"] == 6 << 20
        assert (await provider.get("small", DEFAULT_NAMESPACE)).spec.limits.memory == "1Mi"


async def test_a_program_that_is_not_in_the_image_is_named(docker_engine: Engine) -> None:
    image = "absent:1"
    import_busybox(docker_engine, image, ['CMD ["/no/such/program"]', "EXPOSE 8080"])
    async with running_box(docker_engine) as (provider, box):
        await provider.deploy(spec("absent", "", image=image))
        await reason(provider, "absent", "/no/such/program")
        await provider.delete("absent", DEFAULT_NAMESPACE)
        await until("nothing is left", lambda: not box.containers())


# The network


async def test_a_removed_network_is_made_again(docker_engine: Engine) -> None:
    network = "penstock-removed"
    async with running_box(docker_engine, docker_network=network) as (provider, box):
        await deployed(provider, "netless")
        [container] = box.containers()
        docker_engine.docker("network", "disconnect", "-f", network, container)
        docker_engine.docker("network", "rm", network)
        await until("its container is removed", lambda: container not in box.containers())
        function = await ready(provider, "netless")
        assert await answer(function, b"back") == "back"


# Images


async def test_an_image_that_cannot_be_had_is_the_reason(docker_engine: Engine) -> None:
    async with running_box(docker_engine, pull="never") as (provider, box):
        await provider.deploy(spec("imageless", image="no-such-image:1"))
        await reason(provider, "imageless", "no-such-image:1")
        docker_engine.docker("tag", IMAGE, "no-such-image:1")
        await ready(provider, "imageless")
        docker_engine.docker("rmi", "no-such-image:1")
        await provider.delete("imageless", DEFAULT_NAMESPACE)
        await until("nothing is left", lambda: not box.containers())


async def test_a_function_deleted_while_it_starts_leaves_nothing(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        for pause in (0, 0.02, 0.1, 0.3, 0.6, 1.0):
            await provider.deploy(spec("brief", labels={"com.openfaas.scale.min": "2"}))
            await asyncio.sleep(pause)
            await provider.delete("brief", DEFAULT_NAMESPACE)
        await until("nothing is left", lambda: not box.containers())


@pytest.mark.parametrize(
    "fields",
    [
        {"image": ""},
        {"image": "UPPER"},
        {"image": "--privileged"},
        {"image": "a\nb"},
        {"limits": Resources(cpu="lots")},
        {"requests": Resources(memory="much")},
        {"constraints": ("node.hostname==elsewhere",)},
        {"constraints": ("nonsense",)},
        {"labels": {"com.penstock.zero": "sleep"}},
        {"labels": {"com.penstock.owner": "me"}},
        {"labels": {"com.penstock.http-port": "0"}},
    ],
)
async def test_what_can_never_run_is_refused(docker_engine: Engine, fields: dict[str, Any]) -> None:
    async with running_box(docker_engine) as (provider, box):
        with pytest.raises(InvalidInput):
            await provider.deploy(spec("hostile", **fields))
        assert not box.containers()


# The engine


async def test_without_an_engine_the_provider_does_not_start(tmp_path: Path) -> None:
    settings = ServeSettings(home=tmp_path, provider="docker")
    provider = create_docker_provider(
        settings, {"DOCKER_HOST": "unix:///nonexistent/docker.sock", "HOME": str(tmp_path)}
    )
    with pytest.raises(ProviderUnavailable, match=r"/nonexistent/docker\.sock"):
        await provider.start()


async def test_functions_come_back_with_an_engine_that_was_stopped(own_engine: Engine) -> None:
    async with running_box(own_engine) as (provider, box):
        await deployed(provider, "patient", labels={"com.openfaas.scale.min": "2"})
        await asyncio.to_thread(own_engine.stop)
        assert "docker.sock" in await unhealthy(provider)
        await provider.deploy(spec("meanwhile"))
        assert "docker.sock" in await reason(provider, "meanwhile", "docker.sock")
        await asyncio.to_thread(own_engine.start)
        await healthy(provider)

        async def seen_to_end() -> bool:
            return all(one.restarts for one in (await provider.get("patient", DEFAULT_NAMESPACE)).replicas)

        await until("what ended with the engine is started again", seen_to_end)
        assert await answer(await ready(provider, "patient", 2), b"one") == "one"
        assert await answer(await ready(provider, "meanwhile"), b"two") == "two"
        await until("three containers are left", lambda: len(box.containers("running")) == 3)


async def test_what_was_asked_for_while_the_engine_was_away_is_done_when_it_is_back(own_engine: Engine) -> None:
    async with running_box(own_engine) as (provider, box):
        await deployed(provider, "deleted")
        await deployed(provider, "scaled")
        await asyncio.to_thread(own_engine.kill)
        await unhealthy(provider)
        await provider.delete("deleted", DEFAULT_NAMESPACE)
        await provider.scale("scaled", DEFAULT_NAMESPACE, 2)
        await asyncio.to_thread(own_engine.start)
        await ready(provider, "scaled", 2)
        await until("two containers are left", lambda: len(box.containers("running")) == 2)


async def test_containers_live_through_a_restart_of_an_engine_with_live_restore(start_engine: StartEngine) -> None:
    engine = await asyncio.to_thread(lambda: start_engine(live_restore=True))
    await asyncio.to_thread(import_busybox, engine)
    async with running_box(engine) as (provider, box):
        before = await deployed(provider, "steady")
        containers = box.containers()
        await asyncio.to_thread(engine.stop)
        await unhealthy(provider)
        assert await answer(before, b"without an engine") == "without an engine"
        await asyncio.to_thread(engine.start)
        await healthy(provider)
        after = await ready(provider, "steady")
        assert (after.replicas, box.containers()) == (before.replicas, containers)
        await provider.scale("steady", DEFAULT_NAMESPACE, 2)
        await ready(provider, "steady", 2)


async def test_an_engine_that_hangs_is_not_healthy_and_harms_nobody(own_engine: Engine) -> None:
    async with running_box(own_engine) as (provider, _):
        function = await deployed(provider, "lasting")
        own_engine.pause()
        try:
            assert "does not answer" in await unhealthy(provider)
            assert await answer(function, b"served") == "served"
            await provider.scale("lasting", DEFAULT_NAMESPACE, 2)
        finally:
            own_engine.resume()
        await healthy(provider)
        await ready(provider, "lasting", 2)


async def test_a_provider_closed_without_its_engine_leaves_containers_for_the_next(own_engine: Engine) -> None:
    async with boxed(own_engine) as box:
        async with started(box) as provider:
            await deployed(provider, "orphan")
            await provider.delete("orphan", DEFAULT_NAMESPACE)
            await asyncio.to_thread(own_engine.kill)
            await unhealthy(provider)
            provider._stop_timeout = 0.1
        await asyncio.to_thread(own_engine.start)
        async with started(box):
            await until("nothing is left", lambda: not box.containers())


async def test_twenty_functions_of_two_replicas_start_side_by_side(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        names = [f"crowd-{number}" for number in range(20)]
        labels = {"com.openfaas.scale.min": "2"}
        await asyncio.gather(*(provider.deploy(spec(name, labels=labels)) for name in names))
        functions = await asyncio.gather(*(ready(provider, name, 2) for name in names))
        assert len({address for function in functions for address in function.endpoints}) == 40
        assert len(box.containers("running")) == 40
