"""The verbs, over a cluster in memory whose pods the test runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from penstock.core.health import Check
from penstock.errors import (
    AlreadyExists,
    FunctionExists,
    FunctionNotFound,
    InvalidInput,
    NamespaceNotFound,
    PenstockError,
    ProviderUnavailable,
    SecretNotFound,
)
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec, LogQuery, Namespace, Secret
from penstock.providers.kubernetes import provider as module
from penstock.providers.kubernetes.client.errors import ApiForbidden, ApiNotFound
from penstock.providers.kubernetes.client.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
)
from penstock.providers.kubernetes.composition import Parts, parts_of
from penstock.providers.kubernetes.health import HOLDS
from penstock.providers.kubernetes.manifests import deployment
from penstock.providers.kubernetes.namespaces import making_in
from penstock.providers.kubernetes.provider import KubernetesProvider
from penstock.settings import ServeSettings
from penstock.testing.clock import FakeClock
from tests.unit.providers.kubernetes.fake_cluster import FakeCluster

ECHO = FunctionSpec(name="echo", image="registry.example.org/echo:1", env_process="cat")


class World:
    """A provider, its cluster, its clock, and which ports answer."""

    def __init__(self, **settings: Any) -> None:
        self.cluster = FakeCluster()
        self.clock = FakeClock()
        self.settings = ServeSettings(provider="kubernetes", **{"kubernetes_namespace": "platform", **settings})
        self.silent: set[str] = set()
        self.provider = self.another()

    def another(self) -> KubernetesProvider:
        """One more gateway's provider, not started."""
        return KubernetesProvider(self.parts())

    def parts(self) -> Parts:
        return parts_of(self.settings, {}, self.clock, self._answer, self.cluster.api)

    async def _answer(self, address: str, check: Check) -> bool | str:
        return "it does not listen" if address in self.silent else True

    async def see(self, provider: KubernetesProvider | None = None) -> Function:
        await self.clock.advance(1.0)
        return await (provider or self.provider).get("echo", DEFAULT_NAMESPACE)

    def deployment(self, name: str = "echo") -> dict[str, Any]:
        return cast(dict[str, Any], self.cluster.find(DEPLOYMENT, name))


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    made = World(**settings)
    await made.provider.start()
    try:
        yield made
    finally:
        await made.provider.close()


# Functions


async def test_a_deployment_is_seen_at_once_and_ready_when_its_pod_is() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        function = await there.provider.get("echo", DEFAULT_NAMESPACE)
        assert (function.spec, function.desired, function.available) == (ECHO, 1, 0)
        there.cluster.run("echo")
        assert (await there.see()).endpoints == ("10.0.0.1:8080",)


async def test_a_pod_that_answers_serves_before_its_kubelet_says_so() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        there.silent.add("10.0.0.1:8080")
        there.cluster.run("echo", ready=False)
        assert [replica.reason for replica in (await there.see()).replicas] == ["it does not listen"]
        there.silent.clear()
        assert (await there.see()).endpoints == ("10.0.0.1:8080",)


async def test_a_pod_that_is_told_to_end_leaves_the_routes_at_once() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        there.cluster.run("echo")
        assert (await there.see()).available == 1
        there.cluster.run("echo", deletionTimestamp="2026-01-01T00:01:00Z")
        function = await there.see()
        assert (function.endpoints, next(replica.state for replica in function.replicas)) == ((), "draining")


async def test_a_pod_of_a_node_that_is_lost_leaves_the_routes_and_says_so() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        there.cluster.run("echo", 0)
        lost = there.cluster.run("echo", 1)
        assert (await there.see()).available == 2
        lost["status"]["conditions"] = [
            {"type": "Ready", "status": "False"},
            {"type": "ContainersReady", "status": "True"},
        ]
        there.cluster.put(POD, lost)
        function = await there.see()
        assert function.endpoints == ("10.0.0.1:8080",)
        assert [replica.reason for replica in function.replicas] == ["", "its node is not heard from"]
        lost["metadata"]["deletionTimestamp"] = "2026-01-01T00:05:00Z"  # which it keeps, since no kubelet ends it
        there.cluster.put(POD, lost)
        assert (await there.see()).endpoints == ("10.0.0.1:8080",)


async def test_pods_behind_one_port_of_a_node_are_all_available_once_it_answers() -> None:
    async with world(kubernetes_reach="nodeport") as there:
        await there.provider.deploy(ECHO)
        service = cast(dict[str, Any], there.cluster.find(SERVICE, "echo"))
        service["spec"]["ports"][0]["nodePort"] = 30123
        there.cluster.put(SERVICE, service)
        for number in range(2):
            pod = there.cluster.run("echo", number)
            there.cluster.put(POD, {**pod, "status": {**pod["status"], "hostIP": "10.1.0.1"}})
        there.silent.add("10.1.0.1:30123")
        function = await there.see()
        assert (function.endpoints, function.available) == ((), 0)
        assert {replica.reason for replica in function.replicas} == {"it does not listen"}
        there.silent.clear()
        function = await there.see()
        assert (function.endpoints, function.available) == (("10.1.0.1:30123",), 2)


async def test_a_function_is_deployed_once() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        with pytest.raises(FunctionExists):
            await there.provider.deploy(ECHO)


async def test_of_two_gateways_that_deploy_the_same_function_one_is_refused() -> None:
    async with world() as there:
        other = there.another()
        await other.start()
        try:
            done = await asyncio.gather(there.provider.deploy(ECHO), other.deploy(ECHO), return_exceptions=True)
            assert [type(one) for one in done if one] == [FunctionExists]
            assert (await there.see(other)).spec == ECHO
        finally:
            await other.close()


@pytest.mark.parametrize("kind", [DEPLOYMENT, SERVICE])
async def test_what_is_not_ours_is_left_alone(kind: Any) -> None:
    async with world() as there:
        theirs = there.cluster.put(kind, {"metadata": {"name": "echo", "namespace": "openfaas-fn"}, "spec": {}})
        with pytest.raises(InvalidInput, match="not Penstock's"):
            await there.provider.deploy(ECHO)
        assert there.cluster.find(kind, "echo") == theirs
        kept = {plural for plural, _, name in there.cluster.kept if name == "echo"}
        assert kept == {kind.plural}


async def test_an_update_makes_new_pods_and_keeps_the_number_of_them() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.provider.scale("echo", DEFAULT_NAMESPACE, 3)
        before = there.deployment()["spec"]["template"]["metadata"]["annotations"]
        await there.provider.update(ECHO)
        after = there.deployment()["spec"]["template"]["metadata"]["annotations"]
        assert before != after
        assert (await there.see()).desired == 3


async def test_pods_of_a_former_function_of_that_name_are_not_asked() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        there.cluster.run("echo")
        await there.see()
        await there.provider.delete("echo", DEFAULT_NAMESPACE)
        await there.provider.deploy(ECHO)
        assert (await there.see()).endpoints == ()


async def test_a_function_that_is_deleted_leaves_nothing() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.provider.delete("echo", DEFAULT_NAMESPACE)
        with pytest.raises(FunctionNotFound):
            await there.provider.get("echo", DEFAULT_NAMESPACE)
        kinds = (DEPLOYMENT, SERVICE, SERVICE_ACCOUNT)
        assert not [place for place in there.cluster.kept if place[0] in {kind.plural for kind in kinds}]


async def test_functions_are_adopted_by_the_next_gateway() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        there.cluster.run("echo")
        other = there.another()
        await other.start()
        try:
            assert (await there.see(other)).endpoints == ("10.0.0.1:8080",)
        finally:
            await other.close()


async def test_a_namespace_that_is_being_deleted_says_so() -> None:
    async with world() as there:
        await there.provider.create_namespace(Namespace(name="team"))
        live = cast(dict[str, Any], there.cluster.find(NAMESPACE, "team", ""))
        live["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
        there.cluster.put(NAMESPACE, live)
        await there.clock.advance(1.0)
        with pytest.raises(NamespaceNotFound, match="is being deleted"):
            await there.provider.deploy(msgspec.structs.replace(ECHO, namespace="team"))
        with pytest.raises(AlreadyExists, match="is being deleted"):
            await there.provider.create_namespace(Namespace(name="team"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ApiNotFound('create Service: namespaces "team" not found', 404), "team not found"),
        (
            ApiForbidden("it is forbidden: unable to create new content because it is being terminated", 403),
            "being deleted",
        ),
    ],
)
async def test_a_namespace_that_settings_name_and_that_is_gone_is_told_of(error: PenstockError, words: str) -> None:
    with pytest.raises(NamespaceNotFound, match=words), making_in("team"):
        raise error


async def test_what_is_not_allowed_in_a_namespace_is_told_as_that() -> None:
    async with world() as there:
        there.cluster.forbidden.add(("create", "services"))
        with pytest.raises(ApiForbidden):
            await there.provider.deploy(ECHO)


async def test_replicas_are_set_by_the_scale_and_seen_at_once() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.provider.scale("echo", DEFAULT_NAMESPACE, 0)
        assert (await there.provider.get("echo", DEFAULT_NAMESPACE)).desired == 0
        assert ("scale", "deployments", "echo") in there.cluster.asked


async def test_the_floor_of_an_alert_is_kept_on_the_deployment_and_ends_with_rest() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        await there.provider.hold("echo", DEFAULT_NAMESPACE, 4, 3)
        function = await there.see()
        assert (function.desired, function.floor) == (4, 3)
        await there.provider.scale("echo", DEFAULT_NAMESPACE, 0)
        function = await there.see()
        assert (function.desired, function.floor) == (0, 0)


async def test_a_deployment_that_others_change_becomes_what_it_was_again() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        assert await there.provider.lead("here", 60.0)
        changed = there.deployment()
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = "mallory:1"
        there.cluster.put(DEPLOYMENT, changed)
        await there.clock.advance(10.0)
        assert there.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == ECHO.image


async def test_a_service_that_others_remove_is_made_again() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        assert await there.provider.lead("here", 60.0)
        there.cluster.drop(SERVICE, "echo")
        await there.clock.advance(10.0)
        assert there.cluster.find(SERVICE, "echo")


# Secrets


async def test_secrets_are_written_and_only_our_own_are_listed_or_changed() -> None:
    async with world() as there:
        there.cluster.put(SECRET, {"metadata": {"name": "theirs", "namespace": "openfaas-fn"}, "type": "Opaque"})
        await there.provider.create_secret(Secret(name="token", namespace=DEFAULT_NAMESPACE, value=b"abc"))
        assert await there.provider.list_secrets(DEFAULT_NAMESPACE) == ["token"]
        assert cast(Any, there.cluster.find(SECRET, "token"))["data"] == {"token": "YWJj"}
        with pytest.raises(AlreadyExists):
            await there.provider.create_secret(Secret(name="theirs", namespace=DEFAULT_NAMESPACE, value=b"x"))
        with pytest.raises(SecretNotFound):
            await there.provider.update_secret(Secret(name="theirs", namespace=DEFAULT_NAMESPACE, value=b"x"))
        with pytest.raises(SecretNotFound):
            await there.provider.delete_secret("theirs", DEFAULT_NAMESPACE)


@pytest.mark.parametrize("name", ["", "..", "a/b"])
async def test_what_can_be_no_secret_is_not_asked_for(name: str) -> None:
    async with world() as there:
        before = list(there.cluster.asked)
        with pytest.raises(InvalidInput):
            await there.provider.delete_secret(name, DEFAULT_NAMESPACE)
        assert there.cluster.asked == before


async def test_a_function_without_its_secret_is_refused_before_anything_is_made() -> None:
    async with world() as there:
        with pytest.raises(InvalidInput, match="token"):
            await there.provider.deploy(FunctionSpec(name="echo", image="img:1", secrets=("token",)))
        assert not there.cluster.find(SERVICE, "echo")


# Namespaces


async def test_namespaces_are_those_with_the_mark() -> None:
    async with world() as there:
        there.cluster.put(NAMESPACE, {"metadata": {"name": "kube-system"}})
        await there.provider.create_namespace(Namespace(name="team", labels={"owner": "us"}))
        await there.clock.settle()
        assert [one.name for one in await there.provider.list_namespaces()] == ["openfaas-fn", "team"]
        with pytest.raises(NamespaceNotFound, match="kubectl annotate namespace kube-system openfaas=1"):
            await there.provider.list("kube-system")


async def test_a_namespace_that_is_being_deleted_takes_no_function() -> None:
    async with world() as there:
        metadata = {"annotations": {"openfaas": "1"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}
        there.cluster.put(NAMESPACE, {"metadata": {"name": "team", **metadata}})
        await there.clock.settle()
        with pytest.raises(NamespaceNotFound, match="is being deleted"):
            await there.provider.deploy(FunctionSpec(name="echo", image="img:1", namespace="team"))


async def test_namespaces_that_settings_name_are_all_there_is() -> None:
    async with world(kubernetes_namespaces="openfaas-fn,team") as there:
        there.cluster.forbidden = {(verb, "namespaces") for verb in ("get", "list", "watch", "create")}
        assert [one.name for one in await there.provider.list_namespaces()] == ["openfaas-fn", "team"]
        with pytest.raises(InvalidInput, match="PENSTOCK_KUBERNETES_NAMESPACES"):
            await there.provider.create_namespace(Namespace(name="more"))


async def test_namespaces_for_functions_and_for_the_gateway_are_made_at_the_start() -> None:
    there = World()
    there.cluster.drop(NAMESPACE, "openfaas-fn", "")
    await there.provider.start()
    try:
        assert [one.name for one in await there.provider.list_namespaces()] == ["openfaas-fn"]
        assert there.cluster.find(NAMESPACE, "platform", "")
        assert await there.provider.lead("here", 60.0)
    finally:
        await there.provider.close()


async def test_a_gateway_that_may_not_see_the_namespaces_says_so_instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "START_PATIENCE", 0.05)
    there = World()
    there.cluster.forbidden.add(("list", "namespaces"))
    with pytest.raises(ProviderUnavailable, match="does not allow the gateway to do that: list namespaces"):
        await there.provider.start()
    assert there.cluster.closed


# Pipelines and logs


async def test_a_pipeline_is_told_of_once_though_the_cluster_tells_of_it_too() -> None:
    async with world() as there:
        told: list[str] = []
        there.provider._pipelines.published = told.append
        await there.provider.deploy(FunctionSpec(name="flow", stages=("echo",)))
        await there.clock.advance(1.0)
        assert told == [f"flow.{DEFAULT_NAMESPACE}"]


async def test_a_pipeline_is_kept_on_the_cluster_until_it_is_deleted() -> None:
    flow = FunctionSpec(name="flow", stages=("sort", "rev"))
    async with world() as there:
        await there.provider.deploy(flow)
        with pytest.raises(FunctionExists):
            await there.provider.deploy(flow)
        other = there.another()
        await other.start()
        try:
            assert (await other.get("flow", DEFAULT_NAMESPACE)).spec == flow
            await other.update(FunctionSpec(name="flow", stages=("rev",)))
            await there.clock.settle()
            assert (await there.provider.get("flow", DEFAULT_NAMESPACE)).spec.stages == ("rev",)
            await there.provider.delete("flow", DEFAULT_NAMESPACE)
            await there.clock.settle()
            assert await other.list(DEFAULT_NAMESPACE) == []
        finally:
            await other.close()


async def test_log_lines_of_all_pods_come_in_the_order_of_their_times() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        for number in (0, 1):
            there.cluster.run("echo", number)
        there.cluster.logs = {
            "echo-0": [b"2026-01-01T00:00:01.000000001Z one", b"2026-01-01T00:00:03Z three"],
            "echo-1": [b"2026-01-01T00:00:02.5Z two \xff", b"no time"],
        }
        await there.see()
        async with aclosing(
            cast(Any, there.provider.logs(LogQuery(name="echo", namespace=DEFAULT_NAMESPACE)))
        ) as lines:
            assert [line.text async for line in lines] == ["one", "two \ufffd", "three"]


async def test_logs_that_are_followed_have_those_of_pods_that_come_and_end_with_the_function() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        there.cluster.run("echo")
        there.cluster.logs = {"echo-0": [b"2026-01-01T00:00:01Z one"]}
        await there.see()
        query = LogQuery(name="echo", namespace=DEFAULT_NAMESPACE, follow=True)
        async with aclosing(cast(Any, there.provider.logs(query))) as lines:
            assert (await anext(lines)).text == "one"
            there.cluster.logs["echo-1"] = [b"2026-01-01T00:00:02Z two"]
            there.cluster.run("echo", 1)
            assert (await anext(lines)).text == "two"
            await there.provider.delete("echo", DEFAULT_NAMESPACE)
            with pytest.raises(StopAsyncIteration):
                await anext(lines)


async def test_pods_that_were_evicted_are_told_of_until_the_next_one_comes() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        pod = there.cluster.run("echo")
        pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
        there.cluster.put(POD, pod)
        [replica] = (await there.see()).replicas
        assert replica.reason == "the last one was ended (Evicted): The node was low on memory."


async def leading(there: World) -> None:
    assert await there.provider.lead("here", 60.0)


async def test_a_function_that_is_deleted_while_it_is_mended_does_not_come_back() -> None:
    async with world() as there:
        await leading(there)
        await there.provider.deploy(ECHO)
        await there.clock.advance(5)
        there.cluster.held = asyncio.Event()
        there.cluster.drop(SERVICE, "echo")  # which is to be mended
        await there.clock.advance(5)
        # Another gateway, which knows nothing of our turn.
        there.cluster.drop(DEPLOYMENT, "echo")
        there.cluster.held.set()
        await there.clock.advance(60)
        assert there.cluster.find(DEPLOYMENT, "echo") is None


async def test_an_update_while_it_is_mended_is_not_undone() -> None:
    async with world() as there:
        await leading(there)
        await there.provider.deploy(ECHO)
        await there.clock.advance(5)
        there.cluster.held = asyncio.Event()
        there.cluster.drop(SERVICE, "echo")
        await there.clock.advance(5)
        # Another gateway, which knows nothing of our turn.
        newer = msgspec.structs.replace(ECHO, image="registry.example.org/echo:2")
        live, wanted = there.deployment(), deployment(newer, 1, 0, there.parts().shape, rollout="other-2")
        kept = {name: live["metadata"][name] for name in ("uid", "creationTimestamp")}
        there.cluster.put(DEPLOYMENT, {**wanted, "metadata": {**wanted["metadata"], **kept}})
        there.cluster.held.set()
        await there.clock.advance(60)
        assert (await there.see()).spec == newer
        assert there.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == newer.image
        assert there.cluster.find(SERVICE, "echo"), "what was to be mended is"


async def test_an_update_of_what_another_gateway_has_deleted_makes_nothing() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        there.cluster.held = asyncio.Event()
        updating = asyncio.create_task(there.provider.update(msgspec.structs.replace(ECHO, image="i:2")))
        await there.clock.advance(1)
        there.cluster.kept.pop((DEPLOYMENT.plural, DEFAULT_NAMESPACE, "echo"))  # of which we have not heard yet
        there.cluster.held.set()
        with pytest.raises(FunctionNotFound, match="meanwhile"):
            await updating
        for kind, name in ((DEPLOYMENT, "echo"), (SERVICE, "echo"), (SERVICE_ACCOUNT, "function-echo")):
            assert there.cluster.find(kind, name) is None, kind.name


async def test_a_function_that_the_cluster_refuses_can_be_deployed_again_at_once() -> None:
    async with world() as there:
        there.cluster.refused.add(DEPLOYMENT.plural)
        with pytest.raises(InvalidInput, match="refused"):
            await there.provider.deploy(ECHO)
        assert there.cluster.find(SERVICE, "echo") is None
        assert there.cluster.find(SERVICE_ACCOUNT, "function-echo") is None
        there.cluster.refused.clear()
        await there.provider.deploy(ECHO)
        assert there.deployment()


async def test_logs_that_may_not_be_read_are_no_empty_logs() -> None:
    async with world() as there:
        await there.provider.deploy(ECHO)
        there.cluster.run("echo")
        await there.see()
        there.cluster.forbidden.add(("get", POD.plural))
        with pytest.raises(ApiForbidden):
            async for _ in there.provider.logs(LogQuery(name="echo")):
                pytest.fail("there is nothing to read")


async def test_a_profile_that_may_not_be_read_is_not_called_missing() -> None:
    profiled = msgspec.structs.replace(ECHO, annotations={"com.openfaas.profile": "gpu"})
    async with world() as there:
        with pytest.raises(InvalidInput, match="gpu"):
            await there.provider.deploy(profiled)
        there.cluster.forbidden.add(("get", CONFIG_MAP.plural))
        with pytest.raises(ApiForbidden):
            await there.provider.deploy(profiled)


def test_what_is_missing_is_pulled_by_the_clusters_own_rule() -> None:
    for pull, policy in (("missing", ""), ("always", "Always"), ("never", "Never")):
        assert World(pull=pull).parts().shape.pull_policy == policy


# Health


async def test_health_asks_for_what_is_followed_and_names_the_rule_that_is_missing() -> None:
    async with world(kubernetes_namespaces="openfaas-fn,team") as there:
        await there.provider.health()
        assert there.cluster.looks == 8
        there.cluster.forbidden.add(("list", "pods"))
        await there.clock.advance(HOLDS)
        with pytest.raises(ProviderUnavailable, match="list pods"):
            await there.provider.health()
