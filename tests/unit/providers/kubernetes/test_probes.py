"""What the kubelet asks a function, and what we ask before."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.health import Check
from penstock.providers.kubernetes.probes import probes_of, ready_check
from tests.unit.providers.kubernetes.objects import container, spec

WATCHDOG, PORT = {"com.penstock.watchdog": "inject"}, {"com.penstock.http-port": "80"}
READY, HEALTH = "com.openfaas.ready.http.", "com.openfaas.health.http."


def http(path: str, port: int = 8080) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}}


@pytest.mark.parametrize(
    ("fields", "question", "asked"),
    [
        ({"labels": WATCHDOG}, http("/_/ready"), Check("/_/ready")),
        ({"env_process": "", "env_vars": {"mode": "python", "handler": "/h.py"}}, http("/_/ready"), Check("/_/ready")),
        ({"env_process": "node x.js", "env_vars": {"mode": "http"}}, http("/_/ready"), Check("/_/ready")),
        ({"env_process": "cat"}, http("/_/health"), Check("/_/health")),
        ({"env_process": "cat", "env_vars": {"mode": "classic"}}, http("/_/health"), Check("/_/health")),
        ({"env_process": ""}, http("/_/health"), Check("/_/health")),
        ({"env_process": "", "env_vars": {"port": "9000"}}, http("/_/health", 9000), Check("/_/health")),
        ({"env_process": "", "labels": PORT}, {"tcpSocket": {"port": 80}}, Check("/_/health", passes="any")),
        (
            {"env_process": "", "labels": PORT, "annotations": {READY + "path": "/up"}},
            http("/up", 80),
            Check("/up", timeout=1.0),
        ),
    ],
)
def test_what_is_asked_about_readiness(fields: dict[str, Any], question: dict[str, Any], asked: Check) -> None:
    probe = container(spec(**fields))["readinessProbe"]
    assert question.items() <= probe.items()
    assert ready_check(spec(**fields)) == asked


def test_without_annotations_it_is_asked_every_second_and_liveness_never() -> None:
    assert probes_of(spec()) == {
        "readinessProbe": {
            **http("/_/health"),
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "successThreshold": 1,
            "failureThreshold": 3,
        }
    }


def test_annotations_decide_all_of_a_probe() -> None:
    annotations = {
        HEALTH + "path": "/alive",
        HEALTH + "initialDelay": "30s",
        HEALTH + "periodSeconds": "5",
        HEALTH + "timeoutSeconds": "2",
        HEALTH + "failureThreshold": "4",
        READY + "path": "/up",
        READY + "initialDelaySeconds": "1",
        READY + "period": "1m",
        READY + "timeout": "500ms",
        READY + "successThreshold": "2",
        READY + "failureThreshold": "5",
    }
    found = container(spec(annotations=annotations))
    assert found["livenessProbe"] == {
        **http("/alive"),
        "initialDelaySeconds": 30,
        "periodSeconds": 5,
        "timeoutSeconds": 2,
        "successThreshold": 1,
        "failureThreshold": 4,
    }
    assert found["readinessProbe"] == {
        **http("/up"),
        "initialDelaySeconds": 1,
        "periodSeconds": 60,
        "timeoutSeconds": 1,
        "successThreshold": 2,
        "failureThreshold": 5,
    }


def test_the_path_of_health_is_that_of_readiness_too() -> None:
    found = probes_of(spec(annotations={HEALTH + "path": "/alive"}))
    assert found["readinessProbe"]["httpGet"]["path"] == "/alive"
    assert found["readinessProbe"]["periodSeconds"] == 1
    assert "startupProbe" not in found


def test_liveness_without_a_path_asks_the_watchdog() -> None:
    found = probes_of(spec(labels=WATCHDOG, annotations={HEALTH + "periodSeconds": "10"}))
    assert http("/_/health").items() <= found["livenessProbe"].items()
    assert http("/_/ready").items() <= found["readinessProbe"].items()


def test_a_server_of_its_own_lives_while_its_port_is_open() -> None:
    found = probes_of(spec(env_process="", labels=PORT, annotations={HEALTH + "periodSeconds": "10"}))
    assert found["livenessProbe"]["tcpSocket"] == {"port": 80}


def test_a_watchdog_that_can_be_full_stays_in_the_routes_when_it_is() -> None:
    found = container(spec(labels=WATCHDOG, env_vars={"max_inflight": "4"}))
    assert http("/_/ready").items() <= found["startupProbe"].items()
    assert found["startupProbe"]["failureThreshold"] == 3600
    assert http("/_/health").items() <= found["readinessProbe"].items()
    assert ready_check(spec(labels=WATCHDOG, env_vars={"max_inflight": "4"})) == Check("/_/ready")


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": WATCHDOG, "env_vars": {"max_inflight": "0"}},
        {"labels": WATCHDOG, "env_vars": {"max_inflight": "4"}, "annotations": {READY + "path": "/_/ready"}},
        {"env_process": "cat", "env_vars": {"max_inflight": "4"}},
    ],
)
def test_otherwise_readiness_alone_is_asked(fields: dict[str, Any]) -> None:
    assert "startupProbe" not in probes_of(spec(**fields))
