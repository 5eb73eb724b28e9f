"""Where what belongs in a bundle is found."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from penstock.watchdog.bundle.collect import LIBRARY, sort_out, standard_library
from penstock.watchdog.modes import _PLACES


def test_a_standard_library_with_foreign_libraries_inside_is_searched_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "os.py",
        "json/__init__.py",
        "site-packages/pip/__init__.py",
        "config-3.11/x.py",
        "test/a.py",
        "data.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(os, "__file__", str(tmp_path / "os.py"))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [place for place, _ in standard_library()] == [f"{LIBRARY}/json/__init__.py", f"{LIBRARY}/os.py"]


def test_sources_are_compiled_and_the_rest_is_taken_as_it_is() -> None:
    files = [("lib/a.py", Path("/x/a.py")), ("lib/b.so", Path("/x/b.so"))]
    assert sort_out(files) == ({"lib/a.pyc": Path("/x/a.py")}, {"lib/b.so": Path("/x/b.so")})


def test_the_places_of_modes_are_modules() -> None:
    for place in _PLACES.values():
        module, _, attribute = place.partition(":")
        assert hasattr(importlib.import_module(module), attribute)
