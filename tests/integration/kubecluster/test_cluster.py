"""The cluster that other tests rely on: pods, services and node ports answer, accounts may do what they may, parts of it come and go."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.waiting import DEADLINE, wait_until
from tests.kubecluster.cluster import API_SERVICE, Cluster

pytestmark = pytest.mark.service("dockerd", "busybox", "etcd")

ROOT = Path(__file__).parents[3]
SERVER = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/bin"]
OWNER = """
import sys
from tests.kubecluster.cluster import Cluster
cluster = Cluster()
print(cluster.sandbox.pid, cluster.sandbox.name, cluster.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def namespace(kubernetes: Cluster) -> Iterator[str]:
    """With a pod `web` that serves its programs, and a Service of it."""
    name = "of-the-cluster"
    kubernetes.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    wait_until(lambda: kubernetes.takes_pods(name), "the account of its pods")
    container = {"name": "web", "image": "busybox:it", "command": SERVER}
    pod = {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"containers": [container]}}
    kubernetes.request("POST", f"/api/v1/namespaces/{name}/pods", pod)
    ports = [{"port": 80, "targetPort": 8080}]
    service = {"type": "NodePort", "selector": {"app": "web"}, "ports": ports}
    kubernetes.request("POST", f"/api/v1/namespaces/{name}/services", {"metadata": {"name": "web"}, "spec": service})
    wait_until(lambda: _pod(kubernetes, name)["status"].get("phase") == "Running", "a pod")
    yield name
    kubernetes.request("DELETE", f"/api/v1/namespaces/{name}")


def _pod(cluster: Cluster, namespace: str) -> Any:
    return cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods/web")


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _inside(cluster: Cluster, namespace: str, *command: str) -> int:
    """What a program in the pod ends with."""
    [status] = _pod(cluster, namespace)["status"]["containerStatuses"]
    try:
        cluster.docker("exec", status["containerID"].removeprefix("docker://"), "/bin/busybox", *command)
    except AssertionError:
        return 1
    return 0


def test_pods_answer_at_their_own_addresses(kubernetes: Cluster, namespace: str) -> None:
    address = _pod(kubernetes, namespace)["status"]["podIP"]
    wait_until(lambda: _answers(f"http://{address}:8080/sh"), "the pod")


def test_services_answer_at_ports_of_the_node(kubernetes: Cluster, namespace: str) -> None:
    spec = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/services/web")["spec"]
    wait_until(lambda: _answers(f"http://{kubernetes.address}:{spec['ports'][0]['nodePort']}/sh"), "the node's port")


def test_pods_reach_the_api_server_by_its_service(kubernetes: Cluster, namespace: str) -> None:
    assert _inside(kubernetes, namespace, "nc", "-w", "10", API_SERVICE, "443", "-e", "true") == 0


def test_an_account_may_do_nothing_that_it_was_not_allowed(kubernetes: Cluster, namespace: str) -> None:
    kubeconfig = kubernetes.account("default", namespace)
    assert kubeconfig.stat().st_mode & 0o077 == 0
    code = (
        "import asyncio, sys; from penstock.providers.kubernetes.client.api import Api;"
        "from penstock.providers.kubernetes.client.errors import ApiForbidden; from penstock.providers.kubernetes.client.kinds import POD\n"
        "async def ask():\n"
        "    api = Api('', {'KUBECONFIG': sys.argv[1]})\n"
        "    await api.open()\n"
        "    try: await api.list(POD, sys.argv[2])\n"
        "    except ApiForbidden: return 3\n"
        "    finally: await api.close()\n"
        "sys.exit(asyncio.run(ask()))"
    )
    done = subprocess.run([sys.executable, "-c", code, kubeconfig, namespace], cwd=ROOT, check=False, timeout=DEADLINE)
    assert done.returncode == 3


def test_the_api_server_can_go_and_come_back_and_pods_stay(kubernetes: Cluster, namespace: str) -> None:
    before = _pod(kubernetes, namespace)["metadata"]["uid"]
    kubernetes.stop_api()
    with pytest.raises(OSError):
        kubernetes.request("GET", "/readyz")
    kubernetes.start_api()
    assert _pod(kubernetes, namespace)["metadata"]["uid"] == before


def test_what_was_asked_for_without_a_kubelet_is_done_when_it_is_back(kubernetes: Cluster, namespace: str) -> None:
    kubernetes.stop_kubelet()
    container = {"name": "late", "image": "busybox:it", "command": SERVER}
    place = f"/api/v1/namespaces/{namespace}/pods"
    kubernetes.request("POST", place, {"metadata": {"name": "late"}, "spec": {"containers": [container]}})
    kubernetes.start_kubelet()
    wait_until(lambda: kubernetes.request("GET", f"{place}/late")["status"].get("phase") == "Running", "a pod")


def test_nothing_is_left_when_the_owner_is_killed(kubernetes: Cluster) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        pid, name, folder = owner.stdout.readline().split()
        assert Path("/proc", pid).exists()
        owner.kill()
        owner.wait()
        wait_until(lambda: not Path(folder).exists(), "the end of its files")
    wait_until(lambda: not Path("/proc", pid).exists(), "the end of its processes")
    cgroups = Path("/sys/fs/cgroup")
    wait_until(
        lambda: not any((top / name).exists() for top in (cgroups, *cgroups.iterdir())), "the end of its cgroups"
    )
    assert name not in Path("/proc/self/mounts").read_text()
