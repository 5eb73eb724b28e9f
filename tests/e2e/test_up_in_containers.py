"""From a save to the next answer where functions are images: `up`, `up --watch` and `local-run`, on a real Docker Engine.

The image that they are built on is a busybox, which no registry has to be reached for.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docked import Docked
from tests.e2e.programs import Workshop
from tests.e2e.serving import wait_until
from tests.engines.engine import Engine

DEADLINE = 300.0
"""Seconds for one command."""
STACK = """\
functions:
  {name}:
    lang: bash
    handler: ./{name}
    fprocess: sh /home/app/function/handler.sh
    image: {name}:it
    build_args:
      BASE: {base}
"""


class Project:
    """A folder with one function, which says a word, and the command line of a user of the engine."""

    def __init__(self, docked: Docked, folder: Path, base: str, name: str) -> None:
        self.docked = docked
        self.folder = folder
        self.name = name
        home = str(docked.home)
        self._environ = {
            **docked.server.environ,
            "PENSTOCK_URL": docked.server.base,
            "PENSTOCK_HOME": home,
            "HOME": home,
            "DOCKER_HOST": docked.engine.url,
        }
        (folder / name).mkdir(parents=True)
        (folder / "stack.yml").write_text(STACK.format(name=name, base=base))

    def say(self, word: str) -> None:
        (self.folder / self.name / "handler.sh").write_text(f"echo {word}\n")

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that stays, for as long as the context lasts."""
        with (self.folder / "printed").open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock", *arguments],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def printed(self) -> str:
        return (self.folder / "printed").read_text(errors="replace")

    def ran(self, *arguments: str) -> str:
        """A command that must end well; all that it printed."""
        with self.running(*arguments) as process:
            code = process.wait(DEADLINE)
        assert code == 0, self.printed()
        return self.printed()

    def wait_for(self, process: subprocess.Popen[bytes], words: str) -> None:
        def found() -> bool:
            if words not in self.printed() and process.poll() is not None:
                raise RuntimeError(f"ended with {process.returncode}:\n{self.printed()}")
            return words in self.printed()

        wait_until(found, f"{words!r} in the output", DEADLINE)

    def answers(self, word: str) -> None:
        wait_until(lambda: self.docked.server.invoke(self.name).text == f"{word}\n", f"the answer {word}", DEADLINE)


@pytest.fixture(scope="module")
def docked(docker_engine: Engine) -> Iterator[Docked]:
    before = images(docker_engine)
    running = Docked(docker_engine, "--pull", "never")
    try:
        yield running
    finally:
        running.close()
        for image in images(docker_engine) - before:
            with contextlib.suppress(AssertionError):  # of another test on the same engine, which uses it
                docker_engine.docker("rmi", image)


@pytest.fixture
def network(docker_engine: Engine) -> Iterator[str]:
    """A network of the test's own, since the engine has no default one."""
    docker_engine.docker("network", "create", "local-run")
    yield "local-run"
    docker_engine.docker("network", "rm", "local-run")


def images(engine: Engine) -> set[str]:
    """Names of the engine's images."""
    return set(engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split())


def test_every_save_is_built_and_rolled_out(docked: Docked, busybox_image: str, workshop: Workshop) -> None:
    project = Project(docked, workshop.file("watched"), busybox_image, "watched")
    project.say("one")
    assert "1 function is up" in project.ran("up")
    project.answers("one")
    with project.running("up", "--watch") as watch:
        project.wait_for(watch, "Watching watched;")
        project.say("two")
        project.answers("two")
        project.wait_for(watch, "watched: up after")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(DEADLINE) == 130, project.printed()
    assert "Traceback" not in project.printed()
    wait_until(lambda: len(docked.running("watched")) == 1, "the end of the container before it", DEADLINE)
    assert docked.inspect("watched")["Config"]["Image"].startswith("watched:it")


def test_local_run_is_a_container_that_goes_with_its_command(
    docked: Docked, busybox_image: str, workshop: Workshop, network: str
) -> None:
    engine = docked.engine
    project = Project(docked, workshop.file("local"), busybox_image, "locally")
    project.say("$OPENFAAS_NAME $who")
    flags = ("--builder", "docker", "--port", "0", "--env", "who=flag", "--network", network)
    with project.running("local-run", "locally", *flags) as process:
        container = ""

        def started() -> bool:
            nonlocal container
            if process.poll() is not None:
                raise RuntimeError(f"ended with {process.returncode}:\n{project.printed()}")
            container = engine.docker("ps", "--quiet", "--no-trunc", "--filter", "name=^/locally$").strip()
            return bool(container)

        try:
            wait_until(started, "its container", DEADLINE)
            address = address_of(engine, container)
            wait_until(lambda: call(address) == b"locally flag\n", "its answer", DEADLINE)
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE)
            wait_until(lambda: not exists(engine, container), "the end of its container", DEADLINE)
        finally:
            if container and exists(engine, container):
                with contextlib.suppress(AssertionError):  # it is just being removed
                    engine.docker("rm", "--force", container)


def address_of(engine: Engine, container: str) -> str:
    [network] = json.loads(engine.docker("inspect", container))[0]["NetworkSettings"]["Networks"].values()
    address: str = network["IPAddress"]
    assert address, network
    return address


def exists(engine: Engine, container: str) -> bool:
    return bool(engine.docker("ps", "--all", "--quiet", "--filter", f"id={container}").strip())


def call(address: str) -> bytes:
    """The function's answer; empty while there is none."""
    connection = http.client.HTTPConnection(address, 8080, timeout=120)
    try:
        connection.request("POST", "/", b"")
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()
