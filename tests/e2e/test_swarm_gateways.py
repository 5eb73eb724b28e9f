"""Two gateways of one installation on a real Swarm: one scales by the load of both, alerts reach it through either, and when it is
killed the other goes on.

They are processes beside the Swarm, each at a loopback address of its own, and find each other by a name that only they know.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.docked import kill_at_once
from tests.e2e.monitoring import held_port
from tests.e2e.serving import REQUEST_TIMEOUT, Penstock, wait_until
from tests.engines.fixtures import require
from tests.engines.images import import_busybox
from tests.engines.swarm import SwarmNode
from tests.integration.providers.swarm.harness import NETWORK, Installation, watchdog

pytestmark = pytest.mark.service("dockerd", "busybox")

PEERS = "gateways.test"
KNOWN = 'mount --bind "$0" /etc/hosts && exec "$@"'
"""Runs a program for which the names in a file are those of the machine."""
SUM = {"com.openfaas.scale.type": "capacity", "com.openfaas.scale.target": "4"}
SUM |= {"com.openfaas.scale.target-proportion": "1", "com.openfaas.scale.factor": "10"}
"""A replica for each four requests in flight; an alert adds two."""


class Gateway:
    """One of them, from its first start on; killed, it can be started again."""

    server: Penstock

    def __init__(self, home: Path, address: str, metrics_port: int, hosts: Path, installation: Installation) -> None:
        self.home = home
        (self.home / "watchdog").symlink_to(watchdog().parent, target_is_directory=True)
        self._within = ("unshare", "--mount", "sh", "-c", KNOWN, str(hosts))
        self._flags = ["--autoscaling", "--host", address, "--metrics-port", str(metrics_port), "--provider", "swarm"]
        self._flags += ["--installation", installation.name, "--docker-network", NETWORK, "--docker-connect", "port"]
        self._environ = {"DOCKER_HOST": installation.engine.url, "PENSTOCK_PEERS": PEERS}
        self.start()

    def start(self) -> None:
        self.server = Penstock(*self._flags, home=self.home, environ=self._environ, within=self._within)

    def kill(self) -> None:
        """With all its processes, so that none of them can give anything back."""
        kill_at_once(self.server)

    def close(self) -> None:
        """That it ends well is part of every test."""
        code = self.server.stop()
        assert code == 0, self.server.printed()[-4000:]

    def deploy(self, name: str, labels: dict[str, str]) -> None:
        """A function whose calls last until their callers go, with one replica."""
        timeouts = {"exec_timeout": "1h", "read_timeout": "1h", "write_timeout": "1h"}
        spec = {
            "service": name,
            "image": "busybox:it",
            "envProcess": "sleep 3600",
            "envVars": timeouts,
            "labels": labels,
        }
        answer = self.server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
        assert answer.status == 202, answer

    def tell(self, name: str, status: str) -> None:
        """What Alertmanager would."""
        body = {"alerts": [{"status": status, "labels": {"function_name": name}}]}
        answer = self.server.request("POST", "/system/alert", json.dumps(body).encode(), admin=True)
        assert answer.status == 200, answer

    def scaling(self, name: str) -> Any:
        """What it tells of a function's scaling."""
        answer = self.server.request("GET", f"/system/function/{name}/scaling", admin=True)
        assert answer.status == 200, answer
        return answer.json()

    def floor(self, name: str) -> tuple[int, str]:
        report = self.scaling(name)
        return report["floor"], report["floorBy"]

    def steps(self, name: str) -> list[tuple[int, int]]:
        """All changes that it has made or noticed, each from how many replicas to how many."""
        decided = ((one["before"], one["after"]) for one in self.scaling(name)["decisions"])
        return [(before, after) for before, after in decided if before != after]

    @contextlib.contextmanager
    def holding(self, name: str, count: int) -> Iterator[None]:
        """So many calls in flight through it, each on a connection of its own, from the beginning of the context to its end."""
        with contextlib.ExitStack() as opened:
            for _ in range(count):
                call = opened.enter_context(socket.create_connection(self.server.address, REQUEST_TIMEOUT))
                call.sendall(f"POST /function/{name} HTTP/1.1\r\nHost: it\r\nContent-Length: 0\r\n\r\n".encode())
            yield


class Pair:
    """Both of them."""

    def __init__(self, gateways: list[Gateway]) -> None:
        self.gateways = gateways

    def deploy(self, name: str, **labels: str) -> tuple[Gateway, Gateway]:
        """A function that both know, with one replica; the gateway that leads, and the other."""
        self.gateways[0].deploy(name, {**SUM, **labels})
        self.wait_for(name, 1)
        return self.roles(name)

    def roles(self, name: str) -> tuple[Gateway, Gateway]:
        first, second = self.gateways

        def known() -> tuple[Gateway, Gateway] | None:
            match [gateway.scaling(name)["leader"] for gateway in self.gateways]:
                case [True, False]:
                    return first, second
                case [False, True]:
                    return second, first
            return None

        roles = wait_until(known, "one leader")
        assert roles is not None
        return roles

    def wait_for(self, name: str, replicas: int, *gateways: Gateway) -> None:
        """Until so many are wanted and ready, as both tell it, or those that are named."""

        def settled() -> bool:
            told = [gateway.server.function(name) or {} for gateway in gateways or self.gateways]
            return all(one.get("replicas") == one.get("availableReplicas") == replicas for one in told)

        try:
            wait_until(settled, f"{replicas} replicas of {name}")
        except TimeoutError as error:
            reports = [gateway.scaling(name) for gateway in gateways or self.gateways]
            raise TimeoutError(f"{error}: {json.dumps(reports, indent=1)}") from error


def wait_steps(gateway: Gateway, name: str, last: int) -> list[tuple[int, int]]:
    """Its steps, once it tells of the one to this number, which may be seen a moment sooner."""

    def told() -> list[tuple[int, int]]:
        steps = gateway.steps(name)
        return steps if steps and steps[-1][1] == last else []

    return wait_until(told, f"the step to {last}")


def an_unbroken_chain(steps: list[tuple[int, int]]) -> bool:
    """Whether each step begins where the one before it ended, so that nobody else has made one meanwhile."""
    return all(before == ended for (_, ended), (before, _) in itertools.pairwise(steps))


@pytest.fixture(scope="module")
def pair(swarm_engine: SwarmNode) -> Iterator[Pair]:
    require("busybox", "mount")
    import_busybox(swarm_engine)
    with contextlib.ExitStack() as started:
        port = started.enter_context(held_port())
        installation = Installation(swarm_engine)
        started.callback(installation.purge)
        network = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}"
        addresses = [f"{network}.1", f"{network}.2"]
        hosts = installation.home / "hosts"
        hosts.write_text(Path("/etc/hosts").read_text() + "".join(f"{address} {PEERS}\n" for address in addresses))
        gateways = []
        for address in addresses:
            home = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="ps-", ignore_cleanup_errors=True)))
            gateways.append(Gateway(home, address, port, hosts, installation))
            started.callback(gateways[-1].close)
        yield Pair(gateways)


def test_one_scales_by_the_load_of_both(pair: Pair) -> None:
    leader, other = pair.deploy("sum")
    with leader.holding("sum", 8), other.holding("sum", 10):
        pair.wait_for("sum", 5)  # neither eight nor ten alone ask for more than three
        assert an_unbroken_chain([(0, 1), *wait_steps(leader, "sum", 5)])
        assert other.steps("sum") == []
        assert pair.roles("sum") == (leader, other)


def test_an_alert_is_a_floor_until_it_is_over_whichever_gateway_is_told(pair: Pair) -> None:
    leader, other = pair.deploy("alarm", **{"com.openfaas.scale.down.window": "5s"})
    other.tell("alarm", "firing")
    pair.wait_for("alarm", 3)
    wait_until(lambda: leader.floor("alarm") == other.floor("alarm") == (3, "alert"), "a floor that both know")
    leader.tell("alarm", "firing")
    pair.wait_for("alarm", 5)
    wait_until(lambda: leader.floor("alarm") == other.floor("alarm") == (5, "alert"), "the next floor")
    other.tell("alarm", "resolved")
    pair.wait_for("alarm", 1)
    wait_until(lambda: leader.floor("alarm") == other.floor("alarm") == (0, ""), "no floor")
    # The last may be two, for the window remembers what was needed before. The first is told only by who leads at that moment: not
    # by one that has just stood still, and has to see first whether it still does.
    steps = wait_steps(leader, "alarm", 1)
    assert (3, 5) in steps
    assert steps[0] in [(1, 3), (3, 5)]
    assert an_unbroken_chain(steps)


def test_when_the_one_that_leads_is_killed_the_other_goes_on_with_what_there_is(pair: Pair) -> None:
    leader, other = pair.deploy("heir")
    leader.tell("heir", "firing")
    pair.wait_for("heir", 3)
    with other.holding("heir", 10):
        with leader.holding("heir", 8):
            pair.wait_for("heir", 5)
            leader.kill()
        wait_until(lambda: other.scaling("heir")["leader"], "another leader")
        assert other.floor("heir") == (3, "alert")
        with other.holding("heir", 12):
            pair.wait_for("heir", 6, other)
            assert an_unbroken_chain([(1, 5), *wait_steps(other, "heir", 6)])
            leader.start()
            assert pair.roles("heir") == (other, leader)
            wait_until(lambda: leader.floor("heir") == (3, "alert"), "the floor at the one that came back")
            pair.wait_for("heir", 6)
    leader.tell("heir", "resolved")
    wait_until(lambda: leader.floor("heir") == other.floor("heir") == (0, ""), "no floor")
