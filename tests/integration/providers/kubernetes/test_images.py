"""Images on a real node: which watchdog serves them, whom they run as and what they find. Objects are written by hand, no gateway runs."""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.model import FunctionSpec, Resources
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, SECRET, SERVICE_ACCOUNT
from penstock.providers.kubernetes.manifests import Shape, check, deployment, port_of, service_account
from penstock.providers.kubernetes.pods import replica_of
from penstock.providers.validation import check_spec
from tests.engines.images import busybox_root, import_root
from tests.engines.waiting import wait_until
from tests.image import TAG
from tests.kubecluster.cluster import Cluster

SHAPE = Shape(installation="images", watchdog_image=TAG, pull_policy="Never", watchdog_pull_policy="Never")
PLAIN, OWN, DENIED = "busybox:it", "busybox:own", "busybox:denied"
SERVER = b"#!/bin/sh\nexec httpd -f -p 8080 -h /www\n"

pytestmark = pytest.mark.service("etcd", "busybox", "musl-gcc")


@pytest.fixture(scope="module")
def node(kubernetes: Cluster) -> Cluster:
    """A cluster that has an image with a watchdog of its own, and one whose program may not do what it begins with."""
    root = busybox_root()
    root.add("usr/local/bin/fwatchdog", SERVER)
    root.add("www/_/health", b"OK", 0o644)
    root.add("www/index.html", b"its own", 0o644)
    import_root(kubernetes, OWN, root.packed(), ['CMD ["fwatchdog"]'])
    denied = ['CMD ["/bin/sh", "-c", "echo begins; echo > /file"]']
    import_root(kubernetes, DENIED, busybox_root().packed(), denied)
    return kubernetes


@pytest.fixture
def namespace(node: Cluster) -> Iterator[str]:
    name = f"images-{secrets.token_hex(4)}"
    node.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    node.request("DELETE", f"/api/v1/namespaces/{name}")


async def start(node: Cluster, namespace: str, **fields: Any) -> FunctionSpec:
    spec = FunctionSpec(**{"name": "echo", "namespace": namespace, "image": PLAIN, "env_process": "cat", **fields})
    check_spec(spec)
    check(spec)
    api = Api("", {"KUBECONFIG": str(node.kubeconfig)})
    await api.open()
    try:
        for name in spec.secrets:
            data = {"metadata": {"name": name, "namespace": namespace}, "stringData": {name: "hush"}}
            await api.create(SECRET, {"apiVersion": "v1", "kind": "Secret", **data})
        await api.apply(SERVICE_ACCOUNT, service_account(spec, SHAPE))
        await api.apply(DEPLOYMENT, deployment(spec, 1, 0, SHAPE))
    finally:
        await api.close()
    return spec


def pods(node: Cluster, spec: FunctionSpec) -> list[dict[str, Any]]:
    listed = node.request("GET", f"/api/v1/namespaces/{spec.namespace}/pods?labelSelector=faas_function%3D{spec.name}")
    return list(listed["items"])


def ready_address(node: Cluster, spec: FunctionSpec) -> str:
    for pod in pods(node, spec):
        conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
        if conditions.get("Ready") == "True":
            return f"{pod['status']['podIP']}:{port_of(spec)}"
    return ""


def answer(node: Cluster, spec: FunctionSpec) -> str:
    """What its first ready pod answers."""
    address = wait_until(lambda: ready_address(node, spec), f"a ready pod of {spec.key}")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://{address}/", timeout=60) as response:
        return str(response.read().decode())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"env_process": "id -u"}, "12000\n"),
        ({"env_process": "id -u", "labels": {"com.penstock.watchdog": "inject"}}, "12000\n"),
        ({"env_process": "id -u", "labels": {"com.penstock.kubernetes.user": "1000"}}, "1000\n"),
        ({"env_process": "id -u", "labels": {"com.penstock.kubernetes.user": "image"}}, "0\n"),
        ({"env_process": "cat /var/openfaas/secrets/token", "secrets": ("token",)}, "hush"),
        ({"env_process": "ls -d /tmp", "read_only_root": True, "limits": Resources(memory="32Mi")}, "/tmp\n"),
        ({"env_process": "echo $(HOME) $$ $HOME"}, "$(HOME) $$ $HOME\n"),
        ({"env_process": "ls /var/run/secrets/kubernetes.io"}, None),
        ({"image": OWN}, "its own"),
        ({"image": OWN, "env_process": ""}, "its own"),
        ({"image": OWN, "env_process": "", "labels": {"com.penstock.http-port": "8080"}}, "its own"),
        ({"image": OWN, "env_process": "id -u", "labels": {"com.penstock.watchdog": "inject"}}, "12000\n"),
    ],
)
async def test_what_a_function_answers(node: Cluster, namespace: str, fields: dict[str, Any], said: str | None) -> None:
    spec = await start(node, namespace, **fields)
    if said is None:
        with pytest.raises(urllib.error.HTTPError, match="500"):  # ls finds no token of the cluster
            answer(node, spec)
    else:
        assert answer(node, spec) == said


async def test_a_program_that_may_not_is_told_with_what_would_help(node: Cluster, namespace: str) -> None:
    spec = await start(node, namespace, image=DENIED, env_process="")

    def reason() -> str:
        said = [replica_of(pod, "", False, "").reason for pod in pods(node, spec)]
        return next((each for each in said if "com.penstock.kubernetes.user=image" in each), "")

    assert "ermission denied" in wait_until(reason, "the end of its program")
