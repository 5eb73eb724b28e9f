"""A script becomes an image by each builder, and a function of `penstock serve --provider docker`, which is called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.builders.choose import choose
from tests.e2e.docked import Docked
from tests.engines.engine import Engine
from tests.engines.fixtures import require
from tests.integration.builders.imaging import ImageProject, own_storage


@pytest.fixture(scope="module")
def docked(docker_engine: Engine) -> Iterator[Docked]:
    """A server that these tests share."""
    server = Docked(docker_engine)
    yield server
    server.close()


@pytest.mark.parametrize("builder", ["docker", "buildah", "image"])
def test_a_script_is_built_deployed_and_called(
    builder: str,
    docked: Docked,
    docker_engine: Engine,
    busybox_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    made = ImageProject(here, docker_engine)
    if builder == "buildah":
        require("buildah")
        own_storage(made)
    name, image = f"words-{builder}", f"built/words-{builder}:1"
    base = busybox_image if builder == "docker" else made.base_archive()
    made.dockerfile(SCRIPT)
    (here / "words/handler.sh").write_text("cat; echo .\n")
    choose(builder, None, made.environ).build(made.request(image, base, "dockerfile"), made.told.append)
    docked.deploy(name, image)
    assert docked.run("invoke", name, stdin=b"one two three") == "one two three.\n"
    docked.remove(name)
    docker_engine.docker("image", "rm", image)


SCRIPT = """ARG WATCHDOG=penstock-watchdog:latest
ARG BASE
FROM ${WATCHDOG} AS watchdog
FROM ${BASE}
COPY --from=watchdog /penstock /penstock
COPY --chown=1000:1000 handler.sh /home/app/
ENV fprocess="sh /home/app/handler.sh"
USER 1000:1000
ENTRYPOINT ["/penstock/fwatchdog"]
"""
