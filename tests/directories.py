"""Directories for the tests of every stage."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short-named private directory: pytest's own are too deep for unix socket addresses."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as path:
        yield Path(path)
