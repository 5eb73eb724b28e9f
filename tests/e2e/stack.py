"""Penstock on a Swarm as `deploy/swarm/up.sh` brings it up, for end-to-end tests: spoken to at the node's port, gone afterwards.

What it leaves on the Swarm is found by comparing names, for others use the Swarm too.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.engines.swarm import SwarmNode
from tests.engines.waiting import DEADLINE, wait_until

UP = Path(__file__).parents[2] / "deploy" / "swarm" / "up.sh"
PORT = 8080
KINDS = ("service", "container", "config", "secret", "network", "volume")
"""What is made on a Swarm, in an order in which it can be removed."""

_PASSWORD = re.compile(r"user admin, password (\w+)")


class Stack:
    """From the first `up.sh` on."""

    def __init__(self, node: SwarmNode, image: str, home: Path, *flags: str, **environ: str) -> None:
        self.node = node
        self.image = image
        self.base = f"http://{node.sandbox.address}:{PORT}"
        self.environ = {
            **node.sandbox.environ,
            "DOCKER_HOST": node.url,
            "DOCKER_CONFIG": str(home / "docker"),
            "OPENFAAS_URL": self.base,
            "HOME": str(home),
            **environ,
        }
        self.said = self.up(*flags)
        [self.password] = _PASSWORD.findall(self.said)
        self.cli("login", "--username", "admin", "--password-stdin", data=self.password.encode())

    def up(self, *flags: str) -> str:
        """Run up.sh with the image; what it says."""
        return self.run(str(UP), "--image", self.image, "--port", str(PORT), *flags)

    def down(self) -> str:
        return self.run(str(UP), "--down")

    def run(self, *command: str, data: bytes = b"") -> str:
        done = subprocess.run(
            command, input=data, capture_output=True, env=self.environ, timeout=2 * DEADLINE, check=False
        )
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"{command}: {said}{done.stderr.decode(errors='replace')}"
        return said

    def cli(self, *arguments: str, data: bytes = b"") -> str:
        """The output of our command line, which is logged in at this gateway."""
        return self.run(sys.executable, "-m", "penstock", *arguments, data=data)

    def ask(self, path: str, body: bytes = b"", user: str = "admin", password: str = "") -> tuple[int, bytes]:
        """Status and body of an answer, to the administrator unless told otherwise; status 0 while nobody answers."""
        connection = http.client.HTTPConnection(self.node.sandbox.address, PORT, timeout=DEADLINE)
        account = base64.b64encode(f"{user}:{password or self.password}".encode()).decode()
        try:
            connection.request("POST" if body else "GET", path, body or None, {"Authorization": f"Basic {account}"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def wait_for(self, path: str, answer: bytes, body: bytes = b"") -> None:
        """Until this is the answer."""
        wait_until(lambda: self.ask(path, body) == (200, answer), f"{path} to answer")

    def containers(self, service: str) -> dict[str, str]:
        """When each running container of a service was started."""
        label = f"label=com.docker.swarm.service.name={service}"
        started = {}
        for one in self.node.docker("ps", "--quiet", "--no-trunc", "--filter", label).split():
            with contextlib.suppress(AssertionError):  # it may be gone since
                started[one] = self.node.docker("inspect", "--format", "{{.State.StartedAt}}", one)
        return started

    def network_get(self, url: str) -> str:
        """An answer to a container on the functions' network; empty where there is none."""
        try:
            return self.node.docker("run", "--rm", "--network", "penstock", "busybox:it", "wget", "-q", "-O", "-", url)
        except AssertionError:
            return ""


@contextlib.contextmanager
def stack_on(node: SwarmNode, image: str, *flags: str, **environ: str) -> Iterator[Stack]:
    """The stack, of `up.sh` with these flags, for as long as the context lasts; afterwards the Swarm is as it was."""
    socket = node.sandbox.file("/run/docker.sock")
    before = {kind: _names(node, kind) for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="pt-") as home:
        # The engine's socket is where an engine's socket is, as the nodes of a Swarm see it.
        socket.symlink_to(node.url.removeprefix("unix://"))
        try:
            yield Stack(node, image, Path(home), *flags, **environ)
        finally:
            for kind in KINDS:
                wait_until(partial(_removed, node, kind, before[kind]), f"the end of every {kind}")
            socket.unlink()


def _removed(node: SwarmNode, kind: str, kept: set[str]) -> bool:
    """Whether nothing is left; what is in use stays until its user has ended."""
    for name in _names(node, kind) - kept:
        with contextlib.suppress(AssertionError):
            node.docker(kind, "rm", name)
    return _names(node, kind) <= kept


def _names(node: SwarmNode, kind: str) -> set[str]:
    return set(node.docker(kind, "ls", "--format", "{{.ID}}" if kind == "container" else "{{.Name}}").split())
