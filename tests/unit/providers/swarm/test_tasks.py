"""Replicas from tasks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.model import Replica
from penstock.providers.containers.engine import Document
from penstock.providers.swarm.tasks import Scene, Verdict, in_sight, is_settled, replicas_of, serving
from tests.unit.providers.swarm.samples import NODES, generation, node, task

READY = {"task1": Verdict("10.0.0.1:8080", True)}


def replicas(*tasks: Document, desired: int = 1, **scene: object) -> list[Replica]:
    given = {"nodes": NODES, **scene}
    return replicas_of(generation(desired=desired), tasks, Scene(**given))  # type: ignore[arg-type]


def test_a_task_that_runs_and_answers_is_ready() -> None:
    [replica] = replicas(task(), verdicts=READY)
    assert replica == Replica(
        id="task1",
        state="ready",
        address="10.0.0.1:8080",
        started_at=datetime(2026, 1, 2, 3, 4, 6, 123456, tzinfo=UTC),
    )


def test_a_task_may_answer_before_its_health_check_has_passed() -> None:
    [replica] = replicas(task(state="starting"), verdicts=READY)
    assert replica.state == "ready"


def test_a_task_that_runs_and_does_not_answer_says_why() -> None:
    [replica] = replicas(task(), verdicts={"task1": Verdict("10.0.0.1:8080", False, "its port is not open yet")})
    assert (replica.state, replica.reason, replica.address) == ("starting", "its port is not open yet", "10.0.0.1:8080")
    assert replicas(task())[0].reason == "it has no address yet"


def test_a_task_on_the_way_says_where_it_is() -> None:
    [replica] = replicas(task(state="preparing"))
    assert (replica.state, replica.reason) == ("starting", "its node gets the image (worker-1)")


def test_a_task_that_waits_for_its_next_start_says_why_the_last_one_ended() -> None:
    failed = task(1, "failed", "shutdown", status={"ContainerStatus": {"ExitCode": 1}})
    [replica] = replicas(failed, task(2, "ready", "ready"), last_words={"task1": "no config"})
    assert (replica.id, replica.state, replica.restarts) == ("task2", "backoff", 1)
    assert replica.reason == "exit code 1: no config"


def test_a_task_that_was_started_again_tells_what_was_before() -> None:
    failed = task(1, "failed", "shutdown", status={"ContainerStatus": {"ExitCode": 1}})
    [replica] = replicas(failed, task(2, "starting"))
    assert replica.state == "starting"
    assert replica.reason == "its container starts (worker-1); started again, since before: exit code 1"


def test_between_an_end_and_what_follows_there_is_still_a_replica() -> None:
    [replica] = replicas(task(1, "failed", "shutdown", status={"ContainerStatus": {"ExitCode": 1}}))
    assert (replica.state, replica.reason) == ("backoff", "exit code 1")
    assert not replicas(task(1, "shutdown", "shutdown"), desired=0)


def test_the_past_of_a_slot_that_was_scaled_away_is_no_replica() -> None:
    """As after a node was drained: the task's successor is removed with its slot, and the task itself stays in the history."""
    past = task(1, "shutdown", "shutdown", Slot=2)
    assert [one.id for one in replicas(past, task(2, Slot=1))] == ["task2"]
    [awaited, _] = replicas(past, task(3, "failed", "shutdown", Slot=3), task(2, "running", "remove"))
    assert (awaited.id, awaited.state) == ("task3", "backoff")


def test_a_task_that_is_told_to_end_drains_and_one_that_ended_is_gone() -> None:
    leaving, left = task(1, "running", "remove"), task(2, "shutdown", "remove", Slot=2)
    [replica] = replicas(leaving, left, verdicts=READY, desired=0)
    assert (replica.state, replica.address) == ("draining", "10.0.0.1:8080")


def test_a_task_that_was_replaced_drains_behind_its_successor() -> None:
    found = replicas(task(1, "running", "shutdown"), task(2), verdicts={"task2": Verdict("a:1", True)})
    assert [(one.id, one.state) for one in found] == [("task2", "ready"), ("task1", "draining")]


def test_replicas_come_by_slot() -> None:
    found = replicas(task(2, Slot=2), task(1, Slot=1), desired=2)
    assert [one.id for one in found] == ["task1", "task2"]


@pytest.mark.parametrize("state", ["down", "disconnected"])
def test_a_task_on_a_lost_node_is_not_ready(state: str) -> None:
    [replica] = replicas(task(), nodes={"node1": node(state, "w7")}, verdicts=READY)
    assert (replica.state, replica.reason) == ("backoff", f"its node w7 does not answer ({state})")


def test_a_node_that_the_manager_does_not_know_yet_is_not_lost() -> None:
    [replica] = replicas(task(), nodes={"node1": node("unknown")}, verdicts=READY)
    assert replica.state == "ready"


def test_tasks_serve_that_started_shall_run_and_have_their_node() -> None:
    tasks = [
        task(1),
        task(2, "starting"),
        task(3, "running", "shutdown"),
        task(4, "pending"),
        task(5, NodeID="node2"),
    ]
    found = serving(tasks, {"node1": node(), "node2": node("down")})
    assert [one["ID"] for one in found] == ["task1", "task2"]


def test_a_task_that_was_told_to_end_on_a_lost_node_is_out_of_sight_until_it_returns() -> None:
    tasks = [
        task(1, "running", "shutdown"),
        task(2, "preparing", "remove"),
        task(3, "failed", "shutdown"),
        task(4, "running", "shutdown", NodeID="node2"),
        task(5),
    ]
    found = in_sight(tasks, {"node1": node("down"), "node2": node()})
    assert [one["ID"] for one in found] == ["task3", "task4", "task5"]
    assert in_sight(tasks, NODES) == tasks


def test_nothing_is_under_way_when_as_many_run_as_are_wanted() -> None:
    past = task(9, "failed", "shutdown")
    assert is_settled(generation(), [task(), past])
    assert not is_settled(generation(desired=2), [task()])
    assert not is_settled(generation(), [task(), task(2, "running", "remove", Slot=2)])
    assert not is_settled(generation(planned=False, desired=0), [])
