"""Gateways as pods of a cluster, from the YAML that we write for it: they get ready, serve, end and are replaced, and no call fails."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.docked import Traffic
from tests.e2e.incluster import InCluster
from tests.e2e.serving import wait_until
from tests.integration.providers.kubernetes.harness import IMAGE
from tests.kubecluster.cluster import Cluster
from tests.kubecluster.metricsapi import metrics_api

pytestmark = pytest.mark.service("dockerd", "busybox", "etcd")


@pytest.fixture(scope="module")
def gateways(kubernetes: Cluster) -> Iterator[InCluster]:
    """Two, and a function `echo` in the namespace of theirs."""
    installed = InCluster(kubernetes, "of-gateways", replicas=2)
    with contextlib.closing(installed):
        spec = {"service": "echo", "namespace": installed.functions, "image": IMAGE, "envProcess": "cat"}
        answer = installed.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
        assert answer.status == 202, answer
        yield installed


@pytest.fixture
def echo(gateways: InCluster) -> str:
    """The function's name with its namespace, once every gateway calls it."""
    name = f"echo.{gateways.functions}"

    def called() -> bool:
        return all(_ask(pod["status"]["podIP"], f"/function/{name}") == 200 for pod in gateways.pods())

    wait_until(called, "an answer by each gateway")
    return name


def _ask(address: str, path: str) -> int:
    """The status of a gateway's answer, past the Service; 0 where nobody listens."""
    connection = http.client.HTTPConnection(address, 8080, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_a_function_is_called_through_the_service_by_whoever_has_no_account(gateways: InCluster, echo: str) -> None:
    assert gateways.invoke(echo, b"through the cluster").body == b"through the cluster"
    assert gateways.request("GET", "/system/functions").status == 401
    listed = gateways.request("GET", f"/system/functions?namespace={gateways.functions}", admin=True).json()
    assert [one["name"] for one in listed] == ["echo"]


def test_one_of_them_scales(gateways: InCluster) -> None:
    assert wait_until(gateways.leader, "a leader") in {pod["metadata"]["name"] for pod in gateways.pods()}


def test_what_a_function_uses_is_told_where_the_cluster_measures_it(gateways: InCluster, echo: str) -> None:
    path = f"/system/function/echo?namespace={gateways.functions}&usage=1"

    def usage() -> Any:
        answer = gateways.request("GET", path, admin=True)
        assert answer.status == 200, answer
        return answer.json().get("usage")

    with metrics_api(gateways.cluster):
        measured = wait_until(usage, "what it uses, told by a gateway that was there before")
        assert measured == {"cpu": 12.5, "totalMemoryBytes": 20480 << 10}
    wait_until(lambda: usage() is None, "an answer without what is not known any more")


def test_a_rolling_restart_of_which_the_node_hears_late_costs_no_call(gateways: InCluster, echo: str) -> None:
    before = {pod["metadata"]["uid"]: pod["status"]["podIP"] for pod in gateways.pods()}

    def one_is_ending() -> bool:
        return any(_ask(address, "/readyz") != 200 for address in before.values())

    with Traffic(gateways, echo, clients=1) as traffic:
        traffic.go_on()
        gateways.cluster.pause_proxy()
        try:
            gateways.restart()
            wait_until(one_is_ending, "a gateway that is told to end")
            traffic.go_on(10)
        finally:
            gateways.cluster.resume_proxy()
        gateways.wait_rolled_out()
        traffic.go_on()
    assert traffic.failures == []
    assert not before.keys() & {pod["metadata"]["uid"] for pod in gateways.pods()}


def test_when_the_leader_is_killed_another_leads_and_calls_go_on(gateways: InCluster, echo: str) -> None:
    leader = wait_until(gateways.leader, "a leader")
    gateways.kill(leader)
    wait_until(lambda: gateways.leader() not in ("", leader), "another leader")
    gateways.wait_rolled_out()
    assert gateways.invoke(echo, b"as before").body == b"as before"
