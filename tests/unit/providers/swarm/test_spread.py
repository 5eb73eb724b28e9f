"""The watchdog on every node."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from penstock.errors import InvalidInput, PenstockError
from penstock.providers.containers.bundle import Bundle
from penstock.providers.containers.engine import Document
from penstock.providers.containers.images import Images
from penstock.providers.containers.plan import ImageFacts
from penstock.providers.swarm.names import watchdog_name
from penstock.providers.swarm.spread import Spread, Supply, document, outlook
from penstock.providers.swarm.surroundings import Surroundings
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.fake_swarm import FakeSwarm
from tests.unit.providers.swarm.samples import FACTS, node

NODES = {"n1": node(name="w1"), "n2": node(name="w2")}


def task(node_id: str, state: str, **status: str) -> Document:
    return {"NodeID": node_id, "Status": {"State": state, **status}}


def test_it_waits_until_every_node_that_takes_tasks_has_it() -> None:
    assert outlook([task("n1", "complete")], NODES) == "the watchdog is brought to its nodes: 1 of 2 have it"
    assert outlook([task("n1", "complete"), task("n2", "complete")], NODES) == ""


@pytest.mark.parametrize("other", [node("down"), node(availability="drain"), node(availability="pause")])
def test_nodes_that_take_no_tasks_are_not_waited_for(other: Document) -> None:
    assert outlook([task("n1", "complete")], {"n1": node(), "n2": other}) == ""


def test_a_node_that_cannot_have_it_is_named_and_does_not_hold_up_the_others() -> None:
    tasks = [task("n1", "preparing"), task("n2", "rejected", Err="No such image: penstock:1")]
    assert outlook(tasks, NODES).endswith("0 of 2 have it; w2 fails: No such image: penstock:1")
    assert outlook([task("n1", "complete"), tasks[1]], NODES) == ""


def test_nobody_has_it_is_not_everybody_has_it() -> None:
    assert outlook([], {}) != ""
    assert outlook([task("n1", "failed"), task("n2", "failed")], NODES) != ""


def test_the_service_runs_once_on_each_node_and_may_do_nothing() -> None:
    body = document("vol", "lab", FACTS)
    assert body["Mode"] == {"Global": {}}
    assert body["TaskTemplate"]["RestartPolicy"]["Condition"] == "on-failure"
    container = body["TaskTemplate"]["ContainerSpec"]
    assert container["Command"] == ["/penstock/penstock-watchdog", "--version"]
    assert container["CapabilityDrop"] == ["ALL"]
    [mount] = container["Mounts"]
    assert (mount["Source"], mount["Target"]) == ("vol", "/penstock")


class FakeBundle:
    def __init__(self) -> None:
        self.looked_again = 0

    def missing(self) -> None:
        self.looked_again += 1

    async def ensure(self, image: str, tell: object) -> str:
        return f"filled through {image}"


def spread(swarm: FakeSwarm, image: str = "", clock: FakeClock | None = None) -> Spread:
    supply = Supply(Surroundings("auto", image), cast(Bundle, FakeBundle()))
    images = Images(swarm.engine, "never", {})
    return Spread(swarm.engine, "lab", supply, images, clock or FakeClock(), lambda: swarm.nodes)


async def test_one_node_needs_no_image() -> None:
    assert await spread(FakeSwarm()).ensure(FACTS, print) == "filled through sha256:1"


async def test_several_nodes_need_one() -> None:
    swarm = FakeSwarm()
    swarm.nodes = cast(Any, NODES)
    with pytest.raises(InvalidInput, match="--watchdog-image"):
        await spread(swarm).ensure(FACTS, print)


async def test_the_service_is_made_once_and_waited_for() -> None:
    swarm, clock, told = FakeSwarm(), FakeClock(), list[str]()
    name = watchdog_name("lab", "sha256:1")
    service = await swarm.post("/services/create", document(name, "lab", FACTS))
    swarm.tasks[service["ID"]] = [task("node1", "complete")]
    assert await spread(swarm, "img:1", clock).ensure(FACTS, told.append) == name
    assert swarm.names("services") == [name]
    assert told == []


async def test_a_service_that_is_removed_while_it_is_waited_for_is_made_again() -> None:
    swarm, clock, told = FakeSwarm(), FakeClock(), list[str]()
    name = watchdog_name("lab", "sha256:1")
    waiting = asyncio.create_task(spread(swarm, "img:1", clock).ensure(FACTS, told.append))
    await clock.settle()
    await swarm.delete(f"/services/{name}")
    await clock.advance(1)
    swarm.tasks[swarm.find("services", name)["ID"]] = [task("node1", "complete")]
    await clock.advance(1)
    assert await waiting == name


async def test_a_service_of_that_name_that_is_not_ours_is_not_trusted() -> None:
    swarm = FakeSwarm()
    await swarm.post("/services/create", document(watchdog_name("lab", "sha256:1"), "theirs", FACTS))
    with pytest.raises(PenstockError, match="not ours"):
        await spread(swarm, "img:1").ensure(FACTS, print)


async def test_a_volume_that_was_removed_is_filled_again_on_every_node() -> None:
    swarm = FakeSwarm()
    name = watchdog_name("lab", "sha256:1")
    await swarm.post("/services/create", document(name, "lab", FACTS))
    await spread(swarm, "img:1").restore(FACTS)
    assert swarm.find("services", name)["Spec"]["TaskTemplate"]["ForceUpdate"] == 1


async def test_services_of_older_watchdogs_go_when_no_function_uses_them() -> None:
    swarm = FakeSwarm()
    for name in ("used", "unused", "newest"):
        await swarm.post("/services/create", document(name, "lab", FACTS))
    await spread(swarm).collect({"used"})
    assert swarm.names("services") == ["newest", "used"]


def test_facts_name_the_image_that_nodes_pull() -> None:
    own = ImageFacts(reference="registry/penstock:1", id="x", os="linux", architecture="arm64")
    task_template = document("vol", "lab", own)["TaskTemplate"]
    assert task_template["ContainerSpec"]["Image"] == "registry/penstock:1"
    assert task_template["Placement"]["Platforms"] == [{"OS": "linux", "Architecture": "arm64"}]
