"""Functions follow the objects that ask for them, and each object says what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from penstock.errors import InvalidInput, ProviderUnavailable
from penstock.model import FunctionSpec, Resources
from penstock.providers.kubernetes.functionobjects import OBJECT, TICK, Document, FunctionObjects, Place, spec_of
from penstock.providers.memory import MemoryProvider, Script
from penstock.testing.clock import FakeClock

NAMESPACE = "openfaas-fn"


class Cluster:
    """The objects, as a mirror has them, and the controller that looks at them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.scripts: dict[str, Script] = {}
        self.provider = MemoryProvider(lambda spec: self.scripts.get(spec.name, Script()), clock=self.clock)
        self.items: dict[Place, Document] = {}
        self.leads = True
        self.told: list[Place] = []
        self.refuses: list[Exception] = []
        self._changed: list[Callable[[Place], None]] = []
        self.controller = FunctionObjects(self, self.provider, self._tell, lambda: self.leads, self.clock)

    async def synced(self) -> None:
        """From the beginning."""

    def follow(self, changed: Callable[[Place], None]) -> None:
        self._changed.append(changed)

    async def _tell(self, place: Place, status: Document) -> None:
        if self.refuses:
            raise self.refuses.pop()
        self.told.append(place)
        self.items[place] = {**self.items[place], "status": status}
        self._kick(place)

    def _kick(self, place: Place) -> None:
        for changed in self._changed:
            changed(place)

    async def apply(self, name: str, /, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Place:
        place = (NAMESPACE, name)
        generation = self.items[place]["metadata"]["generation"] + 1 if place in self.items else 1
        metadata = {"name": name, "namespace": NAMESPACE, "generation": generation, "creationTimestamp": created}
        kept = {"status": self.items[place]["status"]} if "status" in self.items.get(place, {}) else {}
        self.items[place] = {"metadata": metadata, "spec": {"name": name, "image": "i:1", **spec}, **kept}
        self._kick(place)
        await self.clock.advance(1)
        return place

    async def remove(self, name: str) -> None:
        del self.items[NAMESPACE, name]
        self._kick((NAMESPACE, name))
        await self.clock.advance(1)

    def condition(self, name: str, kind: str = "Ready") -> dict[str, Any]:
        [found] = [item for item in self.items[NAMESPACE, name]["status"]["conditions"] if item["type"] == kind]
        return dict(found)

    async def names(self) -> list[str]:
        return [function.spec.name for function in await self.provider.list(NAMESPACE)]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    await cluster.provider.start()
    cluster.controller.start()
    await cluster.clock.advance(1)
    yield cluster
    await cluster.controller.close()
    await cluster.provider.close()


async def test_an_object_becomes_a_function_and_is_told_when_it_is_ready(cluster: Cluster) -> None:
    cluster.scripts["a"] = Script(start_delay=5)
    place = await cluster.apply("a", labels={"com.openfaas.scale.min": "2"})
    status = cluster.items[place]["status"]
    assert (status["replicas"], status["availableReplicas"], status["unavailableReplicas"]) == (2, 0, 2)
    assert cluster.condition("a")["status"] == "False"
    assert cluster.condition("a", "Reconciling")["status"] == "True"
    await cluster.clock.advance(10)
    status = cluster.items[place]["status"]
    assert (status["availableReplicas"], status["unavailableReplicas"], status["observedGeneration"]) == (2, 0, 1)
    assert [cluster.condition("a", kind)["status"] for kind in ("Ready", "Healthy", "Reconciling", "Stalled")] == [
        "True",
        "True",
        "False",
        "False",
    ]


async def test_a_changed_object_updates_its_function(cluster: Cluster) -> None:
    place = await cluster.apply("a")
    await cluster.apply("a", image="i:2")
    assert (await cluster.provider.get("a", NAMESPACE)).spec.image == "i:2"
    assert cluster.items[place]["status"]["observedGeneration"] == 2


async def test_a_function_that_others_changed_becomes_what_its_object_says(cluster: Cluster) -> None:
    await cluster.apply("a")
    await cluster.provider.update(FunctionSpec(name="a", image="other"))
    await cluster.clock.advance(1)
    assert (await cluster.provider.get("a", NAMESPACE)).spec.image == "i:1"


async def test_a_function_that_others_deleted_comes_again(cluster: Cluster) -> None:
    await cluster.apply("a")
    await cluster.provider.delete("a", NAMESPACE)
    await cluster.clock.advance(1)
    assert await cluster.names() == ["a"]


async def test_scaling_is_left_alone(cluster: Cluster) -> None:
    await cluster.apply("a")
    await cluster.provider.scale("a", NAMESPACE, 0)
    await cluster.clock.advance(TICK + 1)
    assert (await cluster.provider.get("a", NAMESPACE)).desired == 0
    assert cluster.condition("a")["reason"] == "AtRest"


async def test_a_function_goes_with_its_object_and_others_stay(cluster: Cluster) -> None:
    await cluster.provider.deploy(FunctionSpec(name="mine", image="i"))
    await cluster.apply("a")
    await cluster.remove("a")
    assert await cluster.names() == ["mine"]


async def test_a_function_that_was_deployed_otherwise_is_taken_over(cluster: Cluster) -> None:
    await cluster.provider.deploy(FunctionSpec(name="a", image="i:0"))
    await cluster.apply("a")
    spec = (await cluster.provider.get("a", NAMESPACE)).spec
    assert (spec.image, spec.annotations) == ("i:1", {OBJECT: "a"})


async def test_an_object_of_another_name_is_found_again(cluster: Cluster) -> None:
    await cluster.apply("object", name="function")
    await cluster.clock.advance(TICK * 3)
    assert await cluster.names() == ["function"]
    await cluster.remove("object")
    assert await cluster.names() == []


async def test_an_object_whose_function_gets_another_name_leaves_none_behind(cluster: Cluster) -> None:
    await cluster.apply("a", name="before")
    await cluster.apply("a", name="after")
    await cluster.clock.advance(1)
    assert await cluster.names() == ["after"]


async def test_an_object_that_was_spoiled_keeps_its_function(cluster: Cluster) -> None:
    await cluster.apply("a")
    await cluster.apply("a", image=1)
    await cluster.clock.advance(TICK + 1)
    assert (await cluster.provider.get("a", NAMESPACE)).spec.image == "i:1"
    assert cluster.condition("a")["reason"] == "Refused"


async def test_of_two_objects_for_one_function_the_older_one_counts(cluster: Cluster) -> None:
    await cluster.apply("z", created="2026-01-01T00:00:00Z", name="f", image="old")
    await cluster.apply("a", created="2026-02-01T00:00:00Z", name="f", image="new")
    assert (await cluster.provider.get("f", NAMESPACE)).spec.image == "old"
    assert cluster.condition("a", "Stalled")["status"] == "True"
    assert "older object 'z'" in cluster.condition("a")["message"]


async def test_an_object_that_is_being_deleted_makes_nothing(cluster: Cluster) -> None:
    cluster.items[NAMESPACE, "a"] = {
        "metadata": {"name": "a", "namespace": NAMESPACE, "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"name": "a", "image": "i"},
    }
    await cluster.clock.advance(TICK + 1)
    assert await cluster.names() == []


async def test_a_refusal_is_told_and_holds_up_no_other(cluster: Cluster) -> None:
    await cluster.apply("a", labels={"com.openfaas.scale.min": "many"})
    await cluster.apply("b")
    assert await cluster.names() == ["b"]
    stalled = cluster.condition("a", "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "Refused") and "many" in stalled["message"]


@pytest.mark.parametrize(
    "spec",
    (
        None,
        {},
        [],
        {"name": 1, "image": "i"},
        {"name": "a"},
        {"name": "a", "image": "i", "labels": {"x": 1}},
        {"name": "a", "image": "i", "secrets": "s"},
    ),
)
async def test_an_object_that_is_no_function_is_refused(cluster: Cluster, spec: Any) -> None:
    cluster.items[NAMESPACE, "a"] = {"metadata": {"name": "a", "namespace": NAMESPACE, "generation": 1}, "spec": spec}
    await cluster.clock.advance(TICK + 1)
    assert cluster.condition("a", "Stalled")["status"] == "True"


async def test_the_status_is_written_only_when_it_says_something_new(cluster: Cluster) -> None:
    await cluster.apply("a")
    await cluster.clock.advance(5)
    written = len(cluster.told)
    await cluster.clock.advance(TICK * 5)
    assert len(cluster.told) == written


async def test_a_condition_keeps_its_time_for_as_long_as_it_holds(cluster: Cluster) -> None:
    await cluster.apply("a")
    await cluster.clock.advance(5)
    since = cluster.condition("a")["lastTransitionTime"]
    await cluster.apply("a", image="i:2", labels={"com.openfaas.scale.min": "3"})
    await cluster.clock.advance(60)
    assert cluster.condition("a")["observedGeneration"] == 2
    assert cluster.condition("a", "Stalled")["lastTransitionTime"] == since


async def test_a_status_that_could_not_be_written_is_written_later(cluster: Cluster) -> None:
    cluster.refuses.append(ProviderUnavailable("away"))
    place = await cluster.apply("a")
    await cluster.clock.advance(TICK + 1)
    assert "status" in cluster.items[place]


async def test_whoever_does_not_lead_does_nothing_until_it_does(cluster: Cluster) -> None:
    cluster.leads = False
    place = await cluster.apply("a")
    assert (await cluster.names(), "status" in cluster.items[place]) == ([], False)
    cluster.leads = True
    await cluster.clock.advance(TICK + 1)
    assert await cluster.names() == ["a"]


def test_all_that_an_object_can_say() -> None:
    document = {
        "metadata": {"name": "o", "namespace": "n"},
        "spec": {
            "name": "f",
            "image": "i",
            "handler": "cat",
            "environment": {"A": "1"},
            "labels": {"l": "1"},
            "annotations": {"a": "1"},
            "constraints": ["disk=ssd"],
            "secrets": ["s"],
            "limits": {"memory": "1Gi"},
            "requests": {"cpu": "100m"},
            "readOnlyRootFilesystem": True,
        },
    }
    assert spec_of(document) == FunctionSpec(
        name="f",
        namespace="n",
        image="i",
        env_process="cat",
        env_vars={"A": "1"},
        labels={"l": "1"},
        annotations={"a": "1", OBJECT: "o"},
        constraints=("disk=ssd",),
        secrets=("s",),
        limits=Resources(memory="1Gi"),
        requests=Resources(cpu="100m"),
        read_only_root=True,
    )
    nothing = dict.fromkeys(("environment", "labels", "annotations", "constraints", "secrets", "limits", "requests"))
    bare = {"metadata": {"name": "o", "namespace": "n"}, "spec": {"name": "f", "image": "i", **nothing}}
    assert spec_of(bare) == FunctionSpec(name="f", namespace="n", image="i", annotations={OBJECT: "o"})
    with pytest.raises(InvalidInput, match="image"):
        spec_of({"metadata": {"name": "o", "namespace": "n"}, "spec": {"name": "f", "image": None}})
