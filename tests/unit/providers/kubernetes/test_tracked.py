"""What a function amounts to by its Deployment and pods, where the cluster makes fewer of them than it should."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.providers.clock import SystemClock
from penstock.providers.kubernetes.tracked import Tracked, Ways
from tests.unit.providers.kubernetes.objects import made, spec

QUOTA = 'pods "echo-2" is forbidden: exceeded quota: tight'


async def nobody_answers(*_: object) -> None:
    raise AssertionError("a pod that is ready is not asked")


def function(replicas: int, updated: int, pods: int, refused: bool) -> list[tuple[str, str]]:
    """State and reason of each replica, of a Deployment that should have so many and has so many ready pods."""
    deployment = made(spec())
    deployment["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    deployment["spec"]["replicas"] = replicas
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": QUOTA}
    deployment["status"] = {"updatedReplicas": updated, "conditions": [condition] if refused else []}
    tracked = Tracked(deployment, Ways(nobody_answers, SystemClock()), lambda: None)  # type: ignore[arg-type]
    tracked.see(deployment, [_ready(deployment, number) for number in range(pods)], None)
    return [(replica.state, replica.reason) for replica in tracked.view().replicas]


def _ready(deployment: dict[str, Any], number: int) -> dict[str, Any]:
    running = {"running": {"startedAt": "2026-01-01T00:00:01Z"}}
    return {
        "metadata": {**deployment["spec"]["template"]["metadata"], "name": f"echo-{number}", "uid": str(number)},
        "spec": deployment["spec"]["template"]["spec"],
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{number + 1}",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "function", "ready": True, "restartCount": 0, "state": running}],
        },
    }


@pytest.mark.parametrize(
    ("replicas", "updated", "pods"),
    [(1, 0, 0), (3, 1, 1), (1, 0, 1)],
    ids=["the first", "more than there are", "those of an update"],
)
def test_why_the_cluster_makes_no_more_pods_is_told_beside_those_there_are(
    replicas: int, updated: int, pods: int
) -> None:
    *there, (state, reason) = function(replicas, updated, pods, refused=True)
    assert [ready for ready, _ in there] == ["ready"] * pods
    assert state == "backoff"
    assert QUOTA in reason


def test_a_refusal_that_nothing_is_missing_by_is_not_told() -> None:
    assert function(1, 1, 1, refused=True) == [("ready", "")]


def test_pods_that_are_about_to_be_made_are_told_only_where_there_are_none() -> None:
    assert [state for state, _ in function(3, 1, 1, refused=False)] == ["ready"]
    assert [state for state, _ in function(1, 0, 0, refused=False)] == ["starting"]
