"""Our own image, made once for all tests that use it; what else is made of it belongs to them."""

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
def made_image(image_workshop: Path) -> dict[str, Any]:
    """What is said of the image in a file, a docker-archive at `path`."""
    said: dict[str, Any] = json.loads(build("--json", image_workshop / "penstock.tar").stdout)
    return said
