"""The buildah builder, with its own storage below the test, a real registry and a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.builders.buildah import BuildahBuilder
from penstock.errors import BuildFailed, NotFound, NotSupported
from tests.engines.engine import Engine
from tests.engines.fixtures import require
from tests.engines.registry import Registry
from tests.integration.builders.imaging import ImageProject, own_storage, settings


@pytest.fixture
def made(project: Path) -> ImageProject:
    """Without an engine."""
    require("buildah")
    return own_storage(ImageProject(project))


@pytest.fixture
def beside(project: Path, docker_engine: Engine) -> Iterator[ImageProject]:
    """Beside an engine."""
    require("buildah")
    yield own_storage(ImageProject(project, docker_engine))
    for image in docker_engine.docker("image", "ls", "--quiet", "--filter", "label=it=buildah").split():
        docker_engine.docker("image", "rm", "--force", image)


def test_a_template_becomes_an_image_and_is_found_again(made: ImageProject) -> None:
    builder = BuildahBuilder(made.environ)
    request = made.request("localhost/words:one", made.base_archive())
    first = builder.build(request, made.told.append)
    assert (first.image, first.cached) == ("localhost/words:one", False)
    assert any(words.startswith("COPY function function") for words in made.told)
    assert builder.build(request, made.told.append).cached


def test_an_engine_beside_it_is_given_the_image(beside: ImageProject, docker_engine: Engine) -> None:
    request = beside.request("buildah/words:given", beside.base_archive(), labels={"it": "buildah"})
    BuildahBuilder(beside.environ).build(request, beside.told.append)
    found = settings(docker_engine, "buildah/words:given")
    assert found["Entrypoint"] == ["/penstock/fwatchdog"]
    assert found["Healthcheck"]["Test"] == ["CMD", "/penstock/fwatchdog", "--run-healthcheck"]


def test_steps_run(made: ImageProject) -> None:
    made.dockerfile("ARG BASE\nFROM ${BASE}\nRUN echo built > /tmp/made && cat /tmp/made\n")
    BuildahBuilder(made.environ).build(
        made.request("localhost/run:1", made.base_archive(), "dockerfile"), made.told.append
    )
    assert any(words.startswith("RUN echo built") for words in made.told)


def test_an_image_is_pushed(made: ImageProject, docker_registry: Registry, docker_engine: Engine) -> None:
    made.environ["PENSTOCK_INSECURE_REGISTRIES"] = docker_registry.address
    image = f"{docker_registry.address}/buildah:pushed"
    builder = BuildahBuilder(made.environ)
    with pytest.raises(NotFound, match="build it first"):
        builder.push(image, made.told.append)
    made.dockerfile("FROM scratch\nCOPY Dockerfile /\n")
    builder.build(made.request(image, "", "dockerfile"), made.told.append)
    builder.push(image, made.told.append)
    there = f"{docker_registry.host}/buildah:pushed"
    docker_engine.docker("pull", there)
    docker_engine.docker("image", "rm", there)


def test_buildahs_own_words_tell_what_went_wrong(made: ImageProject) -> None:
    made.dockerfile("FROM scratch\nCOPY nowhere /\n")
    with pytest.raises(BuildFailed) as caught:
        BuildahBuilder(made.environ).build(made.request("localhost/bad:1", "", "dockerfile"), made.told.append)
    assert "nowhere" in caught.value.words


def test_where_buildah_cannot_work_it_says_why(made: ImageProject) -> None:
    made.environ["PATH"] = _broken(made.here.parent / "bin")
    with pytest.raises(NotSupported, match="it says: no storage here"):
        BuildahBuilder(made.environ).build(made.request("localhost/bad:1", "", "bash"), made.told.append)


def _broken(folder: Path) -> str:
    """A PATH with a buildah that refuses."""
    folder.mkdir()
    program = folder / "buildah"
    program.write_text("#!/bin/sh\necho no storage here >&2\nexit 125\n")
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"
