"""Replicas follow load: requests that the test holds open are an exact number in flight, however fast the machine is."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.programs import Workshop, below
from tests.e2e.serving import Answer, Penstock, serving, wait_until

IN_FLIGHT = {
    "com.openfaas.scale.type": "capacity",
    "com.openfaas.scale.target": "2",
    "com.openfaas.scale.target-proportion": "1",
    "com.openfaas.scale.down.window": "5s",
}
"""A replica for each two requests in flight."""


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving("--autoscaling") as running:
        yield running


def deploy(server: Penstock, name: str, workshop: Workshop, labels: dict[str, str]) -> Path:
    """A function whose calls last until the file that is returned exists."""
    gate = workshop.file(f"{name}-gate")
    handler = gate.with_name(f"{name}.py")
    handler.write_text(
        "import asyncio, os\n\n"
        "async def handle(event, context):\n"
        f"    while not os.path.exists({str(gate)!r}):\n"
        "        await asyncio.sleep(0.02)\n"
        "    return 'through'\n"
    )
    environment = {"mode": "python", "handler": str(handler), "exec_timeout": "10m"}
    spec = {"service": name, "image": "", "envVars": environment, "labels": labels}
    answer = server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
    assert answer.status == 202, answer
    server.wait_ready(name)
    return gate


def scaling(server: Penstock, name: str) -> Any:
    """What the gateway tells of a function's scaling."""
    answer = server.request("GET", f"/system/function/{name}/scaling", admin=True)
    assert answer.status == 200, answer
    return answer.json()


def wait_replicas(server: Penstock, name: str, replicas: int) -> None:
    """Until so many are wanted and ready."""

    def settled() -> bool:
        status = server.function(name)
        return bool(status["replicas"] == replicas and status["availableReplicas"] == replicas)

    try:
        wait_until(settled, f"{replicas} replicas of {name}")
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {server.function(name)}\n{scaling(server, name)}") from error


@contextlib.contextmanager
def held(server: Penstock, name: str, count: int, gate: Path) -> Iterator[list[Answer]]:
    """So many requests in flight at once; at the end they are let through, and their answers are in the list."""
    answers: list[Answer] = []
    callers = [threading.Thread(target=lambda: answers.append(server.invoke(name, b"x"))) for _ in range(count)]
    for caller in callers:
        caller.start()
    try:
        yield answers
    finally:
        gate.touch()
        for caller in callers:
            caller.join()


def most_wanted(server: Penstock, name: str) -> int:
    """The highest number that any decision about a function asked for."""
    return max(int(one["after"]) for one in scaling(server, name)["decisions"])


def test_requests_in_flight_bring_the_right_number_of_replicas_and_their_end_takes_them_away(
    server: Penstock, workshop: Workshop
) -> None:
    gate = deploy(server, "steps", workshop, IN_FLIGHT)
    with held(server, "steps", 15, gate) as answers:
        wait_replicas(server, "steps", 8)
    assert [answer.text for answer in answers] == ["through"] * 15
    wait_replicas(server, "steps", 1)
    assert most_wanted(server, "steps") <= 9


def test_the_reason_is_told(server: Penstock, workshop: Workshop) -> None:
    gate = deploy(server, "reasons", workshop, IN_FLIGHT)
    with held(server, "reasons", 4, gate):
        wait_replicas(server, "reasons", 2)
        report = scaling(server, "reasons")
        login = ("login", "--timeout", "2m", "--password-stdin")
        assert server.cli(*login, stdin=server.password.encode()).returncode == 0
        described = server.cli("describe", "reasons")
    assert report["load"]["kind"] == "capacity"
    last = [one for one in report["decisions"] if one["after"] == 2][-1]
    assert last["rule"] == "load"
    assert last["reason"]
    assert last["reason"] in described.stdout.decode()


def test_more_load_than_the_maximum_stays_at_the_maximum(server: Penstock, workshop: Workshop) -> None:
    gate = deploy(server, "bounded", workshop, {**IN_FLIGHT, "com.openfaas.scale.max": "3"})
    with held(server, "bounded", 12, gate):
        wait_replicas(server, "bounded", 3)
        wait_until(lambda: told(server, "bounded", "maximum"), "the reason")
    assert most_wanted(server, "bounded") == 3


def told(server: Penstock, name: str, rule: str) -> bool:
    return any(one["rule"] == rule for one in scaling(server, name)["decisions"])


def test_an_idle_function_goes_to_zero_and_a_request_wakes_it(server: Penstock, workshop: Workshop) -> None:
    zero = {"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "2s"}
    gate = deploy(server, "rests", workshop, zero)
    gate.touch()
    wait_until(lambda: server.function("rests").get("replicas", 0) == 0, "rest")
    assert told(server, "rests", "idle")
    assert server.invoke("rests", b"x").text == "through"


def test_a_request_in_flight_keeps_a_function_from_rest(server: Penstock, workshop: Workshop) -> None:
    zero = {"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "1s"}
    gate = deploy(server, "works", workshop, zero)
    other = deploy(server, "beside", workshop, zero)
    other.touch()
    with held(server, "works", 1, gate) as answers:
        wait_until(lambda: server.function("beside").get("replicas", 0) == 0, "rest of the function beside")
        assert server.function("works")["replicas"] == 1
    assert [answer.text for answer in answers] == ["through"]


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("com.openfaas.scale.target", "0"),
        ("com.openfaas.scale.target", "many"),
        ("com.openfaas.scale.factor", "0"),
        ("com.openfaas.scale.min", "30"),
        ("com.openfaas.scale.zero-duration", "-5s"),
        ("com.openfaas.scale.type", "query"),
    ],
)
def test_a_label_that_cannot_be_used_is_refused_by_its_name(server: Penstock, label: str, value: str) -> None:
    labels = {label: value, **({"com.openfaas.scale.max": "20"} if label.endswith("min") else {})}
    spec = {"service": "refused", "image": "", "envProcess": "cat", "labels": labels}
    answer = server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
    assert answer.status == 400
    assert label in answer.text
    assert server.function("refused") is None


def test_scaling_goes_on_after_control_was_killed(workshop: Workshop) -> None:
    """With the replicas that there were."""
    with serving("--autoscaling") as server:
        gate = deploy(server, "survives", workshop, IN_FLIGHT)
        with held(server, "survives", 6, gate) as answers:
            wait_replicas(server, "survives", 3)
            [control] = below(server.process.pid, "penstock.control")
            control.send_signal(signal.SIGKILL)
            wait_until(lambda: not control.is_running(), "the end of control")
            wait_until(lambda: answering(server), "control's successor")
            wait_replicas(server, "survives", 3)
        assert [answer.text for answer in answers] == ["through"] * 6
        wait_replicas(server, "survives", 1)


def answering(server: Penstock) -> bool:
    with contextlib.suppress(OSError):
        return server.request("GET", "/system/functions", admin=True).status == 200
    return False


def test_load_decides_nothing_where_autoscaling_is_off(workshop: Workshop) -> None:
    with serving() as server:
        gate = deploy(server, "left", workshop, IN_FLIGHT)
        other = deploy(server, "called", workshop, IN_FLIGHT)
        other.touch()
        with held(server, "left", 8, gate):
            assert server.invoke("called", b"x").text == "through"
            assert server.function("left")["replicas"] == 1
        assert server.function("left")["replicas"] == 1
