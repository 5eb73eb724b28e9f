"""From pods to replicas, and what is said of those that ended."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.model import FunctionSpec
from penstock.providers.kubernetes.pods import end_of, is_over, replica_of
from tests.unit.providers.kubernetes.objects import made, spec

AS_IT_IS = spec(env_process="")
DENIED = "nginx: [emerg] mkdir() failed (13: Permission denied)"


def ended(function: FunctionSpec, ending: dict[str, Any], name: str = "function", again: bool = True) -> dict[str, Any]:
    """A pod of a function whose container has ended, and is about to be started again or not."""
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    status = {"name": name, "restartCount": 1, "state": waiting, "lastState": {"terminated": ending}}
    if not again:
        status = {"name": name, "restartCount": 0, "state": {"terminated": ending}}
    kind = "containerStatuses" if name == "function" else "initContainerStatuses"
    return {
        "metadata": {"name": "echo-1"},
        "spec": made(function)["spec"]["template"]["spec"],
        "status": {kind: [status]},
    }


def reason(pod: dict[str, Any]) -> str:
    replica = replica_of(pod, "10.0.0.1:8080", False, "")
    assert replica.state == "backoff"
    return replica.reason


@pytest.mark.parametrize("again", [True, False])
def test_an_image_that_was_started_without_a_program_is_explained(again: bool) -> None:
    said = reason(ended(AS_IT_IS, {"exitCode": 0, "reason": "Completed"}, again=again))
    assert said.startswith("its program ended with exit code 0") and "name one with envProcess (--fprocess)" in said


@pytest.mark.parametrize(
    "function",
    [
        spec(),
        spec(labels={"com.penstock.watchdog": "image"}),
        spec(env_process="", labels={"com.penstock.http-port": "80"}),
    ],
)
def test_where_it_was_named_how_it_runs_its_end_is_its_own(function: FunctionSpec) -> None:
    said = reason(ended(function, {"exitCode": 3, "message": "no such table"}))
    assert said == "its program ended with exit code 3: no such table; it is started again after a pause"


@pytest.mark.parametrize("function", [spec(), AS_IT_IS, spec(env_process="", labels={"com.penstock.http-port": "80"})])
def test_a_program_that_wants_another_user_is_explained(function: FunctionSpec) -> None:
    said = reason(ended(function, {"exitCode": 1, "message": DENIED}))
    assert "it runs as user 12000" in said and "com.penstock.kubernetes.user=image" in said and "--capability" in said


def test_root_is_not_told_to_become_root() -> None:
    as_root = spec(env_process="", labels={"com.penstock.http-port": "80", "com.penstock.capabilities": "CHOWN"})
    assert "com.penstock.kubernetes.user" not in reason(ended(as_root, {"exitCode": 1, "message": DENIED}))


@pytest.mark.parametrize("again", [True, False])
def test_the_container_that_copies_the_watchdog_is_not_the_function(again: bool) -> None:
    said = reason(ended(spec(), {"exitCode": 1, "message": DENIED}, name="watchdog", again=again))
    assert said.startswith(f"its init container watchdog: its program ended with exit code 1: {DENIED}")


def test_an_init_container_that_has_done_its_work_says_nothing() -> None:
    pod = ended(spec(), {"exitCode": 0, "reason": "Completed"}, name="watchdog", again=False)
    replica = replica_of(pod, "10.0.0.1:8080", False, "")
    assert (replica.state, replica.reason) == ("starting", "its node is about to start it")


def test_an_image_of_an_init_container_that_cannot_be_pulled_is_told() -> None:
    pod = ended(spec(), {}, name="watchdog")
    pod["status"]["initContainerStatuses"][0]["state"] = {
        "waiting": {"reason": "ImagePullBackOff", "message": "no penstock:1"}
    }
    assert reason(pod) == "its init container watchdog: its image cannot be pulled: no penstock:1"


@pytest.mark.parametrize("again", [True, False])
def test_memory_that_was_not_enough_is_told(again: bool) -> None:
    said = reason(ended(spec(), {"exitCode": 137, "reason": "OOMKilled"}, again=again))
    assert said.startswith("its program used more memory than its limit and was killed")


def test_an_evicted_pod_says_why() -> None:
    pod = {
        "metadata": {"name": "echo-1"},
        "status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
    }
    assert is_over(pod)
    assert end_of(pod) == "the last one was ended (Evicted): low on memory"
