"""Containers follow load: calls that the test holds open are an exact number in flight, and a script burns what the CPU gives."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.docked import Docked
from tests.e2e.serving import REQUEST_TIMEOUT, Answer, wait_until
from tests.engines.engine import Engine

pytestmark = pytest.mark.service("dockerd", "busybox")

BUSYBOX = "busybox:it"
SCALE = "com.openfaas.scale"
IN_FLIGHT = {
    f"{SCALE}.type": "capacity",
    f"{SCALE}.target": "2",
    f"{SCALE}.target-proportion": "1",
    f"{SCALE}.down.window": "2s",
}
"""A replica for each two requests in flight."""
PATIENT = {"mode": "streaming", "exec_timeout": "10m", "read_timeout": "10m"}
"""Of a function whose requests a test holds open."""
BURN = b"while :; do :; done & read go; kill $!; echo burned\n\n"
"""A script for `sh` that takes as much CPU as it gets, until the rest of its request comes."""
MILLIS = 500
"""Thousandths of a core that a container of the function that burns may take."""


@pytest.fixture(scope="module")
def docked(docker_engine: Engine, busybox_image: str) -> Iterator[Docked]:
    """A server whose requests may take their time."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PENSTOCK_WIRE_BODY_TIMEOUT", "10m")
        environment.setenv("PENSTOCK_QUEUE_TIMEOUT", "10m")
        running = Docked(docker_engine, "--autoscaling")
    yield running
    running.close()


@contextlib.contextmanager
def deployed(docked: Docked, name: str, labels: dict[str, str], program: str = "cat", **more: Any) -> Iterator[None]:
    """A function of busybox with its first replica ready; `more` fields of its specification. Removed at the end."""
    spec = {"service": name, "image": BUSYBOX, "envProcess": program, "envVars": PATIENT, "labels": labels, **more}
    answer = docked.server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
    assert answer.status == 202, answer
    # A call waits for a replica, and wakes a function that was taken to rest before it had one.
    assert docked.server.invoke(name, b"").status == 200
    yield
    gone = docked.server.request("DELETE", "/system/functions", json.dumps({"functionName": name}).encode(), admin=True)
    assert gone.status == 202, gone
    wait_until(lambda: not docked.containers(name), f"the end of the containers of {name}")


class Held:
    """Calls that lack the last byte of their body until `finish`, so that all of them are in flight."""

    def __init__(self, docked: Docked, name: str, count: int, body: bytes) -> None:
        self._last = body[-1:]
        self._connections: list[http.client.HTTPConnection] = []
        for _ in range(count):
            connection = http.client.HTTPConnection(*docked.server.address, timeout=REQUEST_TIMEOUT)
            self._connections.append(connection)
            connection.putrequest("POST", f"/function/{name}")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:-1])

    def finish(self) -> list[Answer]:
        for connection in self._connections:
            connection.send(self._last)
        return [self._answer(connection.getresponse()) for connection in self._connections]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    @staticmethod
    def _answer(response: http.client.HTTPResponse) -> Answer:
        return Answer(response.status, dict(response.getheaders()), response.read())


@contextlib.contextmanager
def held(docked: Docked, name: str, count: int, body: bytes = b"through") -> Iterator[None]:
    """So many calls in flight; at the end they get the rest of their bodies, and all of them must be answered well."""
    calls = Held(docked, name, count, body)
    try:
        yield
        answers = calls.finish()
    finally:
        calls.close()
    expected = b"burned\n" if body == BURN else body
    assert [(answer.status, answer.body) for answer in answers] == [(200, expected)] * count


def scaling(docked: Docked, name: str) -> Any:
    """What the gateway tells of a function's scaling."""
    answer = docked.server.request("GET", f"/system/function/{name}/scaling", admin=True)
    assert answer.status == 200, answer
    return answer.json()


def decisions(docked: Docked, name: str, rule: str) -> list[Any]:
    """Those made by this rule."""
    return [one for one in scaling(docked, name)["decisions"] if one["rule"] == rule]


def wanted(docked: Docked, name: str) -> list[int]:
    """How many replicas each decision about a function wanted, the latest last."""
    return [int(one["after"]) for one in scaling(docked, name)["decisions"]]


def test_calls_in_flight_bring_as_many_containers_as_they_need_and_their_end_takes_them_away(docked: Docked) -> None:
    with deployed(docked, "steps", {**IN_FLIGHT, f"{SCALE}.max": "4"}):
        first = docked.running("steps")
        with held(docked, "steps", 5):
            docked.wait_replicas("steps", 3)
            with held(docked, "steps", 5):
                docked.wait_replicas("steps", 4)
                [most] = wait_until(lambda: decisions(docked, "steps", "maximum")[-1:], "the reason")
                assert most["inputs"]["asked"] > 4
            docked.wait_replicas("steps", 3)
        docked.wait_replicas("steps", 1)
        wait_until(lambda: len(docked.containers("steps")) == 1, "no container but one")
        assert docked.containers("steps") == first
        assert max(wanted(docked, "steps")) == 4


@pytest.mark.parametrize("manner", ["pause", "remove"])
def test_a_container_that_nobody_calls_rests_until_a_call_is_in_flight(docked: Docked, manner: str) -> None:
    name = f"rests-{manner}"
    resting = {f"{SCALE}.zero": "true", f"{SCALE}.zero-duration": "1s", "com.penstock.zero": manner}
    with deployed(docked, name, resting):
        wait_until(lambda: not docked.running(name) and at_rest(docked, name), "rest")
        kept = docked.containers(name, "status=paused")
        wait_until(lambda: docked.containers(name) == kept, "no container but the one that is kept")
        assert len(kept) == (1 if manner == "pause" else 0)
        idle = wait_until(lambda: decisions(docked, name, "idle"), "the reason")[-1]
        assert (idle["before"], idle["after"]) == (1, 0)
        with held(docked, name, 1):
            docked.wait_replicas(name, 1)
            wake = wait_until(lambda: decisions(docked, name, "wake"), "the reason")[-1]
            assert (wake["before"], wake["after"]) == (0, 1)
            assert not kept or docked.running(name) == kept


def at_rest(docked: Docked, name: str) -> bool:
    function = docked.server.function(name)
    return not function.get("replicas") and not function.get("availableReplicas")


def test_what_a_container_computes_is_measured_and_brings_more(docked: Docked) -> None:
    computing = {
        f"{SCALE}.type": "cpu",
        f"{SCALE}.target": "100",
        f"{SCALE}.target-proportion": "1",
        f"{SCALE}.down.window": "2s",
        f"{SCALE}.max": "2",
    }
    with deployed(docked, "burns", computing, "sh", limits={"cpu": f"{MILLIS}m"}):
        wait_until(lambda: cpu_series(docked, "burns") < 100, "a measurement of a function at rest")
        docked.wait_replicas("burns", 1)
        with held(docked, "burns", 1, BURN):
            docked.wait_replicas("burns", 2)
            used = wait_until(lambda: max(0.0, cpu_series(docked, "burns") - 100), "what it computes") + 100
            assert used < 3 * MILLIS
            up = wait_until(lambda: from_one_to_two(docked, "burns"), "the reason")[-1]
            assert up["inputs"]["type"] == "cpu"
            assert 100 < up["inputs"]["load"] < 2 * MILLIS
        docked.wait_replicas("burns", 1)
        wait_until(lambda: cpu_series(docked, "burns") < 100, "a measurement of a function that has done its work")


def from_one_to_two(docked: Docked, name: str) -> list[Any]:
    """Decisions by which the second replica came."""
    return [one for one in scaling(docked, name)["decisions"] if (one["before"], one["after"]) == (1, 2)]


def cpu_series(docked: Docked, name: str) -> float:
    """Thousandths of a core that a function uses, as Prometheus would read them; infinite when nothing is known."""
    [port] = wait_until(lambda: re.findall(r"metrics on port (\d+)", docked.server.printed()), "the metrics port")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=REQUEST_TIMEOUT) as answer:
        text = answer.read().decode()
    found = re.search(
        rf'^penstock_function_cpu_millis{{function_name="{name}\.openfaas-fn"}} (\S+)$', text, re.MULTILINE
    )
    return float(found[1]) if found else float("inf")


def test_an_alert_is_a_floor_that_load_may_exceed_and_afterwards_load_decides_alone(docked: Docked) -> None:
    with deployed(docked, "alerted", {**IN_FLIGHT, f"{SCALE}.factor": "10"}):
        tell(docked, "alerted", "firing")
        docked.wait_replicas("alerted", 3)
        wait_until(lambda: decisions(docked, "alerted", "floor"), "a decision that leaves the floor")
        with held(docked, "alerted", 7):
            docked.wait_replicas("alerted", 4)
        docked.wait_replicas("alerted", 3)
        report = scaling(docked, "alerted")
        assert (report["floor"], report["floorBy"]) == (3, "alert")
        with held(docked, "alerted", 3):
            wait_until(lambda: scaling(docked, "alerted")["load"]["value"] > 2, "a load that asks for two")
            tell(docked, "alerted", "resolved")
            # The third container stays until it has answered the calls that it has.
            wait_until(lambda: docked.server.function("alerted")["availableReplicas"] == 2, "fewer replicas")
            assert min(wanted(docked, "alerted")) == 2
        docked.wait_replicas("alerted", 1)
        assert scaling(docked, "alerted")["floor"] == 0


def tell(docked: Docked, name: str, status: str) -> None:
    """As Alertmanager does."""
    alert = {"status": status, "labels": {"alertname": "APIHighInvocationRate", "function_name": f"{name}.openfaas-fn"}}
    answer = docked.server.request("POST", "/system/alert", json.dumps({"alerts": [alert]}).encode(), admin=True)
    assert answer.status == 200, answer
