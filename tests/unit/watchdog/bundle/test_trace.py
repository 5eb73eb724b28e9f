"""Which modules a source mentions, and which of ours are looked at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from penstock.watchdog.bundle.trace import WATCHDOG, Scope, import_all, mentioned, own_modules


def test_imports_inside_of_functions_are_mentioned() -> None:
    source = b"import os.path, sys as s\nfrom a.b import c\n\n\ndef late():\n    import jwt\n    from . import near\n"
    assert list(mentioned(source)) == ["os.path", "sys", "a.b", "jwt"]


def test_a_bundle_makes_no_bundles() -> None:
    names = list(own_modules(WATCHDOG.root, WATCHDOG.left_out))
    assert {"penstock.watchdog", "penstock.watchdog.__main__", "penstock.watchdog.asgi.http"} <= set(names)
    assert [name for name in names if "bundle" in name] == []


@pytest.fixture
def needy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that imports one that is nowhere."""
    (tmp_path / "needy_module.py").write_text("import no_such_package.part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "needy_module"


def test_what_needs_something_optional_that_is_missing_is_left_out(needy: str) -> None:
    import_all([needy], Scope("penstock", ("penstock",), optional=("no_such_package",)))
    assert needy not in sys.modules


def test_what_needs_anything_else_that_is_missing_is_told(needy: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        import_all([needy], Scope("penstock", ("penstock",), optional=("another",)))
