"""What takes long is made once: the image in both formats, and a network of the engine for its containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.engine import Engine

TAG = "example.org/penstock:it"


def build(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run `penstock image build` on this installation."""
    command = [sys.executable, "-m", "penstock", "image", "build", "--tag", TAG, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done


@pytest.fixture(scope="session")
def image_workshop() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pi-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def made(image_workshop: Path) -> dict[str, Any]:
    """What is said of an image in a file."""
    said: dict[str, Any] = json.loads(build("--json", image_workshop / "penstock.tar").stdout)
    return said


@pytest.fixture(scope="session")
def archive(made: dict[str, Any]) -> Path:
    """The image as a docker-archive."""
    return Path(made["path"])


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
