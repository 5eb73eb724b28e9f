"""The gateway as a service of a real Swarm, brought up by `deploy/swarm/up.sh`: its functions, its update, its end and its return."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import debian_path
from tests.e2e.stack import UP, Stack, stack_on
from tests.engines.fixtures import or_absent, require
from tests.engines.images import import_busybox
from tests.engines.packages import import_program, unpacked
from tests.engines.swarm import SwarmNode
from tests.engines.waiting import wait_until
from tests.image import TAG

GATEWAY = "penstock_gateway"
SERVER = (
    "mkdir -p /tmp/w/_; echo fine > /tmp/w/_/ready; echo served > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
)
"""A program that serves HTTP by itself."""
MONITORS = {
    "PROMETHEUS_IMAGE": ("usr/bin/prometheus",),
    "ALERTMANAGER_IMAGE": (
        "usr/bin/prometheus-alertmanager",
        "usr/share/prometheus/alertmanager/default.tmpl",
        "usr/share/prometheus/alertmanager/email.tmpl",
    ),
    "NATS_IMAGE": ("usr/sbin/nats-server",),
}
"""Programs of Debian that take the places of the usual images, by the variables that name those."""

pytestmark = pytest.mark.service("dockerd", "busybox")


@pytest.fixture(scope="module")
def stack(swarm_engine: SwarmNode, made_image: dict[str, Any]) -> Iterator[Stack]:
    """The stack with two functions: `copy`, under an injected watchdog, and `served`, an image as it is."""
    require("busybox")
    import_busybox(swarm_engine)
    import_busybox(swarm_engine, "served:it", [f"ENTRYPOINT {json.dumps(['/bin/sh', '-c', SERVER])}", "EXPOSE 8080"])
    swarm_engine.docker("load", data=Path(made_image["path"]).read_bytes())
    with stack_on(swarm_engine, TAG, **{name: f"{name.lower()}:it" for name in MONITORS}) as up:
        up.cli("deploy", "--name", "copy", "--image", "busybox:it", "--fprocess", "cat")
        up.cli("deploy", "--name", "served", "--image", "served:it")
        yield up


def test_functions_of_both_kinds_answer(stack: Stack) -> None:
    stack.wait_for("/function/copy", b"words", b"words")
    stack.wait_for("/function/served/index.html", b"served\n")


def test_they_are_listed_described_and_have_logs(stack: Stack) -> None:
    stack.wait_for("/function/copy", b"words", b"words")
    assert {line.split()[0] for line in stack.cli("list", "--quiet").splitlines()} >= {"copy", "served"}
    described = json.loads(stack.cli("describe", "copy", "--json"))
    assert (described["Status"], described["availableReplicas"]) == ("Ready", 1)
    wait_until(lambda: "Listening on port: 8080" in stack.cli("logs", "copy", "--no-tail"), "the log of its watchdog")


def test_a_function_of_another_namespace_answers(stack: Stack) -> None:
    stack.cli("namespace", "create", "team")
    stack.cli("deploy", "--name", "copy", "--namespace", "team", "--image", "busybox:it", "--fprocess", "cat")
    stack.wait_for("/function/copy.team", b"words", b"words")
    stack.cli("remove", "copy", "--namespace", "team")
    wait_until(lambda: stack.ask("/system/functions?namespace=team") == (200, b"[]"), "no functions")
    stack.cli("namespace", "remove", "team")


def test_another_image_of_that_name_replaces_the_gateway_and_no_function(stack: Stack) -> None:
    functions, gateway = stack.containers("copy"), stack.containers(GATEWAY)
    container = stack.node.docker("create", TAG)
    stack.node.docker("commit", "--change", "LABEL made=later", container, TAG)
    stack.node.docker("rm", container)
    said = stack.up()
    assert f"Penstock answers at {stack.base}" in said
    assert "password" not in said
    wait_until(lambda: not stack.containers(GATEWAY).keys() & gateway.keys(), "the end of the gateway of before")
    stack.wait_for("/function/copy", b"words", b"words")
    assert stack.containers("copy") == functions


def test_a_killed_gateway_comes_back_and_finds_its_functions(stack: Stack) -> None:
    functions, gateway = stack.containers("copy"), stack.containers(GATEWAY)
    stack.node.docker("kill", *gateway)
    wait_until(lambda: stack.containers(GATEWAY).keys() - gateway.keys(), "another gateway")
    stack.wait_for("/function/copy", b"words", b"words")
    assert stack.containers("copy") == functions


def test_functions_outlive_the_stack_and_are_found_by_the_next(stack: Stack) -> None:
    functions = stack.containers("copy")
    assert "Functions run on" in stack.down()
    wait_until(lambda: not stack.containers(GATEWAY), "no gateway")
    assert stack.containers("copy") == functions
    assert "password" not in stack.up()
    stack.wait_for("/function/copy", b"words", b"words")
    assert stack.containers("copy") == functions


def test_nats_prometheus_and_alertmanager_find_what_they_need_and_the_gateway_stays(stack: Stack) -> None:
    gateway = stack.containers(GATEWAY)
    with or_absent(), unpacked("prometheus", "prometheus-alertmanager", "nats-server") as root:
        for variable, names in MONITORS.items():
            import_program(stack.node, stack.environ[variable], root, *names)
    stack.up("--nats", "--monitoring")
    assert stack.containers(GATEWAY) == gateway
    prometheus = "http://prometheus:9090/api/v1"
    wait_until(lambda: '"health":"up"' in stack.network_get(f"{prometheus}/targets"), "a scrape")
    wait_until(lambda: "APIHighInvocationRate" in stack.network_get(f"{prometheus}/rules"), "its rules")
    wait_until(lambda: "//alertmanager:9093/" in stack.network_get(f"{prometheus}/alertmanagers"), "whom it tells")
    alertmanager = "http://alertmanager:9093/api/v2/status"
    wait_until(lambda: "http://gateway:8080/system/alert" in stack.network_get(alertmanager), "Alertmanager")
    [nats] = wait_until(lambda: stack.containers("penstock_nats"), "NATS")
    wait_until(lambda: "Server is ready" in stack.node.logs(nats), "NATS to be ready")


@pytest.mark.parametrize(
    ("arguments", "host", "words"),
    [
        (["--port", "65536"], "", "--port 65536 is not a port"),
        (["--port"], "", "--port needs a value"),
        (["--with", "nowhere/own.yml"], "", "--with nowhere/own.yml: there is no such file"),
        (["--image", "nowhere.invalid/x:1"], "", "there is no image nowhere.invalid/x:1"),
        (["--up"], "", "unknown argument: --up"),
        ([], "unix:///nowhere.sock", "no Docker Engine answers"),
    ],
)
def test_up_refuses_what_cannot_be(swarm_engine: SwarmNode, arguments: list[str], host: str, words: str) -> None:
    assert words in refusal(host or swarm_engine.url, *arguments)


def test_an_engine_that_is_no_manager_is_refused(docker_engine: SwarmNode) -> None:
    assert "this node is not a manager of a Swarm: run 'docker swarm init'" in refusal(docker_engine.url)


def refusal(host: str, *arguments: str) -> str:
    environ = {"PATH": debian_path(), "DOCKER_HOST": host, "HOME": "/nowhere"}
    done = subprocess.run([UP, *arguments], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr
