"""Fixtures of the builders' tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current directory."""
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    return here
