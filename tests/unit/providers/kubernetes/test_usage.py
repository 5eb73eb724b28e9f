"""What the metrics API of a cluster says of functions."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.model import Usage
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.client.api import Listing
from penstock.providers.kubernetes.client.errors import ApiNotFound
from penstock.providers.kubernetes.client.kinds import POD_METRICS
from penstock.providers.kubernetes.usage import ABSENT, KEPT, Usages
from penstock.testing.clock import FakeClock
from tests.unit.providers.kubernetes.fake_cluster import FakeCluster


def measured(cluster: FakeCluster, pod: str, cpu: Any, memory: Any) -> None:
    """Let the metrics server say this of a pod of `echo`, and more of a container beside it."""
    labels = {**marks.owner("lab"), marks.FUNCTION: "echo"}
    containers = [
        {"name": "function", "usage": {"cpu": cpu, "memory": memory}},
        {"name": "sidecar", "usage": {"cpu": "1", "memory": "1Gi"}},
    ]
    metadata = {"name": pod, "namespace": "openfaas-fn", "labels": labels}
    cluster.put(POD_METRICS, {"metadata": metadata, "containers": containers})


async def test_pods_of_a_function_are_added_up_without_what_stands_beside_it() -> None:
    cluster = FakeCluster()
    measured(cluster, "echo-0", "250m", "64Mi")
    measured(cluster, "echo-1", "1500000n", "1Ki")
    found = await Usages(cluster.api, "lab", FakeClock()).of(["echo.openfaas-fn", "other.openfaas-fn"])
    assert found == {"echo.openfaas-fn": Usage(cpu_millis=251.5, memory_bytes=(64 << 20) + 1024)}


@pytest.mark.parametrize("amount", ["", "much", None, "-", "1QQ"])
async def test_an_amount_that_is_none_counts_nothing(amount: Any) -> None:
    cluster = FakeCluster()
    measured(cluster, "echo-0", amount, amount)
    found = await Usages(cluster.api, "lab", FakeClock()).of(["echo.openfaas-fn"])
    assert found == {"echo.openfaas-fn": Usage(cpu_millis=0.0, memory_bytes=0.0)}


@pytest.mark.parametrize("used", [None, [], "1m", 5])
async def test_a_measurement_of_another_form_counts_nothing(used: Any) -> None:
    cluster = FakeCluster()
    metadata = {"name": "echo-0", "namespace": "openfaas-fn", "labels": {**marks.owner("lab"), marks.FUNCTION: "echo"}}
    cluster.put(POD_METRICS, {"metadata": metadata, "containers": [{"name": "function", "usage": used}]})
    found = await Usages(cluster.api, "lab", FakeClock()).of(["echo.openfaas-fn"])
    assert found.get("echo.openfaas-fn", Usage(cpu_millis=0.0, memory_bytes=0.0)).cpu_millis == 0.0


async def test_the_cluster_is_not_asked_again_at_once() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    usages = Usages(cluster.api, "lab", clock)
    measured(cluster, "echo-0", "1m", "1")
    before = await usages.of(["echo.openfaas-fn"])
    measured(cluster, "echo-0", "2m", "2")
    assert await usages.of(["echo.openfaas-fn"]) == before
    await clock.advance(KEPT)
    assert await usages.of(["echo.openfaas-fn"]) != before


async def test_a_metrics_server_that_is_away_says_nothing() -> None:
    cluster = FakeCluster()
    cluster.forbidden.add(("list", "pods"))
    assert await Usages(cluster.api, "lab", FakeClock()).of(["echo.openfaas-fn"]) == {}


async def test_a_metrics_server_may_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, clock = FakeCluster(), FakeClock()
    usages = Usages(cluster.api, "lab", clock)
    asked = 0

    async def unknown(*_: object) -> Listing:
        nonlocal asked
        asked += 1
        raise ApiNotFound("the server could not find the requested resource")

    measured(cluster, "echo-0", "1m", "1")
    with monkeypatch.context() as absent:
        absent.setattr(cluster.api, "list", unknown)
        for _ in range(3):
            assert await usages.of(["echo.openfaas-fn"]) == {}
        assert asked == 1
    await clock.advance(ABSENT)
    assert await usages.of(["echo.openfaas-fn"]) == {"echo.openfaas-fn": Usage(cpu_millis=1.0, memory_bytes=1.0)}
