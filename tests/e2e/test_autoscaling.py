"""Replicas follow load: requests that the test holds open are an exact number in flight, however fast the machine is."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gated import IN_FLIGHT, deploy, held, most_wanted, scaling, wait_replicas, wait_told
from tests.e2e.programs import Workshop, role
from tests.e2e.serving import Penstock, serving, wait_until

ALERT_ADDS = 2
"""Replicas: a tenth of twenty."""


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving("--autoscaling") as running:
        yield running


def test_requests_in_flight_bring_the_right_number_of_replicas_and_their_end_takes_them_away(
    server: Penstock, workshop: Workshop
) -> None:
    gate = deploy(server, "steps", workshop, IN_FLIGHT)
    with held(server, "steps", 15, gate) as answers:
        wait_replicas(server, "steps", 8)
    assert [answer.text for answer in answers] == ["through"] * 15
    wait_replicas(server, "steps", 1)
    assert most_wanted(server, "steps") == 8


def test_the_reason_is_told(server: Penstock, workshop: Workshop) -> None:
    gate = deploy(server, "reasons", workshop, IN_FLIGHT)
    with held(server, "reasons", 4, gate):
        wait_replicas(server, "reasons", 2)
        wait_told(server, "reasons", "load")
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
        wait_told(server, "bounded", "maximum")
    assert most_wanted(server, "bounded") == 3


def test_an_idle_function_goes_to_zero_and_a_request_wakes_it(server: Penstock, workshop: Workshop) -> None:
    zero = {"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "2s"}
    gate = deploy(server, "rests", workshop, zero)
    gate.touch()
    wait_until(lambda: at_rest(server, "rests"), "rest")
    wait_told(server, "rests", "idle")
    woken = wait_until(lambda: woken_by_a_call(server, "rests"), "the entry of the call that woke it")[0]
    assert (woken["before"], woken["after"]) == (0, 1)
    assert woken["reason"] == "a call came for a function at rest"


def at_rest(server: Penstock, name: str) -> bool:
    return not server.function(name).get("replicas", 0)


def woken_by_a_call(server: Penstock, name: str) -> list[Any]:
    """Decisions about calls that woke a function, after one more call, which a replica that is about to end may have answered."""
    assert server.invoke(name, b"x").text == "through"
    return by_rule(server, name, "wake")


def by_rule(server: Penstock, name: str, rule: str) -> list[Any]:
    return [one for one in scaling(server, name)["decisions"] if one["rule"] == rule]


def test_a_request_in_flight_keeps_a_function_from_rest(server: Penstock, workshop: Workshop) -> None:
    zero = {**IN_FLIGHT, "com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "1s"}
    gate = deploy(server, "works", workshop, zero)
    other = deploy(server, "beside", workshop, zero)
    other.touch()
    with held(server, "works", 1, gate) as answers:
        wait_until(lambda: scaling(server, "works")["load"]["value"] == 1, "a request that is known to be in flight")
        rests = by_rule(server, "works", "idle")
        assert server.invoke("beside", b"x").text == "through"
        wait_until(lambda: at_rest(server, "beside"), "rest of the function beside")
        assert server.function("works")["replicas"] == 1
        assert by_rule(server, "works", "idle") == rests
    assert [answer.text for answer in answers] == ["through"]


def notify(server: Penstock, name: str, status: str) -> None:
    """As Alertmanager does."""
    alert = {"status": status, "labels": {"alertname": "APIHighInvocationRate", "function_name": f"{name}.openfaas-fn"}}
    answer = server.request("POST", "/system/alert", json.dumps({"alerts": [alert]}).encode(), admin=True)
    assert answer.status == 200, answer


def test_what_an_alert_asked_for_is_a_floor_under_load_until_it_is_over(server: Penstock, workshop: Workshop) -> None:
    gate = deploy(server, "alerted", workshop, IN_FLIGHT)
    other = deploy(server, "unalerted", workshop, IN_FLIGHT)
    with held(server, "alerted", 2, gate):
        with held(server, "unalerted", 6, other):
            wait_replicas(server, "unalerted", 3)
            notify(server, "alerted", "firing")
            wait_replicas(server, "alerted", 1 + ALERT_ADDS)
        wait_replicas(server, "unalerted", 1)  # so the window of the function that has an alert is over as well
        report = scaling(server, "alerted")
        assert (report["replicas"], report["floor"], report["floorBy"]) == (3, 3, "alert")
        wait_told(server, "alerted", "floor")
        notify(server, "alerted", "firing")
        wait_replicas(server, "alerted", 1 + 2 * ALERT_ADDS)
        notify(server, "alerted", "resolved")
        wait_replicas(server, "alerted", 1)
    report = scaling(server, "alerted")
    assert (report["floor"], report["floorBy"]) == (0, "")
    alerts = [(one["before"], one["after"]) for one in report["decisions"] if one["rule"] == "alert"]
    assert alerts[:2] == [(1, 3), (3, 5)]


def test_load_goes_above_what_an_alert_asked_for_and_decides_alone_after_it(
    server: Penstock, workshop: Workshop
) -> None:
    gate = deploy(server, "both", workshop, IN_FLIGHT)
    notify(server, "both", "firing")
    wait_replicas(server, "both", 1 + ALERT_ADDS)
    with held(server, "both", 10, gate) as answers:
        wait_replicas(server, "both", 5)
        assert scaling(server, "both")["floor"] == 1 + ALERT_ADDS
        notify(server, "both", "resolved")
        assert scaling(server, "both")["floor"] == 0
        wait_replicas(server, "both", 5)
    assert [answer.text for answer in answers] == ["through"] * 10
    wait_replicas(server, "both", 1)
    assert most_wanted(server, "both") == 5


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
            end_control(server, signal.SIGKILL, "survives")
            wait_replicas(server, "survives", 3)
        assert [answer.text for answer in answers] == ["through"] * 6
        wait_replicas(server, "survives", 1)


def end_control(server: Penstock, number: signal.Signals, name: str) -> None:
    """And wait until the one that the supervisor starts in its place tells of this function."""
    control = role(server.process.pid, "penstock.control")
    control.send_signal(number)
    wait_until(lambda: not control.is_running(), "the end of control")
    wait_until(lambda: tells_of(server, name), "control's successor")


def tells_of(server: Penstock, name: str) -> bool:
    with contextlib.suppress(OSError):
        return server.request("GET", f"/system/function/{name}/scaling", admin=True).status == 200
    return False


LEARNED_SO_FAR = {"seen": 7, "weights": {"4": 7.0}}
"""Seven pauses of twelve seconds: one less than something is learned from."""


def test_what_was_learned_of_pauses_outlives_control() -> None:
    with tempfile.TemporaryDirectory(prefix="ps-") as folder:
        home = Path(folder)
        with again(home) as server:
            labels = {"com.openfaas.scale.zero": "true", "com.penstock.scale.zero-duration": "auto"}
            spec = {"service": "habit", "image": "", "envProcess": "cat", "labels": labels}
            assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
            server.wait_ready("habit")
            deployed = server.function("habit")["createdAt"]
        entry = {"deployed": deployed, "seen": deployed[:10], "pauses": LEARNED_SO_FAR}
        document = {"version": 1, "functions": {"habit.openfaas-fn": entry}}
        (home / "learned.json").write_text(json.dumps(document))
        with again(home) as server:
            assert rests_after(server, "habit") == 900
            for _ in range(2):  # a pause is between two calls
                call_after_a_pause(server, "habit")
            learned = rests_after(server, "habit")
            assert learned != 900
            for number in (signal.SIGTERM, signal.SIGKILL):
                end_control(server, number, "habit")
                assert rests_after(server, "habit") == learned
            assert "cannot be used" not in server.printed()


def test_a_file_of_what_was_learned_that_is_damaged_costs_only_that() -> None:
    with tempfile.TemporaryDirectory(prefix="ps-") as folder:
        home = Path(folder)
        (home / "learned.json").write_bytes(b'{"version":1,"functions":{"habit.openf')
        with again(home) as server:
            server.deploy("habit", "cat")
            assert server.invoke("habit", b"x").text == "x"
            warning = "learned.json cannot be used, functions' pauses are learned anew"
            wait_until(lambda: warning in server.printed(), "the warning")


@contextlib.contextmanager
def again(home: Path) -> Iterator[Penstock]:
    """A `penstock serve` with a home that others had before it."""
    server = Penstock("--autoscaling", home=home)
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()


def rests_after(server: Penstock, name: str) -> float:
    return float(scaling(server, name)["restsAfter"])


def idle_for(server: Penstock, name: str) -> float:
    return float(scaling(server, name)["idleFor"])


def call_after_a_pause(server: Penstock, name: str) -> None:
    """And wait until the call is known: from then on it has been idle for less long than it would have been without."""
    idle = wait_until(lambda: max(0.0, idle_for(server, name) - 11), "a pause") + 11
    since = time.monotonic()
    assert server.invoke(name, b"x").text == "x"

    def known() -> bool:
        passed = time.monotonic() - since
        return idle_for(server, name) < idle + passed - 1

    wait_until(known, "the end of a pause")


def test_load_decides_nothing_where_autoscaling_is_off(workshop: Workshop) -> None:
    with serving() as server:
        gate = deploy(server, "left", workshop, IN_FLIGHT)
        other = deploy(server, "called", workshop, IN_FLIGHT)
        other.touch()
        with held(server, "left", 8, gate):
            assert server.invoke("called", b"x").text == "through"
            assert server.function("left")["replicas"] == 1
        assert server.function("left")["replicas"] == 1
