"""`penstock serve --provider docker` on an engine of the tests, one after another from the same home, and traffic through it.

Making the watchdog's bundle takes seconds, so every home has the one that all tests share.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from penstock.providers.containers import labels
from tests.e2e.programs import alive, descendants
from tests.e2e.serving import Answer, Gateway, Penstock, wait_until
from tests.engines.engine import Engine
from tests.integration.providers.docker.harness import shared_bundle

PLENTY = 30
"""Requests after a change that show how things are now."""


class Docked:
    """A home and an engine. `server` is the running `penstock serve`; `close` leaves nothing on the engine."""

    server: Penstock

    def __init__(self, engine: Engine, *flags: str) -> None:
        self.engine = engine
        self.home = Path(tempfile.mkdtemp(prefix="ps-"))
        self._flags = ("--provider", "docker", "--docker-connect", "ip", *flags)
        (self.home / "watchdog").symlink_to(shared_bundle(), target_is_directory=True)
        try:
            self.serve()
        except BaseException:
            self.close()
            raise

    def serve(self) -> Penstock:
        """Start it, for the first time or again."""
        environ = {"DOCKER_HOST": self.engine.url}
        self.server = Penstock(*self._flags, home=self.home, environ=environ)
        self._logged_in = False
        return self.server

    def cli(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A verb of the command line, of a user who has logged in."""
        if not self._logged_in:
            done = self.server.cli("login", "--timeout", "2m", "--password-stdin", stdin=self.server.password.encode())
            assert done.returncode == 0, done.stderr.decode()
            self._logged_in = True
        return self.server.cli(*arguments, stdin=stdin)

    def run(self, *arguments: str, stdin: bytes = b"") -> str:
        """A verb that must succeed; what it wrote on stdout."""
        done = self.cli(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def deploy(self, name: str, image: str, *flags: str) -> None:
        """Deploy by the command line, which waits until it is ready."""
        self.run("deploy", "--name", name, "--image", image, *flags)

    def accept(self, name: str, image: str, program: str, **labels: str) -> None:
        """Deploy by the API, and do not wait; `labels` have their dots as underscores."""
        spec = {"service": name, "image": image, "envProcess": program}
        given = {label.replace("_", "."): value for label, value in labels.items()}
        answer = self.server.request(
            "POST", "/system/functions", json.dumps({**spec, "labels": given}).encode(), admin=True
        )
        assert answer.status == 202, answer

    def remove(self, name: str) -> None:
        self.run("remove", name)
        wait_until(lambda: not self.containers(name), f"the end of the containers of {name}")

    def scale(self, name: str, replicas: int) -> None:
        """By the API; returns when it was accepted."""
        body = json.dumps({"serviceName": name, "replicas": replicas}).encode()
        answer = self.server.request("POST", f"/system/scale-function/{name}", body, admin=True)
        assert answer.status == 202, answer

    def wait_replicas(self, name: str, replicas: int) -> None:
        """Until exactly so many containers run and their replicas are ready; those that ended may be kept for their logs."""

        def settled() -> bool:
            ready = int((self.server.function(name) or {}).get("availableReplicas", 0))
            return ready == replicas == len(self.running(name))

        try:
            wait_until(settled, f"exactly {replicas} replicas of {name}")
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}: {self.server.function(name)}, {self.running(name)} run\n{self.server.printed()[-4000:]}"
            ) from error

    def instances(self, name: str) -> list[dict[str, Any]]:
        return list((self.server.function(name) or {}).get("instances") or [])

    def lives(self, name: str) -> dict[str, int]:
        """How often each of a function's replicas was started again."""
        return {one["id"]: one["restarts"] for one in self.instances(name)}

    def containers(self, name: str = "", *filters: str) -> set[str]:
        """Ids of this installation's containers, or of one function's; a filter is one of `docker ps`."""
        wanted = [f"label={labels.OWNER}={self.installation}", *filters]
        wanted += [f"label={labels.FUNCTION}={name}.openfaas-fn"] if name else []
        given = [part for one in wanted for part in ("--filter", one)]
        return set(self.engine.docker("ps", "--all", "--quiet", "--no-trunc", *given).split())

    def running(self, name: str = "") -> set[str]:
        """Ids of those that run."""
        return self.containers(name, "status=running")

    def container(self, name: str) -> str:
        """The id of the only one of a function that runs."""
        [container] = self.running(name)
        return container

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine says of it."""
        document: dict[str, Any] = json.loads(self.engine.docker("inspect", self.container(name)))[0]
        return document

    @property
    def installation(self) -> str:
        return (self.home / "installation").read_text().strip()

    def kill_everything(self) -> None:
        """Let the supervisor and all below it be killed at once, before any of them can see another's end."""
        kill_at_once(self.server)

    def close(self) -> None:
        """End the server, if it runs, in order; whatever it leaves is removed. That it ends well is part of every test."""
        code = 0
        try:
            if hasattr(self, "server") and self.server.process.poll() is None:
                code = self.server.stop()
            wait_until(self._emptied, "the end of the containers of a server")
        finally:
            (self.home / "watchdog").unlink()
            shutil.rmtree(self.home, ignore_errors=True)
        assert code == 0, f"penstock serve ended with {code} after SIGTERM"

    def _emptied(self) -> bool:
        """Whether it has no containers any more; one that the engine is still removing for the server is not removed twice."""
        if not (self.home / "installation").exists():
            return True
        if left := self.containers():
            with contextlib.suppress(AssertionError):
                self.engine.docker("rm", "--force", "--volumes", *left)
        return not self.containers()


def kill_at_once(server: Penstock) -> None:
    """Kill the supervisor and all below it before any of them can see another's end."""
    supervisor = psutil.Process(server.process.pid)
    supervisor.suspend()
    wait_until(lambda: stopped(supervisor), "a stopped supervisor, which starts no more processes")
    processes = [supervisor, *descendants(supervisor.pid)]
    for process in processes[1:]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    wait_until(lambda: all(stopped(process) for process in processes), "stopped processes")
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.process.wait()
    wait_until(lambda: not any(alive(process.pid) for process in processes), "their end")


def stopped(process: psutil.Process) -> bool:
    """Whether it can do nothing any more: signals take a moment."""
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class Traffic:
    """GETs of a function, each on a connection of its own, by a few clients from the beginning of the context to its end."""

    def __init__(self, server: Gateway, name: str, clients: int = 2) -> None:
        self.answered = 0
        self.bodies: set[str] = set()
        self.failures: list[str] = []
        """What was no 200, in words."""
        self.longest = 0.0
        """Seconds that the slowest took."""
        self._server = server
        self._path = f"/function/{name}"
        self._over = threading.Event()
        self._counting = threading.Lock()
        self._clients = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Traffic:
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for client in self._clients:
            client.join()

    def go_on(self, count: int = PLENTY) -> None:
        """Wait for so many more answers, good or bad, to requests that begin from now on."""
        target = self.answered + len(self._clients) + count
        wait_until(lambda: self.answered >= target, f"{count} more answers")

    def go_well(self, count: int = PLENTY) -> None:
        """Wait for so many answers in a row, to requests that begin from now on, of which none is bad."""
        while True:
            bad = len(self.failures)
            self.go_on(count)
            if len(self.failures) == bad:
                return

    def _ask(self) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            try:
                answer = self._server.request("GET", self._path)
            except (OSError, http.client.HTTPException) as error:
                self._count(repr(error), begun)
            else:
                self._count(_fault(answer), begun, answer.text)

    def _count(self, fault: str, begun: float, body: str = "") -> None:
        took = time.monotonic() - begun
        with self._counting:
            self.answered += 1
            self.longest = max(self.longest, took)
            if fault:
                self.failures.append(fault)
            else:
                self.bodies.add(body)


def _fault(answer: Answer) -> str:
    return "" if answer.status == 200 else f"{answer.status} {answer.text.strip()}"
