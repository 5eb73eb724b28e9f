"""The verbs, over a Swarm in memory whose tasks the test runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.core.health import Check
from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec, Namespace, Secret
from penstock.providers.swarm.composition import parts_of
from penstock.providers.swarm.provider import SwarmProvider
from penstock.settings import ServeSettings
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.fake_swarm import IMAGE, FakeSwarm

ECHO = FunctionSpec(name="echo", image="img:1")
SETTINGS = ServeSettings(provider="swarm", docker_connect="ip", pull="never")


class World:
    """A provider, its Swarm, its clock, and which ports answer."""

    def __init__(self) -> None:
        self.swarm = FakeSwarm()
        self.clock = FakeClock()
        self.silent: set[str] = set()
        self.provider = self.another()

    def another(self) -> SwarmProvider:
        """One more gateway's provider, not started."""
        return SwarmProvider(parts_of(self.swarm.engine, SETTINGS, {}, self.clock, self._answer))

    async def _answer(self, address: str, check: Check) -> bool | str:
        return "it does not listen" if address in self.silent else True

    async def see(self, seconds: float = 0.3, provider: SwarmProvider | None = None) -> Function:
        """Let the provider look at the Swarm, and time pass; then the function."""
        found = provider or self.provider
        found._parts.cluster.hurry()
        for _ in range(6):
            await self.clock.advance(seconds / 6)
        return await found.get("echo", DEFAULT_NAMESPACE)

    async def run(self, name: str = "echo", **fields: str) -> Function:
        """Let what is prepared be completed, give a service its tasks, and see."""
        await self.see()
        self.swarm.run(name, **fields)
        return await self.see()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    await made.provider.start()
    try:
        yield made
    finally:
        await made.provider.close()


async def test_a_deployment_is_accepted_at_once_and_then_completed() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        function = await there.provider.get("echo", DEFAULT_NAMESPACE)
        assert (function.spec, function.desired, function.available) == (ECHO, 1, 0)
        assert [replica.state for replica in function.replicas] == ["starting"]
        function = await there.run()
        assert function.endpoints == ("10.0.2.21:8080",)


async def test_what_the_image_cannot_do_is_refused_before_anything_is_made() -> None:
    async with world() as there:
        there.swarm.images["img:1"] = {**IMAGE, "Config": {"Cmd": ["sh"]}}
        with pytest.raises(InvalidInput):
            await there.provider.deploy(ECHO)
        assert there.swarm.names("services") == []


async def test_an_image_that_is_not_there_is_told_and_tried_again() -> None:
    async with world() as there:
        del there.swarm.images["img:1"]
        await there.provider.deploy(ECHO)
        function = await there.see()
        assert function.replicas[0].state == "backoff"
        assert "img:1" in function.replicas[0].reason
        there.swarm.images["img:1"] = IMAGE
        await there.clock.advance(3)
        assert (await there.run()).available == 1


async def test_a_new_specification_takes_over_once_its_ports_answer() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        before = await there.run()
        there.silent.add("10.0.3.21:8080")
        changed = FunctionSpec(name="echo", image="img:1", env_vars={"V": "2"})
        await there.provider.update(changed)
        function = await there.run("echo__2", address="10.0.3.2")
        assert function.spec == changed
        assert function.endpoints == before.endpoints
        assert function.created_at == before.created_at
        there.silent.clear()
        await there.clock.advance(0.6)
        function = await there.see(1.0)
        assert function.endpoints == ("10.0.3.21:8080",)
        assert there.swarm.names("services") == ["echo__2"]


async def test_replicas_of_the_old_specification_leave_the_routes_before_they_end() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        await there.provider.update(FunctionSpec(name="echo", image="img:1", env_vars={"V": "2"}))
        function = await there.run("echo__2", address="10.0.3.2")
        assert function.endpoints == ("10.0.3.21:8080",)
        removed = [path for method, path in there.swarm.asked if method == "DELETE" and "/services/" in path]
        draining = [replica for replica in function.replicas if replica.state == "draining"]
        assert removed or draining


async def test_an_update_keeps_the_number_of_replicas() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        await there.provider.scale("echo", DEFAULT_NAMESPACE, 3)
        await there.provider.update(ECHO)
        assert (await there.provider.get("echo", DEFAULT_NAMESPACE)).desired == 3
        await there.see()
        assert there.swarm.find("services", "echo__2")["Spec"]["Mode"] == {"Replicated": {"Replicas": 3}}


async def test_the_floor_of_an_alert_is_seen_by_other_gateways_and_stays_over_an_update() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        other = there.another()
        await other.start()
        try:
            await there.provider.hold("echo", DEFAULT_NAMESPACE, 3, 3)
            function = await there.see(provider=other)
            assert (function.desired, function.floor) == (3, 3)
            await there.provider.scale("echo", DEFAULT_NAMESPACE, 4)
            await there.provider.update(ECHO)
            function = await there.see()
            assert (function.desired, function.floor) == (4, 3)
            await there.see(provider=other)
            await other.hold("echo", DEFAULT_NAMESPACE, None, 0)
            function = await there.see()
            assert (function.desired, function.floor) == (4, 0)
        finally:
            await other.close()


async def test_what_is_scaled_before_it_is_complete_starts_with_that_number() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.provider.scale("echo", DEFAULT_NAMESPACE, 4)
        assert (await there.provider.get("echo", DEFAULT_NAMESPACE)).desired == 4
        await there.see()
        assert there.swarm.find("services", "echo")["Spec"]["Mode"] == {"Replicated": {"Replicas": 4}}


async def test_scaling_survives_that_others_change_the_service_too() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        there.swarm.conflicts = 2
        scaling = asyncio.create_task(there.provider.scale("echo", DEFAULT_NAMESPACE, 2))
        await there.clock.advance(0.1)
        await scaling
        assert (await there.provider.get("echo", DEFAULT_NAMESPACE)).desired == 2


async def test_a_generation_that_serves_is_scaled_along_with_one_that_does_not() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        del there.swarm.images["img:1"]
        await there.provider.update(FunctionSpec(name="echo", image="img:1", env_vars={"V": "2"}))
        await there.see()
        await there.provider.scale("echo", DEFAULT_NAMESPACE, 2)
        assert there.swarm.find("services", "echo")["Spec"]["Mode"] == {"Replicated": {"Replicas": 2}}


async def test_a_deleted_function_is_out_of_the_routes_before_its_service_goes() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        deleting = asyncio.create_task(there.provider.delete("echo", DEFAULT_NAMESPACE))
        await there.clock.settle()
        with pytest.raises(FunctionNotFound):
            await there.provider.get("echo", DEFAULT_NAMESPACE)
        assert there.swarm.names("services") == ["echo"]
        await there.clock.advance(0.3)
        await deleting
        assert there.swarm.names("services") == []


async def test_a_function_that_could_not_be_deleted_is_there_as_before() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        there.swarm.away = True
        deleting = asyncio.create_task(there.provider.delete("echo", DEFAULT_NAMESPACE))
        await there.clock.advance(0.3)
        with pytest.raises(ProviderUnavailable):
            await deleting
        assert (await there.provider.get("echo", DEFAULT_NAMESPACE)).available == 1


async def test_functions_are_told_as_last_seen_while_the_manager_is_away() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        there.swarm.away = True
        assert (await there.see()).available == 1
        with pytest.raises(ProviderUnavailable):
            await there.provider.health()
        with pytest.raises(ProviderUnavailable):
            await there.provider.scale("echo", DEFAULT_NAMESPACE, 2)
        there.swarm.away = False
        await there.clock.advance(1)
        await there.provider.scale("echo", DEFAULT_NAMESPACE, 2)
        assert (await there.see()).desired == 2


async def test_two_gateways_of_one_installation_see_each_others_functions() -> None:
    async with world() as there:
        other = there.another()
        await other.start()
        try:
            await there.provider.deploy(ECHO)
            await there.see(provider=other)
            with pytest.raises(FunctionExists):
                await other.deploy(ECHO)
        finally:
            await other.close()


async def test_of_two_gateways_that_update_at_once_both_succeed_one_after_the_other() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        other = there.another()
        await other.start()
        try:
            first, second = (FunctionSpec(name="echo", image="img:1", env_vars={"V": value}) for value in "12")
            await asyncio.gather(there.provider.update(first), other.update(second))
            await there.see()
            assert "echo__3" in there.swarm.names("services")
            assert (await there.see()).spec in (first, second)
        finally:
            await other.close()


async def test_a_namespace_that_another_gateway_made_can_be_used() -> None:
    async with world() as there:
        other = there.another()
        await other.start()
        await other.create_namespace(Namespace(name="team"))
        await other.close()
        assert await there.provider.list("team") == []


async def test_a_gateway_that_starts_completes_what_another_left_half_done() -> None:
    there = World()
    del there.swarm.images["img:1"]
    await there.provider.start()
    await there.provider.deploy(ECHO)
    await there.provider.close()
    there.swarm.images["img:1"] = IMAGE
    there.provider = there.another()
    await there.provider.start()
    assert (await there.run()).available == 1
    await there.provider.close()


async def test_old_replicas_serve_on_when_a_gateway_starts_in_the_middle_of_an_update() -> None:
    there = World()
    await there.provider.start()
    await there.provider.deploy(ECHO)
    await there.run()
    del there.swarm.images["img:1"]
    await there.provider.update(FunctionSpec(name="echo", image="img:1", env_vars={"V": "2"}))
    await there.provider.close()
    there.provider = there.another()
    await there.provider.start()
    function = await there.see()
    assert function.spec.env_vars == {"V": "2"}
    assert function.endpoints == ("10.0.2.21:8080",)
    await there.provider.close()


async def test_endpoints_on_a_lost_node_leave_and_come_back() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.run()
        there.swarm.nodes["node1"]["Status"]["State"] = "down"
        function = await there.see()
        assert not function.endpoints
        assert "does not answer (down)" in function.replicas[0].reason
        there.swarm.nodes["node1"]["Status"]["State"] = "ready"
        assert (await there.see()).available == 1


ALIVE = {"com.openfaas.health.http.path": "/alive", "com.openfaas.health.http.failureThreshold": "1"}


async def test_a_task_on_our_node_that_is_ill_is_ended() -> None:
    async with world() as there:
        await there.provider.deploy(FunctionSpec(name="echo", image="img:1", annotations=ALIVE))
        await there.run()
        there.silent.add("10.0.2.21:8080")
        function = await there.see(3)
        assert function.replicas[0].reason == "its health check failed: it does not listen"
        assert ("POST", "/containers/container1/stop") in there.swarm.asked
        assert there.swarm.names("services") == ["echo"]


async def test_a_task_on_another_node_that_is_ill_is_replaced_by_a_new_generation() -> None:
    async with world() as there:
        there.swarm.nodes["node2"] = {**there.swarm.nodes["node1"], "ID": "node2"}
        await there.provider.deploy(FunctionSpec(name="echo", image="img:1", annotations=ALIVE))
        await there.run()
        [tasks] = there.swarm.tasks.values()
        tasks[0]["NodeID"] = "node2"
        there.silent.add("10.0.2.21:8080")
        await there.see(3)
        assert "echo__2" in there.swarm.names("services")


async def test_several_tasks_on_another_node_that_are_ill_are_replaced_by_one_generation() -> None:
    async with world() as there:
        there.swarm.nodes["node2"] = {**there.swarm.nodes["node1"], "ID": "node2"}
        ill = FunctionSpec(name="echo", image="img:1", annotations=ALIVE, labels={"com.openfaas.scale.min": "3"})
        await there.provider.deploy(ill)
        await there.run()
        [tasks] = there.swarm.tasks.values()
        for task in tasks:
            task["NodeID"] = "node2"
        there.silent |= {f"10.0.2.2{slot}:8080" for slot in (1, 2, 3)}
        await there.see(3)
        assert there.swarm.names("services") == ["echo", "echo__2"]


async def test_a_new_value_of_a_secret_makes_a_new_generation_of_those_that_use_it() -> None:
    async with world() as there:
        await there.provider.create_secret(Secret(name="key", value=b"1"))
        await there.provider.deploy(FunctionSpec(name="echo", image="img:1", secrets=("key",)))
        await there.provider.deploy(FunctionSpec(name="other", image="img:1"))
        await there.run()
        await there.provider.update_secret(Secret(name="key", value=b"2"))
        await there.see()
        secrets = there.swarm.find("services", "echo__2")["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"]
        assert [secret["SecretName"] for secret in secrets] == ["penstock.openfaas-fn.key.2"]
        assert "other__2" not in there.swarm.names("services")


async def test_a_namespace_is_deleted_with_its_secrets() -> None:
    async with world() as there:
        await there.provider.create_namespace(Namespace(name="team"))
        await there.provider.create_secret(Secret(name="key", namespace="team", value=b"1"))
        await there.provider.delete_namespace("team")
        assert there.swarm.names("configs") == [] == there.swarm.names("secrets")
        removed = [path for method, path in there.swarm.asked if method == "DELETE"]
        assert removed[-1].startswith("/configs/"), "it can be deleted again when its secrets could not be"


async def test_a_gateway_that_is_a_container_joins_the_networks_of_functions_that_are_there() -> None:
    there = World()
    await there.provider.start()
    await there.provider.deploy(ECHO)
    await there.run()
    await there.provider.close()
    there.provider = there.another()
    there.provider._parts.surroundings.joins = "me"
    await there.provider.start()
    await there.see()
    await there.provider.close()
    assert {"Container": "me"} in there.swarm.bodies


async def test_an_engine_that_manages_no_swarm_is_refused_at_the_start() -> None:
    there = World()
    there.swarm.swarm = {"LocalNodeState": "inactive"}
    with pytest.raises(ProviderUnavailable, match="docker swarm init"):
        await there.provider.start()
    assert there.swarm.closed


async def test_closing_leaves_functions_alone() -> None:
    there = World()
    await there.provider.start()
    await there.provider.deploy(ECHO)
    await there.run()
    await there.provider.close()
    assert there.swarm.names("services") == ["echo"]


async def test_a_function_counts_where_another_gateway_has_made_a_pipeline_of_its_name_at_once() -> None:
    async with world() as made:
        await made.provider.deploy(ECHO)
        await made.another()._pipelines.create(FunctionSpec(name="echo", stages=("sort",)))
        assert (await made.see()).spec == ECHO
        assert [function.spec for function in await made.provider.list(DEFAULT_NAMESPACE)] == [ECHO]
        await made.provider.delete("echo", DEFAULT_NAMESPACE)
        assert (await made.see()).spec.stages == ("sort",)
