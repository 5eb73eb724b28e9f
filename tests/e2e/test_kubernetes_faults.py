"""Functions on a real cluster while pods, updates and the API server come and go: what goes on, and what is told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.model import DEFAULT_NAMESPACE as NAMESPACE
from tests.e2e.docked import Traffic
from tests.e2e.kubed import Kubed
from tests.e2e.serving import wait_until
from tests.kubecluster.cluster import Cluster, Refused

pytestmark = pytest.mark.service("dockerd", "busybox", "etcd")

WHO = "cat /etc/hostname"
"""A program that answers which pod it is in."""
KILLS = 15
"""Pods that are killed, one a second."""
AWAY = 10.0
"""Seconds without an API server."""

Deploy = Callable[..., str]
"""Name, program, replicas; the name."""


@pytest.fixture(scope="module")
def kubed(kubernetes: Cluster) -> Iterator[Kubed]:
    """A server with two workers."""
    running = Kubed(kubernetes, "--workers", "2")
    yield running
    running.close()


@pytest.fixture
def function(kubed: Kubed) -> Iterator[Deploy]:
    """Deploys functions that go with the test."""
    made: list[str] = []

    def deploy(name: str, program: str = "cat", replicas: int = 1) -> str:
        made.append(name)
        kubed.deploy(name, program, replicas)
        return name

    yield deploy
    for name in made:
        kubed.remove(name)


def test_a_rolling_update_under_load_costs_no_request(kubed: Kubed, function: Deploy) -> None:
    function("rolling", "echo one", 2)
    before = set(kubed.pods("rolling"))
    with Traffic(kubed.server, "rolling") as traffic:
        traffic.go_on()
        answer = kubed.send("PUT", "rolling", "echo two", labels={"com.openfaas.scale.min": "2"})
        assert answer.status == 202, answer
        wait_until(lambda: not before & set(kubed.pods("rolling")), "new pods in place of all old ones")
        kubed.wait_replicas("rolling", 2)
        wait_until(lambda: len(kubed.installation.pods("rolling")) == 2, "the end of the old pods")
        traffic.go_on()
    assert traffic.failures == []
    assert {body.strip() for body in traffic.bodies} == {"one", "two"}


def test_pods_killed_one_a_second_under_load_cost_no_request_that_may_be_sent_again(
    kubed: Kubed, function: Deploy
) -> None:
    function("victims", WHO, 3)
    with Traffic(kubed.server, "victims") as traffic:
        traffic.go_on()
        for _ in range(KILLS):
            time.sleep(1)
            # One that answers must stay: a machine that takes longer than seconds for new ones would have none.
            wait_until(lambda: kubed.available("victims") > 1, "two pods, of which one may go")
            kubed.kill(kubed.pods("victims")[0])
        kubed.wait_replicas("victims", 3)
        traffic.go_on()
    assert traffic.failures == []
    assert len(traffic.bodies) > 3


def test_when_the_programs_of_all_pods_are_killed_at_once_requests_wait(kubed: Kubed, function: Deploy) -> None:
    function("fallen", WHO, 2)
    before = set(kubed.pods("fallen"))
    with Traffic(kubed.server, "fallen") as traffic:
        traffic.go_on()
        kubed.kill_programs("fallen")
        traffic.go_on()
        kubed.wait_replicas("fallen", 2)
        traffic.go_on()
    assert traffic.failures == []
    assert set(kubed.pods("fallen")) == before


def test_an_evicted_pod_costs_no_request_and_is_replaced(kubed: Kubed, function: Deploy) -> None:
    function("evicted", WHO, 2)
    [victim, stays] = kubed.pods("evicted")
    with Traffic(kubed.server, "evicted") as traffic:
        traffic.go_on()
        kubed.evict(victim)
        wait_until(lambda: victim not in kubed.pods("evicted"), "its end")
        kubed.wait_replicas("evicted", 2)
        wait_until(lambda: len(kubed.installation.pods("evicted")) == 2, "nothing that is left of it")
        traffic.go_on()
    assert traffic.failures == []
    assert stays in kubed.pods("evicted")


@pytest.mark.parametrize("hangs", [False, True], ids=["gone", "hanging"])
def test_invocations_go_on_while_the_api_server_is_away(kubed: Kubed, function: Deploy, hangs: bool) -> None:
    name = function("alone" if hangs else "orphan", WHO, 2)
    before = set(kubed.pods(name))
    with Traffic(kubed.server, name) as traffic:
        traffic.go_on()
        with _away(kubed.cluster, hangs):
            time.sleep(AWAY)
            traffic.go_on()
        traffic.go_on()
    assert traffic.failures == []
    assert set(kubed.pods(name)) == before
    assert _scale_when_heard(kubed, name) == 202
    kubed.wait_replicas(name, 3)


@contextlib.contextmanager
def _away(cluster: Cluster, hangs: bool) -> Iterator[None]:
    (cluster.pause_api if hangs else cluster.stop_api)()
    try:
        yield
    finally:
        (cluster.resume_api if hangs else cluster.start_api)()


def _scale_when_heard(kubed: Kubed, name: str) -> int:
    """Scale to three, as soon as the API server is heard again; the answer's status."""

    def accepted() -> int:
        status = kubed.scale(name, 3).status
        return status if status < 500 else 0

    return wait_until(accepted, "an answer to a change")


def test_what_cannot_be_changed_without_the_api_server_is_told(kubed: Kubed, function: Deploy) -> None:
    function("waiting")
    with _away(kubed.cluster, hangs=False):
        answer = kubed.send("POST", "unheard")
    assert answer.status == 503
    assert "API" in answer.text
    assert kubed.server.invoke("waiting", b"still here").body == b"still here"


def test_an_image_that_cannot_be_pulled_is_told(kubed: Kubed) -> None:
    assert kubed.send("POST", "absent", image="127.0.0.1:1/nothing:1").status == 202
    try:
        assert "127.0.0.1:1/nothing:1" in kubed.wait_reason("absent", "nothing")
    finally:
        kubed.remove("absent")


def test_an_update_whose_image_cannot_be_pulled_leaves_the_old_pods(kubed: Kubed, function: Deploy) -> None:
    function("kept")
    before = kubed.pods("kept")
    with Traffic(kubed.server, "kept") as traffic:
        assert kubed.send("PUT", "kept", image="127.0.0.1:1/nothing:1").status == 202
        kubed.wait_reason("kept", "nothing")
        traffic.go_on()
    assert traffic.failures == []
    assert set(before) < set(kubed.pods("kept"))


def test_functions_are_called_by_ports_of_nodes(kubernetes: Cluster) -> None:
    kubed = Kubed(kubernetes, PENSTOCK_KUBERNETES_REACH="nodeport")
    with contextlib.closing(kubed):
        kubed.deploy("ported")
        assert kubed.server.invoke("ported", b"one").body == b"one"
        assert kubed.scale("ported", 2).status == 202
        kubed.wait_replicas("ported", 2)
        assert kubed.scale("ported", 0).status == 202
        kubed.wait_replicas("ported", 0)
        assert kubed.server.invoke("ported", b"awake").body == b"awake"


def test_an_exceeded_quota_is_told(kubed: Kubed, function: Deploy) -> None:
    name = function("greedy")
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    wait_until(lambda: len(kubed.cluster.request("GET", pods)["items"]) == 1, "the end of other functions' pods")
    place = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
    kubed.cluster.request("POST", place, {"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "1"}}})
    try:
        wait_until(lambda: kubed.cluster.request("GET", f"{place}/tight").get("status", {}).get("hard"), "the quota")
        assert kubed.scale(name, 2).status == 202
        assert "exceeded quota" in kubed.wait_reason(name, "quota")
        assert kubed.server.invoke(name, b"well").body == b"well"
    finally:
        kubed.cluster.request("DELETE", f"{place}/tight")


def test_of_two_gateways_that_deploy_the_same_function_one_does_and_both_serve_it(kubed: Kubed) -> None:
    other = Kubed(kubed.cluster, installation=kubed.installation)
    with contextlib.closing(other), ThreadPoolExecutor() as both:
        answers = list(both.map(lambda one: one.send("POST", "twice", WHO), (kubed, other)))
        assert sorted(answer.status for answer in answers) == [202, 400], answers
        for one in (kubed, other):
            one.wait_replicas("twice", 1)
        assert kubed.server.invoke("twice").body == other.server.invoke("twice").body
        other.remove("twice")
        wait_until(lambda: kubed.server.function("twice") is None, "the other gateway to see it go")


def test_a_name_that_somebody_elses_objects_have_is_refused(kubed: Kubed) -> None:
    place = f"/api/v1/namespaces/{NAMESPACE}/services"
    kubed.cluster.request("POST", place, {"metadata": {"name": "theirs"}, "spec": {"ports": [{"port": 80}]}})
    try:
        answer = kubed.send("POST", "theirs")
        assert answer.status == 400
        assert "not Penstock's" in answer.text
        assert "labels" not in kubed.cluster.request("GET", f"{place}/theirs")["metadata"]
    finally:
        with contextlib.suppress(Refused):
            kubed.cluster.request("DELETE", f"{place}/theirs")
