"""What takes long is made once: the image in both formats, and a network of the engine for its containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.engine import Engine
from tests.image import TAG, build


@pytest.fixture(scope="session")
def archive(made_image: dict[str, Any]) -> Path:
    """The image as a docker-archive."""
    return Path(made_image["path"])


@pytest.fixture(scope="session")
def oci_archive(image_workshop: Path) -> Path:
    """The image as an OCI layout, which was written to standard output."""
    file = image_workshop / "oci.tar"
    file.write_bytes(build("--format", "oci", "-").stdout)
    return file


@pytest.fixture(scope="session")
def loaded(docker_engine: Engine, archive: Path) -> Engine:
    """An engine that has the image."""
    assert TAG in docker_engine.docker("load", data=archive.read_bytes())
    return docker_engine


@pytest.fixture(scope="session")
def network(loaded: Engine) -> Iterator[str]:
    """A network in which containers have addresses that the tests reach."""
    loaded.docker("network", "create", "of-images")
    yield "of-images"
    loaded.docker("network", "rm", "of-images")
