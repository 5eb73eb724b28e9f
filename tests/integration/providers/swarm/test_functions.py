"""Functions on a real Swarm of one node: how they run, what is told about those that do not, and what outlives the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.errors import FunctionNotFound, InvalidInput
from penstock.model import DEFAULT_NAMESPACE, Function, LogQuery, Namespace, Resources, Secret
from penstock.providers.containers import labels
from penstock.providers.swarm.provider import SwarmProvider
from tests.engines.images import import_busybox
from tests.engines.swarm import SwarmNode
from tests.integration.providers.swarm.harness import (
    SERVER,
    Installation,
    call,
    calls_that_never_fail,
    deployed,
    installed,
    program,
    running,
    started,
)
from tests.integration.providers.waiting import ready, reason, until

pytestmark = pytest.mark.service("dockerd", "busybox")


@pytest.fixture(scope="module")
def swarm(swarm_engine: SwarmNode) -> SwarmNode:
    import_busybox(swarm_engine)
    return swarm_engine


def server(swarm: SwarmNode) -> str:
    """An image that serves HTTP by itself, and knows no paths of ours but one."""
    return import_busybox(swarm, "server:it", [f"ENTRYPOINT {json.dumps(['sh', '-c', SERVER])}", "EXPOSE 8080"])


async def answer(provider: SwarmProvider, name: str, body: bytes = b"", path: str = "/") -> tuple[int, bytes]:
    function = await ready(provider, name)
    return await call(function.endpoints[0], body, path)


async def test_a_program_of_an_unmodified_image_answers_requests(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        await provider.deploy(program("echo", "cat"))
        assert await answer(provider, "echo", b"hello") == (200, b"hello")


async def test_an_image_that_serves_http_runs_as_it_is(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        await provider.deploy(program("web", "", image=server(swarm)))
        function = await ready(provider, "web")
        assert await call(function.endpoints[0], path="/_/ready", method="GET") == (200, b"fine\n")


async def test_a_function_gets_its_variables_secrets_user_and_a_read_only_root(swarm: SwarmNode) -> None:
    secrets = "/var/openfaas/secrets"
    script = (
        f"id -u; echo $GREETING; cat {secrets}/key; [ -f {secrets}/none ] && [ ! -s {secrets}/none ] && echo empty\n"
        "(echo x >/x) 2>&- || echo read-only; echo x >/tmp/y && echo writable\n"
    )
    async with running(swarm) as (provider, _):
        await provider.create_secret(Secret(name="key", value=b"s3cret\n"))
        await provider.create_secret(Secret(name="none", value=b""))
        variables = {"GREETING": "{{.Service.Name}}"}
        await provider.deploy(program("show", "sh", env_vars=variables, secrets=("key", "none"), read_only_root=True))
        status, said = await answer(provider, "show", script.encode())
    assert (status, said.splitlines()) == (
        200,
        [b"12000", b"{{.Service.Name}}", b"s3cret", b"empty", b"read-only", b"writable"],
    )


async def test_limits_reach_the_container_and_secrets_do_not_reach_its_description(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, installation):
        await provider.create_secret(Secret(name="key", value=b"s3cret"))
        limits = Resources(memory="64Mi", cpu="500m")
        await deployed(provider, program("small", limits=limits, secrets=("key",)))
        [container] = containers(installation)
        text = swarm.docker("inspect", container)
        [document] = json.loads(text)
        function = await provider.get("small", DEFAULT_NAMESPACE)
    assert document["HostConfig"]["Memory"] == 64 << 20
    assert document["HostConfig"]["NanoCpus"] == 500_000_000
    assert document["HostConfig"]["CapDrop"] == ["ALL"]
    assert "s3cret" not in text
    assert function.spec.limits == limits


async def test_a_new_value_of_a_secret_reaches_the_functions_that_use_it(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, installation):
        await provider.create_secret(Secret(name="key", value=b"old"))
        before = await deployed(provider, program("reads", "cat /var/openfaas/secrets/key", secrets=("key",)))
        assert (await call(before.endpoints[0]))[1] == b"old"
        await provider.update_secret(Secret(name="key", value=b"new"))

        async def replaced() -> bool:
            function = await provider.get("reads", DEFAULT_NAMESPACE)
            return function.available == 1 == len(function.replicas) and function.endpoints != before.endpoints

        await until("a replica with the new value", replaced)
        assert await answer(provider, "reads") == (200, b"new")
        await until("the old value is gone", lambda: len(installation.of("secret")) == 1)


async def test_a_secret_that_is_deleted_while_in_use_goes_with_its_function(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, installation):
        await provider.create_secret(Secret(name="key", value=b"old"))
        await deployed(provider, program("reads", secrets=("key",)))
        await provider.delete_secret("key", DEFAULT_NAMESPACE)
        assert await provider.list_secrets(DEFAULT_NAMESPACE) == []
        with pytest.raises(InvalidInput, match="unable to find secret 'key'"):
            await provider.update(program("reads", secrets=("key",), env_vars={"V": "2"}))
        await provider.create_secret(Secret(name="key", value=b"again"))
        assert await provider.list_secrets(DEFAULT_NAMESPACE) == ["key"]
        await provider.delete_secret("key", DEFAULT_NAMESPACE)
        await provider.delete("reads", DEFAULT_NAMESPACE)
        await until("nothing is left of it", lambda: not installation.of("secret"))


async def test_a_namespace_has_a_network_that_goes_with_it(swarm: SwarmNode) -> None:
    async with running(swarm, docker_network="penstock-own") as (provider, installation):
        await provider.create_namespace(Namespace(name="team"))
        await provider.deploy(program("member", namespace="team"))
        await until("its network", lambda: installation.of("network") == ["penstock-own-team"])
        await provider.delete("member", "team")
        await provider.delete_namespace("team")
        await until("its network is gone", lambda: not installation.of("network"))


async def test_a_service_that_is_not_ours_is_left_alone(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, installation):
        name = f"taken___{installation.name}"
        swarm.docker("service", "create", "--detach", "--name", name, "--replicas", "0", "busybox:it")
        try:
            with pytest.raises(InvalidInput, match="that is not ours"):
                await provider.deploy(program("taken"))
            with pytest.raises(FunctionNotFound):
                await provider.delete("taken", DEFAULT_NAMESPACE)
            assert name in swarm.docker("service", "ls", "--format", "{{.Name}}").split()
        finally:
            swarm.docker("service", "rm", name)


# Told


async def test_constraints_that_hold_nowhere_are_told(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        await provider.deploy(program("picky", constraints=("node.labels.zone==moon",)))
        said = await reason(provider, "picky", "no node fits")
    assert said == "no node fits: its constraints (node.labels.zone==moon) do not hold on 1 node"


async def test_memory_that_no_node_has_is_told(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        await provider.deploy(program("huge", requests=Resources(memory="4000Gi")))
        assert "1 node cannot reserve what it requests (memory 4000Gi)" in await reason(
            provider, "huge", "no node fits"
        )


async def test_a_program_that_ends_at_once_is_told_with_its_last_words(swarm: SwarmNode) -> None:
    broken = import_busybox(
        swarm, "broken:it", ['ENTRYPOINT ["sh", "-c", "echo no database >&2; exit 3"]', "EXPOSE 8080"]
    )
    async with running(swarm) as (provider, _):
        await provider.deploy(program("broken", "", image=broken))
        assert "exit code 3: no database" in await reason(provider, "broken", "no database")


async def test_an_image_that_nobody_has_is_told(swarm: SwarmNode) -> None:
    async with running(swarm, pull="never") as (provider, _):
        await provider.deploy(program("absent", image="absent:it"))
        assert "absent:it" in await reason(provider, "absent", "absent:it")


async def test_what_an_image_cannot_do_is_refused_at_once(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        with pytest.raises(InvalidInput):
            await provider.deploy(program("shell", ""))
        assert await provider.list(DEFAULT_NAMESPACE) == []


# Updates and restarts


async def test_an_update_that_never_becomes_ready_leaves_the_old_one_serving(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        before = await deployed(provider, program("steady"))
        await provider.update(program("steady", constraints=("node.labels.zone==moon",)))
        await reason(provider, "steady", "no node fits")
        function = await provider.get("steady", DEFAULT_NAMESPACE)
        assert function.endpoints == before.endpoints
        assert (await call(function.endpoints[0], b"x"))[0] == 200
        await provider.update(program("steady", env_vars={"V": "3"}))
        after = await ready(provider, "steady")
        assert not set(after.endpoints) & set(before.endpoints)


async def test_calls_go_on_through_an_update_and_scaling_down(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        # Calls come late where this process is slow: a watchdog that is told to end waits for them.
        late = {"healthcheck_interval": "10s"}
        before = await deployed(provider, program("busy", env_vars=late))
        async with calls_that_never_fail(provider, "busy"):
            await provider.update(program("busy", env_vars={**late, "V": "2"}))

            async def replaced() -> bool:
                function = await provider.get("busy", DEFAULT_NAMESPACE)
                return function.available == 1 == len(function.replicas) and function.endpoints != before.endpoints

            await until("the update is over", replaced)
            await provider.scale("busy", DEFAULT_NAMESPACE, 3)
            await ready(provider, "busy", 3)
            await provider.scale("busy", DEFAULT_NAMESPACE, 1)
            await ready(provider, "busy", 1)


async def test_a_watchdog_that_was_pruned_comes_back(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, installation):
        await deployed(provider, program("pruned"))
        await provider.scale("pruned", DEFAULT_NAMESPACE, 0)
        await ready(provider, "pruned", 0)
        await until("nobody uses the volume", lambda: pruned(installation))
        await provider.scale("pruned", DEFAULT_NAMESPACE, 1)
        assert await answer(provider, "pruned", b"x") == (200, b"x")


def pruned(installation: Installation) -> bool:
    """Whether all volumes with a watchdog are removed; those in use stay."""
    engine = installation.engine
    if volumes := engine.docker("volume", "ls", "--quiet", "--filter", "name=penstock-watchdog").split():
        with contextlib.suppress(AssertionError):
            engine.docker("volume", "rm", *volumes)
    return not volumes


async def test_functions_go_on_while_no_gateway_runs(swarm: SwarmNode) -> None:
    async with installed(swarm) as installation:
        async with started(installation) as provider:
            await provider.create_namespace(Namespace(name="team", labels={"a": "b"}))
            before = await deployed(provider, program("stays"))
        assert (await call(before.endpoints[0], b"x")) == (200, b"x")
        async with started(installation) as provider:
            function = await ready(provider, "stays")
            assert function == before
            assert Namespace(name="team", labels={"a": "b"}) in await provider.list_namespaces()


async def test_what_was_under_way_is_completed_by_the_next_gateway(swarm: SwarmNode) -> None:
    async with installed(swarm) as installation:
        async with started(installation) as provider:
            before = await deployed(provider, program("rolls"))
            await provider.update(program("rolls", env_vars={"V": "2"}))
            await provider.deploy(program("fresh"))
        async with started(installation) as provider:
            assert (await provider.get("rolls", DEFAULT_NAMESPACE)).spec.env_vars == {"V": "2"}
            after = await ready(provider, "rolls")
            assert not set(after.endpoints) & set(before.endpoints)
            await ready(provider, "fresh")
            await until("the service of before is gone", lambda: len(installation.of("service")) == 2)


async def test_a_killed_container_leaves_the_routes_and_is_replaced(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, installation):
        before = await deployed(provider, program("mortal"))
        [container] = containers(installation)
        with no_new_tasks(swarm):
            swarm.docker("kill", container)
            assert "killed (exit code 137)" in await reason(provider, "mortal", "killed")
            assert (await provider.get("mortal", DEFAULT_NAMESPACE)).endpoints == ()
        after = await ready(provider, "mortal")
    assert after.replicas[0].restarts == 1
    assert after.replicas[0].id != before.replicas[0].id


@contextlib.contextmanager
def no_new_tasks(swarm: SwarmNode) -> Iterator[None]:
    """Meanwhile nothing is started, so that what is told between an end and the next start is still told whenever it is read."""
    swarm.docker("node", "update", "--availability", "pause", swarm.id)
    try:
        yield
    finally:
        swarm.docker("node", "update", "--availability", "active", swarm.id)


async def test_a_watchdog_that_says_it_is_ill_is_replaced_where_annotations_ask_for_that(swarm: SwarmNode) -> None:
    asked = {
        "com.openfaas.health.http.periodSeconds": "1",
        "com.openfaas.health.http.timeoutSeconds": "60",
        "com.openfaas.health.http.failureThreshold": "1",
    }
    async with running(swarm) as (provider, _):
        before = await deployed(provider, program("ill", "sh", annotations=asked))
        await call(before.endpoints[0], b"rm /tmp/.lock")

        async def replaced() -> bool:
            function = await provider.get("ill", DEFAULT_NAMESPACE)
            return function.available == 1 and function.replicas[0].id != before.replicas[0].id

        await until("another replica", replaced)


async def test_an_image_that_fails_the_annotated_check_is_replaced(swarm: SwarmNode) -> None:
    asked = {
        "com.openfaas.health.http.path": "/_/ready",
        "com.openfaas.health.http.periodSeconds": "1",
        "com.openfaas.health.http.timeoutSeconds": "60",
    }
    async with running(swarm) as (provider, installation):
        before = await deployed(provider, program("web", "", image=server(swarm), annotations=asked))
        [container] = containers(installation)
        swarm.docker("exec", container, "busybox", "rm", "/tmp/w/_/ready")
        await reason(provider, "web", "its health check failed: /_/ready answers 404")

        async def replaced() -> bool:
            function = await provider.get("web", DEFAULT_NAMESPACE)
            return function.available == 1 and function.replicas[0].id != before.replicas[0].id

        await until("another replica", replaced)


async def test_each_replica_writes_its_own_lines(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        await deployed(provider, program("talks", "sh -c 'cat; echo heard >&2'"))
        function = await ready(provider, "talks")
        await call(function.endpoints[0], b"x")

        async def written() -> bool:
            return any("heard" in line.text for line in await lines(provider, function))

        await until("the line in the log", written)


async def lines(provider: SwarmProvider, function: Function) -> list[Any]:
    query = LogQuery(name=function.spec.name, instance=function.replicas[0].id)
    return [line async for line in provider.logs(query)]


def containers(installation: Installation) -> list[str]:
    label = f"label={labels.OWNER}={installation.name}"
    return installation.engine.docker("ps", "-q", "--filter", label).split()


async def test_the_manager_restarted_in_the_middle_loses_no_function(swarm: SwarmNode) -> None:
    async with running(swarm) as (provider, _):
        await deployed(provider, program("survives"))
        await asyncio.to_thread(swarm.restart)
        await until("health", lambda: healthy(provider))
        await until("an answer", lambda: answers(provider, "survives"))
        assert len((await ready(provider, "survives")).replicas) == 1


async def answers(provider: SwarmProvider, name: str) -> bool:
    """Whether there is an endpoint, and it answers."""
    for endpoint in (await provider.get(name, DEFAULT_NAMESPACE)).endpoints:
        with contextlib.suppress(OSError, IndexError):
            return await call(endpoint, b"x") == (200, b"x")
    return False


async def healthy(provider: SwarmProvider) -> bool:
    try:
        await provider.health()
    except Exception:
        return False
    return True
