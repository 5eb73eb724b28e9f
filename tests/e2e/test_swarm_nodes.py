"""A gateway beside a real Swarm of two nodes, of which one is drained, killed and cut off under traffic: no request fails."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator

import pytest

from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.swarm.names import service_name
from tests.e2e.docked import Traffic
from tests.e2e.serving import Penstock, wait_until
from tests.engines.images import import_busybox, import_root
from tests.engines.swarm import SwarmNode, TwoNodeSwarm
from tests.integration.providers.swarm.harness import NETWORK, Installation, watchdog

pytestmark = pytest.mark.service("dockerd", "busybox")

WIDE = 4
"""Replicas, two on each node: a request may meet one after the other that is lost."""


class Wide:
    """A server outside of the Swarm, and a function with replicas on both nodes whose answers say which replica gave them."""

    def __init__(self, swarm: TwoNodeSwarm, installation: Installation, server: Penstock) -> None:
        self.swarm = swarm
        self.server = server
        self._service = service_name(installation.name, "wide", DEFAULT_NAMESPACE, 1)
        spec = {"service": "wide", "image": "busybox:it", "envProcess": "cat /etc/hostname"}
        answer = server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
        assert answer.status == 202, answer
        self.wait_for(1, *swarm.nodes)

    def spread(self) -> None:
        """Have replicas on both nodes. A Swarm moves none to a node that has come back, but places new ones there."""
        for replicas in (1, WIDE):
            body = json.dumps({"serviceName": "wide", "replicas": replicas}).encode()
            answer = self.server.request("POST", "/system/scale-function/wide", body, admin=True)
            assert answer.status == 202, answer
            self.wait_for(replicas, *self.swarm.nodes)
        assert [len(self._tasks(node)) for node in self.swarm.nodes] == [WIDE // 2, WIDE // 2]

    def wait_for(self, replicas: int, *nodes: SwarmNode) -> None:
        """Until exactly so many are there and ready, all of them on these nodes."""

        def settled() -> bool:
            status = self.server.function("wide") or {}
            return (
                status.get("availableReplicas") == replicas == len(status.get("instances", ()))
                and sum(len(self._tasks(node)) for node in nodes) == replicas
            )

        try:
            wait_until(settled, f"{replicas} replicas of wide")
        except TimeoutError as error:
            tasks = self.swarm.manager.docker("service", "ps", "--no-trunc", self._service)
            said = self.server.printed()[-4000:]
            raise TimeoutError(f"{error}: {self.server.function('wide')}\n{tasks}\n{said}") from error

    @contextlib.contextmanager
    def traffic_while(self, lose: Callable[[], object], bring_back: Callable[[], object]) -> Iterator[Traffic]:
        """Requests to all replicas, until the worker was lost and the manager has all of them; then it is brought back."""
        self.spread()
        try:
            with Traffic(self.server, "wide") as traffic:
                wait_until(lambda: len(traffic.bodies) == WIDE, "answers of all replicas")
                lose()
                self.wait_for(WIDE, self.swarm.manager)
                yield traffic
        finally:
            bring_back()
            wait_until(lambda: self.swarm.states() == {"ready"}, "both nodes")

    def _tasks(self, node: SwarmNode) -> list[str]:
        """Those that shall run on it."""
        filters = ("--filter", "desired-state=running", "--filter", f"node={node.sandbox.name}")
        return self.swarm.manager.docker("service", "ps", "--quiet", *filters, self._service).split()


@pytest.fixture(scope="module")
def wide(two_node_swarm: TwoNodeSwarm) -> Iterator[Wide]:
    files = io.BytesIO()
    with tarfile.open(fileobj=files, mode="w") as archive:
        archive.add(watchdog(), "penstock")
    for node in two_node_swarm.nodes:
        import_busybox(node)
        import_root(node, "watchdog:it", files.getvalue())
    with contextlib.ExitStack() as started:
        installation = Installation(two_node_swarm.manager)
        started.callback(installation.purge)
        of_docker = ("--docker-connect", "port", "--docker-network", NETWORK, "--watchdog-image", "watchdog:it")
        server = Penstock(
            *("--provider", "swarm", "--installation", installation.name, *of_docker),
            home=installation.home,
            environ={"DOCKER_HOST": two_node_swarm.manager.url},
        )
        started.callback(server.stop)
        yield Wide(two_node_swarm, installation, server)
        assert server.stop() == 0, server.printed()[-4000:]


def test_a_drained_node_costs_no_request(wide: Wide) -> None:
    with wide.traffic_while(lambda: availability(wide, "drain"), lambda: availability(wide, "active")) as traffic:
        traffic.go_on()
    assert traffic.failures == []


def availability(wide: Wide, wanted: str) -> None:
    wide.swarm.manager.docker("node", "update", "--availability", wanted, wide.swarm.worker.id)


def test_a_node_whose_engine_is_killed_costs_no_request(wide: Wide) -> None:
    with wide.traffic_while(wide.swarm.worker.kill, wide.swarm.worker.start) as traffic:
        traffic.go_on()
    assert traffic.failures == []


def test_a_node_that_is_cut_off_costs_no_request(wide: Wide) -> None:
    with wide.traffic_while(wide.swarm.cut, wide.swarm.mend) as traffic:
        traffic.go_on()
    assert traffic.failures == []
