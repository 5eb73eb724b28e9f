"""The metrics API of a cluster, as the add-on metrics-server brings it: here by a server of the machine, whom the API server asks.

Every container of every pod uses the same. Who may ask is decided by the API server, as with any group.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from penstock.providers.kubernetes.client.kinds import POD, POD_METRICS, SERVICE, Kind
from tests.engines.waiting import DEADLINE, wait_until
from tests.kubecluster.cluster import Cluster, Refused

CPU, MEMORY = "12500000n", "20480Ki"
"""What a container uses, in the words of metrics-server: 12.5 thousandths of a processor, and 20 MiB."""
PLACE = "kube-system"
NAME = "metrics"
_API_SERVICE = Kind("apiregistration.k8s.io", "v1", "APIService", "apiservices", namespaced=False)
_REGISTERED = f"{POD_METRICS.version}.{POD_METRICS.group}"


@contextlib.contextmanager
def metrics_api(cluster: Cluster) -> Iterator[None]:
    """The cluster has it for as long as the context lasts."""
    with _serving(cluster) as port:
        # By this type alone the API server goes where it is told, and not through an address that only pods have a route to.
        service = {"type": "ExternalName", "externalName": cluster.sandbox.host_address}
        spec = {
            "group": POD_METRICS.group,
            "version": POD_METRICS.version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": PLACE, "name": NAME, "port": port},
        }
        try:
            cluster.request("POST", SERVICE.path(PLACE), {"metadata": {"name": NAME}, "spec": service})
            cluster.request("POST", _API_SERVICE.path(), {"metadata": {"name": _REGISTERED}, "spec": spec})
            wait_until(partial(_answers, cluster), "the metrics API")
            yield
        finally:
            for path in (_API_SERVICE.path(name=_REGISTERED), SERVICE.path(PLACE, NAME)):
                with contextlib.suppress(Refused):
                    cluster.request("DELETE", path)
            wait_until(lambda: not _answers(cluster), "its end")


def _answers(cluster: Cluster) -> bool:
    try:
        cluster.request("GET", POD_METRICS.path("default"))
    except Refused:
        return False
    return True


@contextlib.contextmanager
def _serving(cluster: Cluster) -> Iterator[int]:
    """The port of the server."""
    key, certificate = (cluster.folder / f"{NAME}.{ending}" for ending in ("key", "crt"))
    _make_certificate(key, certificate)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps(_answer(cluster, self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is told of requests."""

    server = ThreadingHTTPServer((cluster.sandbox.host_address, 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(cluster: Cluster, target: str) -> dict[str, Any]:
    path, query = urlsplit(target).path, urlsplit(target).query
    if path == POD_METRICS.root:
        resource = {"name": "pods", "kind": POD_METRICS.name, "namespaced": True, "verbs": ["get", "list"]}
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": POD_METRICS.api_version,
            "resources": [resource],
        }
    if "/namespaces/" not in path:
        return {"kind": "APIVersions", "versions": [POD_METRICS.version]}
    pods = cluster.request("GET", f"{POD.path(path.split('/')[-2])}?{query}")["items"]
    return {
        "kind": "PodMetricsList",
        "apiVersion": POD_METRICS.api_version,
        "metadata": {},
        "items": [_measured(pod) for pod in pods],
    }


def _measured(pod: dict[str, Any]) -> dict[str, Any]:
    named = {key: pod["metadata"].get(key) for key in ("name", "namespace", "labels")}
    used = [{"name": one["name"], "usage": {"cpu": CPU, "memory": MEMORY}} for one in pod["spec"]["containers"]]
    return {"metadata": named, "window": "30s", "containers": used}


def _make_certificate(key: Path, certificate: Path) -> None:
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=metrics",
            "-keyout", key, "-out", certificate,
        ],
        capture_output=True, check=True, timeout=DEADLINE,
    )  # fmt: skip
