"""What the docker command is asked, by a docker that only writes it down. What engines make of it is tested with them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.builders import watchdogimage
from penstock.builders.docker import DockerBuilder
from penstock.builders.model import BuildRequest, Progress
from penstock.builders.watchdogimage import WatchdogImage
from penstock.errors import NotSupported
from penstock.stack.model import Position, StackFunction
from penstock.templates.catalogue import find_template
from tests.unit.builders.requests import request, write

DOCKER = """\
#!/bin/sh
echo "$*" >> "$ASKED"
[ "$1 $2" = "image inspect" ] && { echo "Error: No such image: x" >&2; exit 1; }
[ "$1 $2" = "buildx version" ] && exit "$NO_BUILDX"
exit 0
"""


class Docker:
    """A docker command, and a builder that uses it."""

    def __init__(self, here: Path, buildx: bool) -> None:
        self._asked = here / "asked"
        write(here, {"bin/docker": DOCKER, "fn/handler.py": "", "fn/Dockerfile": "FROM scratch\n"})
        (here / "bin/docker").chmod(0o755)
        self.environ = {
            "PATH": f"{here}/bin:/usr/bin:/bin",
            "ASKED": str(self._asked),
            "NO_BUILDX": "0" if buildx else "1",
            "PENSTOCK_BUILDS": str(here / "builds"),
        }
        self.builder = DockerBuilder(self.environ)

    def asked(self, verb: str) -> list[str]:
        return [line for line in self._asked.read_text().splitlines() if line.startswith(f"{verb} ")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_template(name: str, here: Path, **arguments: str) -> BuildRequest:
    function = StackFunction(name="fn", where=Position("stack.yml", 3), lang=name, handler="fn", image="a/fn:1")
    return BuildRequest(function=function, template=find_template(name, here), image="a/fn:1", build_args=arguments)


@pytest.mark.parametrize(("given", "version"), [({}, ""), ({"PYTHON_VERSION": "3.9"}, "3.9")])
def test_python_templates_are_built_with_the_watchdogs_python_unless_told_otherwise(
    here: Path, monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str], version: str
) -> None:
    def provide(environ: Mapping[str, str], progress: Progress) -> WatchdogImage:
        return WatchdogImage(watchdogimage.reference(), here / "watchdog.tar")

    monkeypatch.setattr(watchdogimage, "provide", provide)
    docker = Docker(here, buildx=True)
    docker.builder.build(of_template("python3-http", here, **given), print)
    [line] = docker.asked("build")
    expected = version or f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f" --build-arg PYTHON_VERSION={expected} --build-arg WATCHDOG={watchdogimage.reference()} " in line


def test_an_image_of_watchdogs_of_ones_own_comes_with_the_templates_default(here: Path) -> None:
    docker = Docker(here, buildx=True)
    docker.builder.build(of_template("python3-http", here, WATCHDOG="mine:1"), print)
    [line] = docker.asked("build")
    assert "PYTHON_VERSION" not in line


def test_several_platforms_are_built_and_pushed_by_buildx(here: Path) -> None:
    docker = Docker(here, buildx=True)
    wanted = request(None, image="a/fn:1", platforms=("linux/amd64", "linux/arm64"), build_args={"A": "1"})
    docker.builder.publish(wanted, ["a/fn:1", "a/fn:stable"], print)
    line = docker.asked("buildx")[-1]
    assert line.startswith("buildx build --builder penstock ")
    assert "--build-arg A=1 --platform linux/amd64,linux/arm64" in line
    assert line.endswith("--tag a/fn:1 --tag a/fn:stable --push .")


def test_without_buildx_it_is_said_what_is_missing_and_what_does_without(here: Path) -> None:
    docker = Docker(here, buildx=False)
    wanted = request(None, image="a/fn:1", platforms=("linux/amd64", "linux/arm64"))
    with pytest.raises(NotSupported) as caught:
        docker.builder.publish(wanted, ["a/fn:1"], print)
    for words in ("docker-buildx", "docker-buildx-plugin", "--builder image", "RUN"):
        assert words in str(caught.value)
    assert not (here / "build").exists()
