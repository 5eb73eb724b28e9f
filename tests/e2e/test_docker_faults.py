"""Functions in containers while processes, containers and engines are killed: what goes on, what comes back, and what is left."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.docked import Docked, Traffic
from tests.e2e.programs import below, role
from tests.e2e.serving import wait_until
from tests.engines.engine import Engine
from tests.engines.fixtures import StartEngine
from tests.engines.images import import_busybox

pytestmark = pytest.mark.service("dockerd", "busybox")

WORKER, CONTROL = "penstock.gateway.worker", "penstock.control.process"
BUSYBOX = "busybox:it"
WHO = "cat /etc/hostname"
"""A program that answers which replica it is of."""
BOUND = 60.0
"""Seconds in which a request must be answered whatever has happened, on a machine that is shared; what waits for a replica
waits 2 s where it waits in vain."""

Dock = Callable[..., Docked]


@pytest.fixture
def dock(docker_engine: Engine, busybox_image: str) -> Iterator[Dock]:
    """Starts servers, on the shared engine unless another is named, that end with the test."""
    with contextlib.ExitStack() as started:

        def start(*flags: str, engine: Engine = docker_engine) -> Docked:
            docked = Docked(engine, *flags)
            started.callback(docked.close)
            return docked

        yield start


@pytest.fixture(scope="module")
def docked(docker_engine: Engine, busybox_image: str) -> Iterator[Docked]:
    """A server with two workers, the function `pair` of two replicas and `other` of one."""
    running = Docked(docker_engine, "--workers", "2")
    deploy_two(running)
    yield running
    running.close()


def deploy_two(docked: Docked, **of_other: str) -> None:
    """`of_other` are labels, as `Docked.accept` takes them."""
    docked.accept("pair", BUSYBOX, WHO, com_openfaas_scale_min="2")
    docked.accept("other", BUSYBOX, "cat", **of_other)
    docked.wait_replicas("pair", 2)
    docked.wait_replicas("other", 1)


def control_answers(docked: Docked) -> bool:
    return docked.server.request("GET", "/healthz").status == 200


# Processes of the server


def test_control_killed_under_traffic_costs_no_request_and_no_container(docked: Docked) -> None:
    before, lives = docked.running(), docked.lives("pair")
    killed = role(docked.server.process.pid, CONTROL)
    with Traffic(docked.server, "pair") as traffic:
        traffic.go_on()
        killed.kill()
        traffic.go_on()
        wait_until(lambda: role(docked.server.process.pid, CONTROL).pid != killed.pid, "another control process")
        wait_until(lambda: control_answers(docked), "control to answer")
        docked.wait_replicas("pair", 2)
        traffic.go_on()
    assert traffic.failures == []
    assert docked.running() == before
    assert docked.lives("pair") == lives


def test_functions_are_looked_after_by_a_control_that_took_them_over(docked: Docked) -> None:
    killed = role(docked.server.process.pid, CONTROL)
    killed.kill()
    wait_until(lambda: role(docked.server.process.pid, CONTROL).pid != killed.pid, "another control process")
    wait_until(lambda: control_answers(docked), "control to answer")
    docked.wait_replicas("other", 1)
    before = docked.container("other")
    docked.engine.docker("kill", before)
    wait_until(lambda: before not in docked.running("other"), "its end")
    docked.wait_replicas("other", 1)
    assert docked.server.invoke("other", b"again").body == b"again"
    assert docked.container("other") != before


def test_a_worker_killed_under_traffic_costs_only_what_it_was_sent(docked: Docked) -> None:
    before = docked.running()
    workers = {process.pid for process in below(docked.server.process.pid, WORKER)}
    with Traffic(docked.server, "pair") as traffic:
        traffic.go_on()
        role(docked.server.process.pid, WORKER).kill()
        wait_until(
            lambda: len({process.pid for process in below(docked.server.process.pid, WORKER)} - workers) == 1,
            "another worker",
        )
        traffic.go_well()
    assert not any(fault[:1].isdecimal() for fault in traffic.failures), "connections may break, answers stay good"
    assert docked.running() == before


def test_after_everything_was_killed_the_next_server_has_the_same_containers(docked: Docked) -> None:
    before, lives = docked.running(), docked.lives("pair")
    docked.kill_everything()
    assert docked.running() == before
    docked.serve()
    docked.wait_replicas("pair", 2)
    docked.wait_replicas("other", 1)
    assert docked.running() == before
    assert docked.lives("pair") == lives
    assert {docked.server.request("GET", "/function/pair").text.strip() for _ in range(20)} <= set(lives)
    assert docked.server.invoke("other", b"same").body == b"same"


def test_what_was_removed_while_nobody_served_is_replaced_and_the_rest_stays(docked: Docked) -> None:
    pair, other = docked.running("pair"), docked.container("other")
    docked.kill_everything()
    docked.engine.docker("rm", "--force", "--volumes", other)
    docked.serve()
    docked.wait_replicas("pair", 2)
    docked.wait_replicas("other", 1)
    assert docked.running("pair") == pair
    assert docked.container("other") != other
    assert docked.server.invoke("other", b"new").body == b"new"
    wait_until(lambda: docked.containers() == docked.running(), "the end of those that had ended before")


# Containers


def test_a_container_killed_under_traffic_costs_no_request_and_is_replaced(docked: Docked) -> None:
    docked.wait_replicas("pair", 2)
    before, lives = docked.running("pair"), docked.lives("pair")
    [victim, *_] = before
    with Traffic(docked.server, "pair") as traffic:
        wait_until(lambda: len(traffic.bodies) == 2, "answers of both")
        docked.engine.docker("kill", "--signal", "KILL", victim)
        wait_until(lambda: victim not in docked.running("pair"), "its end")
        docked.wait_replicas("pair", 2)
        traffic.go_on()
    assert traffic.failures == []
    assert len(before & docked.running("pair")) == 1
    [(name, restarts)] = set(docked.lives("pair").items()) - set(lives.items())
    assert restarts == lives[name] + 1
    assert re.search(rf"^{name}\s+ready\s+{restarts}\s*$", docked.run("describe", "pair"), re.MULTILINE)


def test_why_a_container_ended_is_told_while_its_next_start_is_awaited(docked: Docked) -> None:
    """The first pauses are too short to be seen for certain, so it is killed until they are long."""

    def told() -> str:
        [instance] = docked.instances("other")
        if instance["state"] == "backoff":
            return str(instance["reason"])
        for container in docked.running("other"):
            with contextlib.suppress(AssertionError):  # it has just been removed or has ended
                docked.engine.docker("kill", container)
        return ""

    assert "ended by signal 9 (Killed)" in wait_until(told, "a reason")
    docked.wait_replicas("other", 1)
    assert docked.instances("other")[0]["restarts"] > 0
    assert docked.server.invoke("other", b"once more").body == b"once more"


# The engine


@dataclass
class Restarted:
    """An engine of one test's own, and a server on it with `deploy_two`."""

    engine: Engine
    docked: Docked


@pytest.fixture
def own_engine(start_engine: StartEngine, dock: Dock) -> Callable[..., Restarted]:
    def start(labels: Mapping[str, str] = {}, **options: Any) -> Restarted:
        engine = start_engine(**options)
        import_busybox(engine)
        docked = dock(engine=engine)
        deploy_two(docked, **labels)
        return Restarted(engine, docked)

    return start


def test_an_engine_restarted_under_its_containers_costs_no_request(own_engine: Callable[..., Restarted]) -> None:
    given = own_engine(live_restore=True)
    docked, before, lives = given.docked, given.docked.running(), given.docked.lives("pair")
    with Traffic(docked.server, "pair") as traffic, Traffic(docked.server, "other") as quiet:
        traffic.go_on()
        given.engine.stop()
        traffic.go_on()
        wait_until(lambda: not control_answers(docked), "control to see that the engine is away")
        given.engine.start()
        wait_until(lambda: control_answers(docked), "control to be well again")
        docked.wait_replicas("pair", 2)
        traffic.go_on()
        quiet.go_on()
    assert (traffic.failures, quiet.failures) == ([], [])
    assert docked.running() == before
    assert docked.lives("pair") == lives
    docked.scale("other", 2)
    docked.wait_replicas("other", 2)


def test_containers_that_ended_with_their_engine_are_replaced_when_it_is_back(
    own_engine: Callable[..., Restarted],
) -> None:
    given = own_engine({"com_penstock_queue_timeout": "2s"})
    docked, before = given.docked, given.docked.running()
    with Traffic(docked.server, "other") as traffic:
        traffic.go_on()
        given.engine.stop()
        wait_until(lambda: not control_answers(docked), "control to see that the engine is away")
        told = docked.server.request("GET", "/healthz")
        assert told.status == 503
        assert "Docker Engine" in told.text
        wait_until(lambda: traffic.failures, "a request that is refused")
        refused = docked.cli("invoke", "other")
        assert refused.returncode == 1
        assert b"503" in refused.stderr or b"502" in refused.stderr
        wait_until(
            lambda: "Docker Engine" in docked.instances("other")[0].get("reason", ""), "the engine as the reason"
        )
        given.engine.start()
        wait_until(lambda: control_answers(docked), "control to be well again")
        docked.wait_replicas("other", 1)
        docked.wait_replicas("pair", 2)
        traffic.go_well()
    assert {fault[:3] for fault in traffic.failures} <= {"502", "503"}
    assert traffic.longest < BOUND
    assert not before & docked.running()
    assert docked.server.invoke("pair").status == 200


# The end, and neighbours


def test_an_orderly_end_leaves_only_what_is_not_ours(dock: Dock, docker_engine: Engine) -> None:
    networks = ("e2e-orderly", "e2e-strangers")
    docked = dock("--docker-network", networks[0])
    docker_engine.docker("network", "create", networks[1])
    stranger = docker_engine.docker("run", "--detach", "--network", networks[1], BUSYBOX, "sleep", "3600")
    try:
        docked.accept("cat", BUSYBOX, "cat", com_penstock_zero="pause")
        docked.accept("two", BUSYBOX, "cat", com_openfaas_scale_min="2")
        docked.wait_replicas("cat", 1)
        docked.wait_replicas("two", 2)
        docked.scale("cat", 0)
        wait_until(lambda: docked.containers("cat", "status=paused"), "a frozen container")
        assert docked.server.stop() == 0
        assert docked.containers() == set()
        left = docker_engine.docker("network", "ls", "--format", "{{.Name}}").split()
        assert networks[0] not in left
        assert networks[1] in left
        assert docker_engine.docker("inspect", "--format", "{{.State.Running}}", stranger) == "true"
    finally:
        docker_engine.docker("rm", "--force", stranger)
        docker_engine.docker("network", "rm", networks[1])


def test_a_network_that_a_stranger_uses_stays_when_we_end(dock: Dock, docker_engine: Engine) -> None:
    docked = dock("--docker-network", "e2e-shared")
    docked.accept("cat", BUSYBOX, "cat")
    docked.wait_replicas("cat", 1)
    stranger = docker_engine.docker("run", "--detach", "--network", "e2e-shared", BUSYBOX, "sleep", "3600")
    try:
        assert docked.server.stop() == 0
        assert docked.containers() == set()
        assert docker_engine.docker("inspect", "--format", "{{.State.Running}}", stranger) == "true"
        assert "e2e-shared" in docker_engine.docker("network", "ls", "--format", "{{.Name}}").split()
    finally:
        docker_engine.docker("rm", "--force", stranger)
        docker_engine.docker("network", "rm", "e2e-shared")


def test_servers_that_share_an_engine_leave_each_other_alone(dock: Dock) -> None:
    one, other = dock(), dock()
    for docked, word in ((one, "one"), (other, "other")):
        docked.accept("same", BUSYBOX, f"echo {word}")
        docked.wait_replicas("same", 1)
    before = other.running()
    with Traffic(other.server, "same") as traffic:
        traffic.go_on()
        assert one.server.invoke("same").text == "one\n"
        one.remove("same")
        traffic.go_on()
        one.accept("same", BUSYBOX, "echo one more")
        one.wait_replicas("same", 1)
        one.kill_everything()
        one.serve()
        one.wait_replicas("same", 1)
        assert one.server.stop() == 0
        traffic.go_on()
    assert traffic.failures == []
    assert traffic.bodies == {"other\n"}
    assert other.running() == before
    assert one.containers() == set()
