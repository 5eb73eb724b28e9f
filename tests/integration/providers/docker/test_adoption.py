"""Control that is killed and started again: its containers are found, used on or removed, and nothing foreign is touched."""

from __future__ import annotations

import pytest

from penstock.model import DEFAULT_NAMESPACE, Secret
from penstock.providers.containers import labels
from penstock.providers.runtimes.base import Order
from tests.engines.engine import Engine
from tests.integration.providers.docker.harness import (
    IMAGE,
    NETWORK,
    Box,
    answer,
    boxed,
    deployed,
    die,
    running_box,
    spec,
    started,
)
from tests.integration.providers.waiting import ready, reason, until

pytestmark = [pytest.mark.service("dockerd", "busybox"), pytest.mark.usefixtures("busybox_image")]


def foreign(engine: Engine, *options: str) -> str:
    """The id of a running container that is not ours."""
    return engine.docker("run", "-d", "--network", "none", *options, IMAGE, "sleep", "3600")


async def test_replicas_of_a_killed_control_serve_on(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        before = await deployed(first, "survivor", labels={"com.openfaas.scale.min": "2"})
        containers = box.containers()
        await die(first)
        assert await answer(before, b"meanwhile") == "meanwhile"
        async with started(box) as second:
            after = await ready(second, "survivor", 2)
            assert {one.id for one in after.replicas} == {one.id for one in before.replicas}
            assert set(after.endpoints) == set(before.endpoints)
            assert {one.started_at for one in after.replicas} != {None}
            assert sorted(box.containers()) == sorted(containers)
            assert (await answer(after, b"still")) == "still"
        assert not box.containers()


async def test_what_died_meanwhile_is_started_again(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await deployed(first, "fallen")
        [container] = box.containers()
        await die(first)
        docker_engine.docker("kill", container)
        async with started(box) as second:
            assert await answer(await ready(second, "fallen"), b"up") == "up"
            await until("the dead one is removed", lambda: container not in box.containers())


async def test_a_function_deleted_meanwhile_leaves_no_container(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await deployed(first, "unwanted")
        await deployed(first, "wanted")
        await die(first)
        await first._store.open()
        await first._store.remove_function("unwanted", DEFAULT_NAMESPACE)
        await first._store.close()
        async with started(box) as second:
            await ready(second, "wanted")
            await until("one container is left", lambda: len(box.containers()) == 1)


async def test_a_function_deployed_anew_meanwhile_gets_containers_of_its_own(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await deployed(first, "phoenix", "echo old")
        [container] = box.containers()
        await die(first)
        (box.home / "state.db").unlink()
        for rest in box.home.glob("state.db-*"):
            rest.unlink()
        async with started(box) as second:
            assert await answer(await deployed(second, "phoenix", "echo new")) == "new\n"
            await until("the old one is removed", lambda: container not in box.containers())


async def test_an_update_cut_short_is_finished(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await deployed(first, "rolling", "echo one")
        await first.update(spec("rolling", "echo two"))
        await die(first)
        async with started(box) as second:

            async def replaced() -> bool:
                function = await second.get("rolling", DEFAULT_NAMESPACE)
                return function.available == 1 == len(function.replicas) and await answer(function) == "two\n"

            await until("the new one serves alone", replaced)
            await until("one container is left", lambda: len(box.containers()) == 1)


async def test_secrets_stay_in_containers_that_are_taken_over(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await first.create_secret(Secret(name="key", value=b"hush"))
        await deployed(first, "keeper", "cat /var/openfaas/secrets/key", secrets=("key",))
        await die(first)
        async with started(box) as second:
            assert await answer(await ready(second, "keeper")) == "hush"


async def test_a_container_that_somebody_froze_is_taken_over_awake(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await deployed(first, "icy")
        await die(first)
        docker_engine.docker("pause", *box.containers())
        async with started(box) as second:
            assert await answer(await ready(second, "icy"), b"warm") == "warm"


async def test_a_container_off_its_network_is_not_taken_over(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        first = box.provider()
        await first.start()
        await deployed(first, "cut")
        [container] = box.containers()
        await die(first)
        docker_engine.docker("network", "disconnect", NETWORK, container)
        async with started(box) as second:
            assert await answer(await ready(second, "cut"), b"back") == "back"
            await until("the one that was cut off is removed", lambda: container not in box.containers())


async def test_a_container_with_an_unreadable_order_is_removed(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box:
        mark = ["--label", f"{labels.OWNER}={box.installation}", "--label", f"{labels.KIND}=replica"]
        foreign(docker_engine, *mark, "--label", f"{labels.ORDER}=not json")
        foreign(docker_engine, *mark)
        async with started(box):
            await until("both are removed", lambda: not box.containers())


async def test_containers_of_others_are_left_alone(docker_engine: Engine) -> None:
    strangers = [
        foreign(docker_engine),
        foreign(docker_engine, "--label", f"{labels.OWNER}=somebody-else", "--label", f"{labels.KIND}=replica"),
        foreign(docker_engine, "--label", f"{labels.OWNER}=", "--label", f"{labels.KIND}=replica"),
        foreign(docker_engine, "--label", f"{labels.KIND}=replica"),
    ]
    try:
        async with boxed(docker_engine) as box:
            first = box.provider()
            await first.start()
            await deployed(first, "mine")
            await die(first)
            async with started(box) as second:
                await ready(second, "mine")
                await second.delete("mine", DEFAULT_NAMESPACE)
                await until("ours is removed", lambda: not box.containers())
        running = docker_engine.docker("ps", "-q", "--no-trunc").split()
        assert set(strangers) <= set(running)
    finally:
        docker_engine.docker("rm", "-f", *strangers)


async def test_two_installations_on_one_engine_leave_each_other_alone(docker_engine: Engine) -> None:
    async with boxed(docker_engine) as box, running_box(docker_engine) as (other, _):
        one = box.provider()
        await one.start()
        await deployed(one, "same", "echo one")
        await deployed(other, "same", "echo other")
        await other.delete("same", DEFAULT_NAMESPACE)
        await die(one)
        async with started(box) as again:
            assert await answer(await ready(again, "same")) == "one\n"


async def test_a_foreign_container_of_the_wanted_name_keeps_it(
    docker_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_box(docker_engine) as (provider, box):
        stranger = foreign(docker_engine, "--name", "penstock-clash-abcdef012345")
        try:
            heard: list[str] = []
            order = Order(token="abcdef012345", replica="clash-1", spec=spec("clash"), generation=1, deployed="now")
            monkeypatch.setattr(provider, "exited", lambda token, reason: heard.append(reason))
            provider._runtime.launch(order)
            await until("it runs", lambda: len(box.containers("running")) == 1 or bool(heard))
            [container] = box.containers("running")
            assert box.inspect(container)["Name"].startswith("/penstock-clash-abcdef012345-"), heard
            assert stranger in docker_engine.docker("ps", "-q", "--no-trunc").split()
            provider._runtime.stop("abcdef012345", kill=True)
            await until("it ended", lambda: bool(heard))
        finally:
            docker_engine.docker("rm", "-f", stranger)


async def test_an_image_that_is_gone_does_not_matter_to_what_runs(docker_engine: Engine) -> None:
    image = "passing:1"
    docker_engine.docker("tag", IMAGE, image)
    async with boxed(docker_engine, pull="never") as box:
        first = box.provider()
        await first.start()
        await deployed(first, "passing", image=image)
        await die(first)
        docker_engine.docker("rmi", "-f", image)
        async with started(box) as second:
            function = await ready(second, "passing")
            assert await answer(function, b"on") == "on"
            await second.scale("passing", DEFAULT_NAMESPACE, 2)
            assert image in await reason(second, "passing", image)
            assert (await second.get("passing", DEFAULT_NAMESPACE)).available == 1


async def test_an_orderly_end_leaves_nothing_but_the_watchdog(docker_engine: Engine) -> None:
    network = "penstock-orderly"
    async with boxed(docker_engine, docker_network=network) as box:
        async with started(box) as provider:
            await deployed(provider, "tidy")
            assert network in docker_engine.docker("network", "ls", "--format", "{{.Name}}").split()
        assert not box.containers()
        assert network not in docker_engine.docker("network", "ls", "--format", "{{.Name}}").split()


async def test_a_network_of_others_is_used_and_stays(docker_engine: Engine) -> None:
    network = "somebodys"
    docker_engine.docker("network", "create", network)
    try:
        async with running_box(docker_engine, docker_network=network) as (provider, _):
            await deployed(provider, "guest")
        assert network in docker_engine.docker("network", "ls", "--format", "{{.Name}}").split()
    finally:
        docker_engine.docker("network", "rm", network)


def test_a_box_knows_its_containers(docker_engine: Engine) -> None:
    box = Box(docker_engine)
    foreign(docker_engine, "--label", f"{labels.OWNER}={box.installation}")
    assert len(box.containers("running")) == 1
    box.close()
    assert not box.containers()
