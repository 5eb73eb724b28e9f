"""`penstock serve --provider kubernetes` beside a cluster of the tests, with an installation of its own, and what it has there."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from penstock.model import DEFAULT_NAMESPACE as NAMESPACE
from tests.e2e.serving import Answer, Penstock, wait_until
from tests.image import TAG
from tests.integration.providers.kubernetes.harness import IMAGE, PLATFORM, Installation
from tests.kubecluster.cluster import Cluster


class Kubed:
    """A home and an installation. `server` is the running `penstock serve`; `close` leaves nothing on the cluster."""

    server: Penstock

    def __init__(self, cluster: Cluster, *flags: str, installation: Installation | None = None, **environ: str) -> None:
        """With an installation it is one more gateway of that, which somebody else purges."""
        self._own = installation is None
        self.installation = installation or Installation(cluster)
        self.cluster = cluster
        self.home = Path(tempfile.mkdtemp(prefix="ps-"))
        try:
            self.server = Penstock(
                "--provider", "kubernetes", "--installation", self.installation.name, "--watchdog-image", TAG, *flags,
                home=self.home,
                environ={**self.installation.environ, "PENSTOCK_KUBERNETES_NAMESPACE": PLATFORM, **environ},
            )  # fmt: skip
        except BaseException:
            self.close()
            raise

    def send(self, method: str, name: str, program: str = "cat", image: str = IMAGE, **fields: Any) -> Answer:
        """Deploy (POST) or update (PUT) by the API, and do not wait; `fields` are those of the request."""
        spec = {"service": name, "image": image, "envProcess": program, **fields}
        return self.server.request(method, "/system/functions", json.dumps(spec).encode(), admin=True)

    def deploy(self, name: str, program: str = "cat", replicas: int = 1, **labels: str) -> None:
        """Deploy and wait until exactly so many replicas are ready; `labels` have their dots as underscores."""
        given = {label.replace("_", "."): value for label, value in labels.items()}
        answer = self.send("POST", name, program, labels={"com.openfaas.scale.min": str(replicas), **given})
        assert answer.status == 202, answer
        self.wait_replicas(name, replicas)

    def remove(self, name: str) -> None:
        body = json.dumps({"functionName": name}).encode()
        answer = self.server.request("DELETE", "/system/functions", body, admin=True)
        assert answer.status == 202, answer

    def scale(self, name: str, replicas: int) -> Answer:
        body = json.dumps({"serviceName": name, "replicas": replicas}).encode()
        return self.server.request("POST", f"/system/scale-function/{name}", body, admin=True)

    def available(self, name: str) -> int:
        """Its replicas that are ready."""
        return int((self.server.function(name) or {}).get("availableReplicas", 0))

    def wait_replicas(self, name: str, replicas: int) -> None:
        """Until exactly so many pods are there and ready."""

        def settled() -> bool:
            return self.available(name) == replicas == len(self.pods(name))

        try:
            wait_until(settled, f"exactly {replicas} replicas of {name}")
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}: {self.server.function(name)}, pods {self.pods(name)}\n{self.server.printed()[-4000:]}"
            ) from error

    def wait_reason(self, name: str, part: str) -> str:
        """Until a replica's reason has this in it; the reason."""

        def reason() -> str:
            instances = (self.server.function(name) or {}).get("instances") or []
            return next((str(one["reason"]) for one in instances if part in str(one.get("reason"))), "")

        try:
            return wait_until(reason, f"a reason of {name} with {part!r}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {self.server.function(name)}") from error

    def pods(self, name: str) -> list[str]:
        """Names of a function's pods that are not ending."""
        every = self.installation.pods(name)
        return [one["metadata"]["name"] for one in every if "deletionTimestamp" not in one["metadata"]]

    def kill(self, pod: str) -> None:
        """End it at once, without a chance for anything to be put in order."""
        self.cluster.request("DELETE", self._pod(pod), {"gracePeriodSeconds": 0})

    def kill_programs(self, name: str) -> None:
        """End the containers of all of a function's pods at once, as when the kernel runs out of memory; the pods stay."""
        wanted = [f"label=io.kubernetes.pod.name={pod}" for pod in self.pods(name)]
        found = [
            self.cluster.docker(
                "ps", "--quiet", "--filter", one, "--filter", "label=io.kubernetes.container.name=function"
            )
            for one in wanted
        ]
        self.cluster.docker("kill", "--signal", "KILL", *" ".join(found).split())

    def evict(self, pod: str) -> None:
        """As when its node is emptied."""
        eviction = {
            "apiVersion": "policy/v1beta1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": NAMESPACE},
        }
        self.cluster.request("POST", f"{self._pod(pod)}/eviction", eviction)

    @staticmethod
    def _pod(pod: str) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}"

    def close(self) -> None:
        """That it ends well is part of every test."""
        code = 0
        try:
            if hasattr(self, "server") and self.server.process.poll() is None:
                code = self.server.stop()
            if self._own:
                self.installation.purge()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)
        assert code == 0, f"penstock serve ended with {code} after SIGTERM"
