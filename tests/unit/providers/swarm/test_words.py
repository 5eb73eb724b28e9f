"""Swarm's reports in words that help."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.model import Resources
from penstock.providers.swarm.words import of_end, of_waiting
from tests.unit.providers.swarm.samples import spec, task


def waiting(error: str, **fields: Any) -> str:
    return of_waiting(task(state="pending", status={"Err": error}), spec(**fields), "")


def ended(state: str = "failed", error: str = "", code: int = 0, said: str = "", **fields: Any) -> str:
    status = {"Err": error, "ContainerStatus": {"ExitCode": code}}
    return of_end(task(state=state, status=status), spec(**fields), "w1", said)


def test_constraints_that_hold_nowhere_are_named() -> None:
    said = waiting(
        "no suitable node (scheduling constraints not satisfied on 2 nodes)", constraints=("node.labels.gpu==yes",)
    )
    assert said == "no node fits: its constraints (node.labels.gpu==yes) do not hold on 2 nodes"


def test_requests_that_no_node_has_room_for_are_named() -> None:
    said = waiting("no suitable node (insufficient resources on 1 node)", requests=Resources(memory="64Gi", cpu="2"))
    assert said == "no node fits: 1 node cannot reserve what it requests (memory 64Gi, cpu 2)"


def test_several_obstacles_are_told_together() -> None:
    said = waiting("no suitable node (2 nodes not available for new tasks; unsupported platform on 1 node)")
    assert said == (
        "no node fits: 2 nodes drained, paused or down; 1 node of another architecture or operating system than image img:1"
    )


def test_an_obstacle_that_is_not_known_is_told_as_it_is() -> None:
    assert waiting("no suitable node (host-mode port already in use on 1 node)").endswith(
        "host-mode port already in use on 1 node"
    )
    assert waiting("something new") == "something new"


@pytest.mark.parametrize("state", ["new", "pending", "assigned", "preparing", "ready", "starting"])
def test_every_step_has_a_word(state: str) -> None:
    said = of_waiting(task(state=state), spec(), "w1")
    assert said and said != state


def test_the_node_is_named_once_there_is_one() -> None:
    assert of_waiting(task(state="preparing"), spec(), "w1") == "its node gets the image (w1)"
    assert of_waiting(task(state="pending"), spec(), "") == "waiting for a node"


def test_what_a_root_without_capabilities_says_brings_advice() -> None:
    said = ended(code=1, said="chown: /data: Operation not permitted")
    assert said.startswith("exit code 1: chown: /data: Operation not permitted; its container may lack")
    assert "--capability CHOWN" in said


def test_an_exit_tells_its_code_and_the_last_words() -> None:
    assert ended(error="task: non-zero exit (3)", code=3, said="no such table") == "exit code 3: no such table"
    assert ended("complete") == "exit code 0"


def test_a_failed_health_check_says_more_than_the_exit_that_follows() -> None:
    assert (
        ended(error="task: non-zero exit (143): dockerexec: unhealthy container", code=143) == "its health check failed"
    )


def test_a_kill_under_a_memory_limit_is_most_likely_for_memory() -> None:
    said = ended(error="task: non-zero exit (137)", code=137, limits=Resources(memory="16Mi"))
    assert said == "killed (exit code 137), most likely out of memory: its limit is 16Mi"


def test_an_image_that_a_node_cannot_have_is_told() -> None:
    said = ended("rejected", error="No such image: img:1")
    assert said == "image img:1 is not on node w1 and cannot be pulled there: No such image: img:1"


def test_a_rejection_is_told_as_it_is() -> None:
    assert ended("rejected", error="invalid mount config") == "invalid mount config"


def test_a_lost_node_is_named() -> None:
    assert ended("orphaned") == "its node w1 is lost"


def test_what_an_engine_says_is_printable_and_bounded() -> None:
    assert ended(error="a\x1b[31m\nb") == "a [31m b"
    assert len(ended(error="x" * 5000)) == 1000
