"""A Kubernetes cluster of one real node in a sandbox: etcd, API server, controllers, scheduler, kubelet and proxy, pods run by Docker.

It is an Engine as well, so that images get to its node as to any other. Nothing of it is seen by the machine but the route to it: the
addresses of the API server (`url`), of pods and of node ports are reached directly. A pod does not reach
itself by the address of a Service.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import debian_path
from tests.engines.engine import Engine
from tests.engines.images import Root, import_root
from tests.engines.sandbox import Program
from tests.engines.waiting import DEADLINE, wait_until
from tests.kubecluster.build import programs

HERE = Path(__file__).parent
PAUSE = "pause:local"
NODE = "node"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
"""The first of SERVICES, by which pods know the API server."""
PORT = 443
"""Of the API server: that of its service, which is therefore reached without any translation."""
STORE = "http://127.0.0.1:2379"
HIDDEN = ("/var/lib", "/var/log")
"""Where the kubelet leaves files however it is told where to keep them: empty, and in memory, in the sandbox."""
KERNEL = {
    "kernel/keys/root_maxbytes": 25_000_000,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
}
"""Settings that the kubelet makes for the whole machine unless it reads that they are made; it reads these files instead."""
CAP_SYS_RESOURCE = 24
ADMIN, ADMINS = "admin", "system:masters"
GRACE = "20m"
"""After which a node that does not report is lost: no test waits for that, and a busy machine must not have it."""
_CONTROLLERS = ("--leader-elect=false", "--bind-address=127.0.0.1", "--port=0")


class ClusterFailed(Exception):
    """It does not start on this machine; the message is what its programs said last."""


class Refused(Exception):
    """The API server's answer was an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Cluster(Engine):
    """From its start to its end. Every test uses namespaces of its own."""

    def __init__(self) -> None:
        """Start it. Raises ClusterFailed, BuildFailed and what an Engine raises."""
        self._programs = programs()
        self._running: dict[str, Program] = {}
        self._token = secrets.token_hex(16)
        super().__init__(bridge=True, flags=_runtime())
        try:
            self._prepare()
            self._start_all()
        except BaseException:
            self.close()
            raise

    # What tests use

    @property
    def address(self) -> str:
        """Of the node, which is where node ports are."""
        return self.sandbox.address

    @property
    def api(self) -> str:
        """URL of the API server."""
        return f"https://{self.address}:{PORT}"

    @property
    def authority(self) -> Path:
        """The certificate by which the API server is known."""
        return self.folder / "certs" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """Of somebody who may do everything."""
        return self.folder / "kubeconfig"

    def account(self, name: str, namespace: str) -> Path:
        """A kubeconfig of a service account that exists, which may do what it was allowed to."""

        def token() -> str:
            for one in self.request("GET", f"/api/v1/namespaces/{namespace}/secrets")["items"]:
                annotations = one["metadata"].get("annotations") or {}
                if annotations.get("kubernetes.io/service-account.name") == name and "token" in (one.get("data") or {}):
                    return base64.b64decode(one["data"]["token"]).decode()
            return ""

        file = self.folder / f"kubeconfig-{namespace}-{name}"
        self._write_kubeconfig(file, wait_until(token, f"the token of {name}"))
        return file

    def takes_pods(self, namespace: str = "default") -> bool:
        """Whether its default account has its token, without which no pod can be made in a new namespace."""
        try:
            return bool(self.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default").get("secrets"))
        except Refused:
            return False

    def load(self, archive: Path) -> None:
        """Give the node the images of a docker-archive; pods use them with any pull policy but Always."""
        self.docker("load", "--quiet", "--input", str(archive))

    def request(self, method: str, path: str, document: Any = None, kind: str = "application/json") -> Any:
        """Ask the API server as somebody who may do everything. Raises Refused, and OSError when it does not answer."""
        with self._open(method, path, document, kind) as answer:
            said = answer.read()
        return json.loads(said) if said.startswith(b"{") else said.decode()

    @contextlib.contextmanager
    def watching(self, path: str) -> Iterator[Iterator[Any]]:
        """Events of the objects of a list, from now on; the path has a question already. Raises as `request`."""
        version = self.request("GET", path)["metadata"]["resourceVersion"]
        with self._open("GET", f"{path}&watch=1&resourceVersion={version}") as answer:
            yield (json.loads(line) for line in answer)

    def _open(self, method: str, path: str, document: Any = None, kind: str = "application/json") -> Any:
        data = None if document is None else json.dumps(document).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        asked = urllib.request.Request(self.api + path, data, headers, method=method)
        # No proxy of the caller's: the sandbox is on this machine.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.authority))),
        )
        try:
            return opener.open(asked, timeout=DEADLINE)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, error.read().decode(errors="replace")) from error

    def stop_api(self) -> None:
        """End the API server, as in an upgrade of it."""
        self._stop("kube-apiserver")

    def start_api(self) -> None:
        """Start it again; returns when it answers."""
        self._start_api()

    def pause_api(self) -> None:
        """Let the API server hang: connections are taken that nobody answers."""
        self._running["kube-apiserver"].stop()

    def resume_api(self) -> None:
        self._running["kube-apiserver"].resume()

    def pause_proxy(self) -> None:
        """Let the node not hear of what Services have, as it hears late of it where nodes are many or busy."""
        self._running["kube-proxy"].stop()

    def resume_proxy(self) -> None:
        self._running["kube-proxy"].resume()

    def stop_kubelet(self) -> None:
        """The node does not report any more, and does nothing new; its pods go on."""
        self._stop("kubelet")

    def start_kubelet(self) -> None:
        """Start it again; returns when the node is ready."""
        self._start_kubelet()

    def said(self, name: str) -> str:
        """What one of its programs has written last."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    # Its start

    def _prepare(self) -> None:
        """Place what the kubelet writes, the cgroup below which pods are, and the image of every pod's first process."""
        for folder in HIDDEN:
            self.sandbox.run("mount", "-t", "tmpfs", "tmpfs", folder)
        for name, value in KERNEL.items():
            file = self.folder / name.replace("/", "-")
            file.write_text(f"{value}\n")
            self.sandbox.run("mount", "--bind", str(file), f"/proc/sys/{name}")
        self.sandbox.run("ip", "address", "add", f"{API_SERVICE}/32", "dev", "lo")
        for top in _hierarchies():
            (top / self.sandbox.name).mkdir(exist_ok=True)
        import_root(self, PAUSE, _pause(), ['ENTRYPOINT ["/pause"]'])
        self._run_here("openssl", "genrsa", "-out", "accounts.key", "2048")
        self._write_private("tokens.csv", f'{self._token},{ADMIN},{ADMIN},"{ADMINS}"\n')
        self._write_kubeconfig(self.kubeconfig, self._token)
        # The machine's name servers are not reached from a sandbox: without any a lookup says so at once.
        (self.folder / "resolv.conf").touch()
        (self.folder / "kubelet.json").write_text(json.dumps(self._kubelet_configuration()))

    def _start_all(self) -> None:
        try:
            self._start(
                "etcd", "--data-dir", "/var/lib/etcd", "--listen-client-urls", STORE, "--advertise-client-urls", STORE
            )
            self._start_api()
            key, authority = f"{self.folder}/accounts.key", str(self.authority)
            self._start(
                "kube-controller-manager", f"--kubeconfig={self.kubeconfig}", *_CONTROLLERS, "--use-service-account-credentials",
                f"--service-account-private-key-file={key}", f"--root-ca-file={authority}", "--kube-api-qps=200",
                "--kube-api-burst=400", f"--node-monitor-grace-period={GRACE}", f"--cert-dir={self.folder}/certs-of-controllers",
            )  # fmt: skip
            self._start(
                "kube-scheduler",
                f"--kubeconfig={self.kubeconfig}",
                *_CONTROLLERS,
                f"--cert-dir={self.folder}/certs-of-scheduler",
            )
            self._start(
                "kube-proxy", f"--kubeconfig={self.kubeconfig}", f"--hostname-override={NODE}", "--proxy-mode=iptables",
                "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
            )  # fmt: skip
            self._start_kubelet()
            wait_until(self.takes_pods, "the account that pods have by default")
        except TimeoutError as error:
            said = "\n".join(f"{name}: {self.said(name)}" for name in self._running)
            raise ClusterFailed(f"{error}:\n{said}") from error

    def _start_api(self) -> None:
        key = f"{self.folder}/accounts.key"
        self._start(
            "kube-apiserver", f"--etcd-servers={STORE}", f"--service-cluster-ip-range={SERVICES}", "--bind-address=0.0.0.0",
            f"--advertise-address={self.address}", f"--external-hostname={self.address}", f"--secure-port={PORT}",
            f"--cert-dir={self.folder}/certs", f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=RBAC", "--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP",
        )  # fmt: skip
        wait_until(lambda: self._answers_well("kube-apiserver", "/readyz"), "the API server")

    def _start_kubelet(self) -> None:
        self._start(
            "kubelet", f"--kubeconfig={self.kubeconfig}", f"--config={self.folder}/kubelet.json", f"--root-dir={self.folder}/kubelet",
            "--container-runtime=docker", f"--docker-endpoint={self.url}", f"--pod-infra-container-image={PAUSE}",
            f"--hostname-override={NODE}", f"--node-ip={self.address}", f"--cert-dir={self.folder}/certs-of-kubelet",
            f"--volume-plugin-dir={self.folder}/plugins",
        )  # fmt: skip
        wait_until(self._node_ready, "a ready node")

    def _kubelet_configuration(self) -> dict[str, Any]:
        return {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "address": self.address,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.sandbox.name}",
            "clusterDomain": "cluster.local",
            "failSwapOn": False,
            "featureGates": {"LocalStorageCapacityIsolation": False},
            # The disk of a test machine may be as full as it likes.
            "evictionHard": {"memory.available": "10Mi"},
            "imageGCHighThresholdPercent": 100,
            "resolvConf": f"{self.folder}/resolv.conf",
        }

    def _start(self, name: str, *arguments: str) -> None:
        own = self._programs / name
        command = [str(own) if own.exists() else name, *arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = self.sandbox.popen(command, stdout=log, stderr=log, cwd=self.folder)

    def _stop(self, name: str) -> None:
        program = self._running[name]
        program.send_signal(signal.SIGKILL)
        program.wait(DEADLINE)

    def _answers_well(self, name: str, path: str) -> bool:
        self._check(name)
        try:
            return bool(self.request("GET", path) == "ok")
        except (OSError, Refused):
            return False

    def _node_ready(self) -> bool:
        self._check("kubelet")
        try:
            node = self.request("GET", f"/api/v1/nodes/{NODE}")
        except (OSError, Refused):
            return False
        conditions = node["status"].get("conditions") or []
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _check(self, name: str) -> None:
        if self._running[name].poll() is not None:
            raise ClusterFailed(f"{name} has ended: {self.said(name)}")

    def _write_kubeconfig(self, file: Path, token: str) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "tests", "cluster": {"server": self.api, "certificate-authority": str(self.authority)}}
            ],
            "users": [{"name": "tests", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        self._write_private(file.name, json.dumps(document))

    def _write_private(self, name: str, text: str) -> None:
        with open(os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)

    def _run_here(self, *command: str) -> None:
        subprocess.run(
            command, cwd=self.folder, env=self.sandbox.environ, capture_output=True, check=True, timeout=DEADLINE
        )


def _runtime() -> Sequence[str]:
    """What dockerd must be told where root lacks a capability."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff" and int(value, 16) >> CAP_SYS_RESOURCE & 1:
            return ()
    return ("--add-runtime", f"tests={HERE / 'runc.sh'}", "--default-runtime", "tests")


def _hierarchies() -> list[Path]:
    """Where the kernel's cgroups are: one place, or one for each controller."""
    top = Path("/sys/fs/cgroup")
    return [top] if (top / "cgroup.controllers").exists() else [folder for folder in top.iterdir() if folder.is_dir()]


def _pause() -> bytes:
    """The root of an image with nothing but a static program."""
    with tempfile.TemporaryDirectory(prefix="pp-") as made:
        program = Path(made, "pause")
        environ = {**os.environ, "PATH": debian_path()}
        subprocess.run(
            ["musl-gcc", "-Os", "-static", "-o", program, HERE / "pause.c"], env=environ, check=True, timeout=DEADLINE
        )
        root = Root()
        root.add("pause", program.read_bytes())
        return root.packed()
