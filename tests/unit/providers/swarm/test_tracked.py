"""One function as its services and tasks make it."""

from __future__ import annotations

from typing import cast

import pytest

from penstock.core.health import Check
from penstock.providers.containers.engine import Engine
from penstock.providers.members import Probe
from penstock.providers.swarm.surroundings import Surroundings
from penstock.providers.swarm.tracked import Progress, Tracked, Ways
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.samples import NODES, generation, node, task

ATTACHED = [{"Network": {"ID": "net1"}, "Addresses": ["10.0.2.7/24"]}]


class Nowhere:
    url = "unix:///fake.sock"


async def silent(address: str, check: Check) -> bool | str:
    return "its port is not open yet"


async def answering(address: str, check: Check) -> bool | str:
    return True


def tracked(clock: FakeClock, probe: Probe = answering) -> Tracked:
    surroundings = Surroundings("ip", "", way="ip")
    ways = Ways(probe, clock, surroundings, cast(Engine, Nowhere()))
    return Tracked("echo.openfaas-fn", ways, lambda: None, lambda task: None)


async def test_until_there_are_tasks_one_replica_tells_what_is_waited_for() -> None:
    one = tracked(FakeClock())
    one.see([generation(planned=False, desired=2)], {}, {})
    one.progress = Progress("pulling img:1: 1 of 3 layers")
    assert [(replica.state, replica.reason) for replica in one.view().replicas] == [
        ("starting", "pulling img:1: 1 of 3 layers")
    ]
    one.progress = Progress("no such image", stuck=True)
    assert one.view().replicas[0].state == "backoff"


async def test_at_zero_nothing_is_waited_for() -> None:
    one = tracked(FakeClock())
    one.see([generation(desired=0)], {}, {})
    assert one.view().replicas == ()
    assert one.settled


async def test_it_is_settled_when_every_port_answers() -> None:
    clock = FakeClock()
    one = tracked(clock)
    one.see([generation()], {"svc1": [task(NetworksAttachments=ATTACHED)]}, NODES)
    before = one.settled
    await clock.settle()
    assert (before, one.settled) == (False, True)
    assert one.view().endpoints == ("10.0.2.7:8080",)
    one.close()


async def test_what_is_leaving_is_out_of_the_routes() -> None:
    clock = FakeClock()
    one = tracked(clock)
    tasks = {"svc1": [task(NetworksAttachments=ATTACHED)]}
    one.see([generation()], tasks, NODES)
    await clock.settle()
    one.leaving.add("svc1")
    assert [replica.state for replica in one.view().replicas] == ["draining"]
    assert one.view().endpoints == ()
    one.close()


async def test_running_tasks_that_nobody_has_asked_yet_are_not_given_up() -> None:
    clock = FakeClock()
    one = tracked(clock, silent)
    generations = [generation(1), generation(2, planned=False)]
    one.see(generations, {"svc1": [task(NetworksAttachments=ATTACHED)]}, NODES)
    assert one.due() == []
    await clock.settle()
    assert [due.number for due in one.due()] == [1]
    one.close()


async def test_one_that_has_served_is_not_given_up_when_it_falls_silent_for_a_while() -> None:
    clock = FakeClock()
    one = tracked(clock)
    generations = [generation(1), generation(2, planned=False)]
    one.see(generations, {"svc1": [task(NetworksAttachments=ATTACHED)]}, NODES)
    await clock.settle()
    assert one.due() == []
    # Its task moved: another address, which nobody has asked yet.
    moved = [{"Network": {"ID": "net1"}, "Addresses": ["10.0.2.8/24"]}]
    one.see(generations, {"svc1": [task(NetworksAttachments=moved)]}, NODES)
    assert one.due() == []
    one.close()


async def test_the_last_words_of_a_task_are_wanted_once() -> None:
    one = tracked(FakeClock())
    tasks = {"svc1": [task(1, "failed", "shutdown"), task(2, "shutdown", "shutdown"), task(3)]}
    one.see([generation()], tasks, NODES)
    assert [ended["ID"] for ended in one.ended_tasks()] == ["task1"]
    one.last_words["task1"] = "no database"
    assert one.ended_tasks() == []
    one.close()


@pytest.mark.parametrize(
    ("error", "words", "lacks"),
    [
        ('exec: "/penstock/penstock-watchdog": stat /penstock/penstock-watchdog: no such file or directory', "", True),
        ("", "[FATAL tini (6)] exec /penstock/penstock-watchdog failed: No such file or directory", True),
        ("", "cat: /data: No such file or directory", False),
        ("non-zero exit (1)", "", False),
    ],
)
async def test_a_watchdog_that_is_not_there_is_noticed(error: str, words: str, lacks: bool) -> None:
    one = tracked(FakeClock())
    ended = task(1, "failed", "shutdown", status={"Err": error})
    one.see([generation()], {"svc1": [ended]}, NODES)
    one.last_words["task1"] = words
    assert one.lacks_watchdog(ended) is lacks


async def test_a_replica_that_was_replaced_on_a_lost_node_keeps_nothing_unsettled() -> None:
    clock = FakeClock()
    one = tracked(clock)
    replaced = task(1, "running", "shutdown", NodeID="node2")
    tasks = {"svc1": [replaced, task(2, NetworksAttachments=ATTACHED)]}
    one.see([generation()], tasks, {**NODES, "node2": node("down")})
    await clock.settle()
    assert [(replica.id, replica.state) for replica in one.view().replicas] == [("task2", "ready")]
    assert one.settled
    one.close()
