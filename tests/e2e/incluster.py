"""Gateways in a cluster of the tests, as `penstock generate platform --kubernetes` installs them, spoken to at a port of the node."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
import time
from typing import Any

import yaml

from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, LEASE, NAMESPACE, POD, SECRET, SERVICE, Kind
from tests.e2e.serving import Gateway, wait_until
from tests.image import TAG
from tests.kubecluster.cluster import Cluster, Refused

GATEWAY = "gateway"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

Document = dict[str, Any]


class InCluster(Gateway):
    """An installation in namespaces of its own, which `close` removes."""

    def __init__(self, cluster: Cluster, namespace: str, replicas: int) -> None:
        """Returns when all gateways are ready."""
        self.cluster = cluster
        self.namespace = namespace
        self.functions = f"{namespace}-fn"
        self._documents = self._written(replicas)
        try:
            for document in self._documents:
                self._apply(document)
            service = SERVICE.path(namespace, GATEWAY)
            made = cluster.request("PATCH", service, {"spec": {"type": "NodePort"}}, MERGE)
            self.base = f"http://{cluster.address}:{made['spec']['ports'][0]['nodePort']}"
            self.wait_rolled_out()
        except BaseException:
            self.close()
            raise

    @property
    def password(self) -> str:
        data = self.cluster.request("GET", SECRET.path(self.namespace, "basic-auth"))["data"]
        return base64.b64decode(data["basic-auth-password"]).decode()

    def pods(self) -> list[Document]:
        """Of gateways, those included that are ending."""
        return list(self.cluster.request("GET", POD.path(self.namespace))["items"])

    def leader(self) -> str:
        """The pod whose gateway scales functions; empty for none."""
        try:
            lease = self.cluster.request("GET", LEASE.path(self.namespace, "penstock"))
        except Refused:
            return ""
        return str(lease["spec"].get("holderIdentity") or "").partition(" ")[0]

    def restart(self) -> None:
        """As `kubectl rollout restart` does, which does not wait either."""
        mark = {"kubectl.kubernetes.io/restartedAt": str(time.time())}
        change = {"spec": {"template": {"metadata": {"annotations": mark}}}}
        self.cluster.request("PATCH", DEPLOYMENT.path(self.namespace, GATEWAY), change, MERGE)

    def wait_rolled_out(self) -> None:
        """Until all gateways are of the last change and ready, and no other is left."""
        try:
            wait_until(self._rolled_out, "gateways that are ready")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {[pod['status'] for pod in self.pods()]}") from error

    def kill(self, pod: str) -> None:
        """All its processes at once; the kubelet starts it again."""
        [one] = [one for one in self.pods() if one["metadata"]["name"] == pod]
        [status] = one["status"]["containerStatuses"]
        self.cluster.docker("kill", status["containerID"].removeprefix("docker://"))

    def close(self) -> None:
        for document in reversed(self._documents):
            kind = _kind(document)
            if not kind.namespaced:
                with contextlib.suppress(Refused):
                    self.cluster.request("DELETE", kind.path(name=document["metadata"]["name"]))
        for namespace in (self.namespace, self.functions):
            for pod in self.cluster.request("GET", POD.path(namespace))["items"]:
                with contextlib.suppress(Refused):
                    self.cluster.request(
                        "DELETE", POD.path(namespace, pod["metadata"]["name"]), {"gracePeriodSeconds": 0}
                    )
        wait_until(self._gone, "the end of its namespaces")

    def _written(self, replicas: int) -> list[Document]:
        command = [
            sys.executable, "-m", "penstock", "generate", "platform", "--kubernetes", "--image", TAG, "--replicas", str(replicas),
            "--namespace", self.namespace, "--functions-namespace", self.functions, "--cluster-version", "1.20",
        ]  # fmt: skip
        return list(yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True, text=True).stdout))

    def _apply(self, document: Document) -> None:
        metadata = document["metadata"]
        path = _kind(document).path(metadata.get("namespace"), metadata["name"])
        self.cluster.request("PATCH", f"{path}?fieldManager=tests", document, APPLY)

    def _rolled_out(self) -> bool:
        one = self.cluster.request("GET", DEPLOYMENT.path(self.namespace, GATEWAY))
        status, wanted = one["status"], one["spec"]["replicas"]
        ready = status.get("updatedReplicas") == status.get("readyReplicas") == wanted == len(self.pods())
        return bool(status.get("observedGeneration") == one["metadata"]["generation"] and ready)

    def _gone(self) -> bool:
        every = {one["metadata"]["name"] for one in self.cluster.request("GET", NAMESPACE.path())["items"]}
        return not every & {self.namespace, self.functions}


def _kind(document: Document) -> Kind:
    group, _, version = document["apiVersion"].rpartition("/")
    name = document["kind"]
    plural = name.lower()[:-1] + "ies" if name.endswith("y") else name.lower() + "s"
    return Kind(group, version, name, plural, namespaced="namespace" in document["metadata"])
