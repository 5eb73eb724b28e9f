"""What takes long is made once: a bundle, an image of one, and a Docker Engine."""

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
from tests.watchdogs import launch, reserved_port

__all__ = ["launch", "reserved_port"]


def make(*arguments: str | Path, **environ: str) -> dict[str, Any]:
    """What `penstock watchdog bundle` says of what it has made."""
    command = [sys.executable, "-m", "penstock", "watchdog", "bundle", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environ}, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="session")
def workshop() -> Iterator[Path]:
    """A directory that every user can look into."""
    folder = Path(tempfile.mkdtemp(prefix="pb-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def made(workshop: Path) -> dict[str, Any]:
    return make(workshop / "bundle")


@pytest.fixture(scope="session")
def bundle(made: dict[str, Any]) -> Path:
    """A bundle's directory."""
    return Path(made["path"])


@pytest.fixture(scope="session")
def archive(workshop: Path) -> Path:
    """An image's file."""
    return Path(make("--image", "example.org/watchdog:it", workshop / "image.tar")["path"])


@pytest.fixture(scope="session")
def engine(docker_engine: Engine) -> Engine:
    return docker_engine
