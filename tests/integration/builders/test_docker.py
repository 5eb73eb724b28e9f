"""The docker builder, against a real engine and a real registry."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.builders import watchdogimage
from penstock.builders.docker import DockerBuilder
from penstock.errors import BuildFailed, NotSupported
from tests.engines.engine import Engine
from tests.engines.registry import Registry
from tests.engines.waiting import wait_until
from tests.integration.builders.imaging import ImageProject, settings


@pytest.fixture
def made(project: Path, docker_engine: Engine) -> Iterator[ImageProject]:
    yield ImageProject(project, docker_engine)
    for image in docker_engine.docker("image", "ls", "--quiet", "--filter", "label=it=docker").split():
        docker_engine.docker("image", "rm", "--force", image)


LABELS = {"it": "docker"}


def test_a_template_becomes_an_image_with_the_watchdog(
    made: ImageProject, docker_engine: Engine, busybox_image: str
) -> None:
    built = DockerBuilder(made.environ).build(
        made.request("docker-words:one", busybox_image, labels=LABELS), made.told.append
    )
    assert (built.image, built.cached) == ("docker-words:one", False)
    found = settings(docker_engine, "docker-words:one")
    assert found["Entrypoint"] == ["/penstock/fwatchdog"]
    assert "mode=streaming" in found["Env"]
    assert found["Labels"]["it"] == "docker"
    assert any(words.startswith("COPY function function") for words in made.told)
    listed = docker_engine.docker(
        "run", "--rm", "--network", "none", "--entrypoint", "/bin/ls", built.image, "/home/app/function"
    )
    assert listed == "handler.sh"


def test_unchanged_sources_are_found_in_the_engines_cache(
    made: ImageProject, docker_engine: Engine, busybox_image: str
) -> None:
    builder = DockerBuilder(made.environ)
    request = made.request("docker-words:two", busybox_image, labels=LABELS)
    assert not builder.build(request, made.told.append).cached
    assert builder.build(request, made.told.append).cached
    (made.here / "words/handler.sh").write_text("cat\n")
    assert not builder.build(request, made.told.append).cached


def test_pull_does_not_ask_a_registry_for_our_own_image(
    made: ImageProject, docker_engine: Engine, docker_registry: Registry, busybox_image: str
) -> None:
    base = f"{docker_registry.host}/base:1"
    docker_engine.docker("tag", busybox_image, base)
    docker_engine.docker("push", base)
    request = made.request("docker-words:pull", base, labels=LABELS, pull=True)
    DockerBuilder(made.environ).build(request, made.told.append)
    assert f"pulling {base}" in made.told
    assert (
        watchdogimage.reference() in docker_engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    )


def test_dockers_own_words_tell_what_went_wrong(made: ImageProject, docker_engine: Engine, busybox_image: str) -> None:
    made.dockerfile(f"FROM {busybox_image}\nCOPY nowhere /\n")
    with pytest.raises(BuildFailed, match="docker ended with exit code") as caught:
        DockerBuilder(made.environ).build(made.request("docker-words:bad", "", "dockerfile"), made.told.append)
    assert "nowhere" in caught.value.words


def test_a_build_that_is_cancelled_leaves_neither_image_nor_container(
    made: ImageProject, docker_engine: Engine, busybox_image: str
) -> None:
    made.dockerfile(f"FROM {busybox_image}\nLABEL it=docker\nRUN echo begun && sleep 600\n")
    builder, begun = DockerBuilder(made.environ), threading.Event()
    before = docker_engine.docker("ps", "--all", "--quiet")

    def hear(words: str) -> None:
        if words.startswith("RUN"):
            begun.set()

    failures: list[BaseException] = []

    def build() -> None:
        try:
            builder.build(made.request("docker-words:never", "", "dockerfile"), hear)
        except BuildFailed as error:
            failures.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    assert begun.wait(120)
    builder.cancel()
    thread.join(120)
    assert not thread.is_alive()
    assert [str(error) for error in failures] == ["the build was cancelled"]
    assert docker_engine.docker("image", "ls", "--quiet", "docker-words:never") == ""
    wait_until(lambda: docker_engine.docker("ps", "--all", "--quiet") == before, "the end of the build's container")


def test_an_image_is_pushed(
    made: ImageProject, docker_engine: Engine, docker_registry: Registry, busybox_image: str
) -> None:
    image = f"{docker_registry.host}/docker-words:pushed"
    builder = DockerBuilder(made.environ)
    builder.build(made.request(image, busybox_image, labels=LABELS), made.told.append)
    builder.push(image, made.told.append)
    docker_engine.docker("image", "rm", image)
    docker_engine.docker("pull", image)
    docker_engine.docker("image", "rm", image)


def test_several_platforms_are_left_to_publish(made: ImageProject) -> None:
    request = made.request("a/b", "x", platforms=("linux/amd64", "linux/arm64"))
    with pytest.raises(NotSupported, match="penstock publish"):
        DockerBuilder(made.environ).build(request, made.told.append)
