"""Templates whose functions are images: begun, built by a real Docker Engine, deployed on it and called, by the command line.

The image that they are built on is a busybox, which no registry has to be reached for. A template with a `RUN` would need a network.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docked import Docked
from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, wait_until
from tests.engines.engine import Engine

DEADLINE = 300.0
"""Seconds for one command."""

NAMES = ("bash", "cli", "dockerfile", "static")

GREETINGS = {
    "bash": (b"Ada\nGrace\n", b"Hello, Ada!\nHello, Grace!\n"),
    "cli": (b"one two three\n", b"3\n"),
    "dockerfile": (b"as it is\n", b"as it is\n"),
}
"""What is sent, and what comes back."""


class Project:
    """A folder with a stack file, whose functions are up as containers."""

    def __init__(self, docked: Docked, folder: Path) -> None:
        self.docked = docked
        self.folder = folder

    @property
    def server(self) -> Penstock:
        return self.docked.server

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, which reaches the engine as the user's `docker` does."""
        home = str(self.docked.home)
        environ = {**self.server.environ, "PENSTOCK_URL": self.server.base, "PENSTOCK_HOME": home, "HOME": home}
        environ["DOCKER_HOST"] = self.docked.engine.url
        return subprocess.run(
            [sys.executable, "-m", "penstock", *arguments],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE,
            check=False,
        )

    def ok(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.run(*arguments)
        assert done.returncode == 0, f"penstock {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done

    def unchanged(self) -> dict[str, bool]:
        """What `penstock build` says of each function. One after the other: what two share may be made twice by builds at once."""
        done = self.ok("build", "--parallel", "1", "--output", "json")
        return {each["name"]: each["unchanged"] for each in json.loads(done.stdout)}

    def edit(self, file: str, *changes: tuple[str, str]) -> None:
        path = self.folder / file
        text = path.read_text()
        for old, new in changes:
            assert old in text, f"{file} has no {old!r}"
            text = text.replace(old, new)
        path.write_text(text)


@pytest.fixture(scope="module")
def project(docker_engine: Engine, busybox_image: str, workshop: Workshop) -> Iterator[Project]:
    before = images(docker_engine)
    docked = Docked(docker_engine, "--pull", "never")
    try:
        made = Project(docked, workshop.file("project"))
        made.folder.mkdir()
        for name in NAMES:
            append = () if name == NAMES[0] else ("--append", "stack.yaml")
            made.ok("new", name, "--lang", name, "--quiet", *append)
        based = f"\n    build_args: {{BASE: {busybox_image}}}\n"
        made.edit(
            "stack.yaml",
            *(
                (f"    image: {name}:latest\n", f"    image: {name}:latest{based}")
                for name in ("bash", "cli", "static")
            ),
            ('handler: "./bash"', 'handler: "./bash"\n    fprocess: sh /home/app/function/handler.sh'),
            ("wc -w", "/bin/busybox wc -w"),
        )
        made.edit("dockerfile/Dockerfile", ("FROM debian:12-slim", f"FROM {busybox_image}"))
        made.ok("up")
        yield made
    finally:
        docked.close()
        for image in images(docker_engine) - before:
            with contextlib.suppress(AssertionError):  # of another test on the same engine, which uses it
                docker_engine.docker("rmi", image)


def images(engine: Engine) -> set[str]:
    """Names of the engine's images."""
    return set(engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split())


@pytest.mark.parametrize("name", sorted(GREETINGS))
def test_function_in_an_image_of_its_template_answers(project: Project, name: str) -> None:
    sent, wanted = GREETINGS[name]
    answer = project.server.invoke(name, sent)
    assert (answer.status, answer.body) == (200, wanted)
    assert project.docked.inspect(name)["Config"]["Image"].startswith(f"{name}:latest")


def test_files_in_an_image_are_served(project: Project) -> None:
    front = project.server.request("GET", "/function/static/")
    assert front.status == 200 and "<p>Hello, world!</p>" in front.text
    assert project.server.request("GET", "/function/static/nowhere").status == 404


def test_program_that_fails_is_500_and_in_the_log(project: Project) -> None:
    (project.folder / "bash" / "handler.sh").write_text("echo no luck >&2\nexit 3\n")
    project.ok("up", "--filter", "bash")
    wait_until(lambda: project.server.invoke("bash", b"Ada\n").status == 500, "the new image")
    wait_until(lambda: "no luck" in project.ok("logs", "bash", "--no-tail").stdout, "the reason in the log")


def test_engine_builds_nothing_twice(project: Project) -> None:
    project.unchanged()
    assert project.unchanged() == dict.fromkeys(NAMES, True)
