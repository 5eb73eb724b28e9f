"""By what a bundle is known: it changes with what a bundle is made from, and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import penstock
from penstock.watchdog.bundle.collect import imported_modules
from penstock.watchdog.bundle.origin import digest, sources
from penstock.watchdog.bundle.trace import WATCHDOG

SOURCE = Path(penstock.__file__).parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of Penstock that a test may change."""
    shutil.copytree(SOURCE, tmp_path / "penstock", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_no_module_that_a_bundle_has_is_left_out() -> None:
    modules = imported_modules(WATCHDOG)
    own = {file for name, file in modules.items() if name.partition(".")[0] == "penstock"}
    assert len(own) > 50
    assert own - set(sources(SOURCE.parent)) == set()


@pytest.mark.parametrize(
    "changed",
    [
        "watchdog/app.py",
        "wire/server.py",
        "errors.py",
        "__init__.py",
        "watchdog/bundle/write.py",
        "watchdog/bundle/launcher/launcher.c",
    ],
)
def test_a_change_of_what_it_is_made_from_asks_for_another(root: Path, changed: str) -> None:
    before = digest(root)
    with (root / "penstock" / changed).open("a") as file:
        file.write("# changed\n")
    assert digest(root) != before


@pytest.mark.parametrize(
    "changed", ["cli/main.py", "control/app.py", "providers/local.py", "watchdog/__pycache__/x.pyc"]
)
def test_a_change_elsewhere_does_not(root: Path, changed: str) -> None:
    before = digest(root)
    (root / "penstock" / changed).parent.mkdir(exist_ok=True)
    with (root / "penstock" / changed).open("a") as file:
        file.write("# changed\n")
    assert digest(root) == before


def test_a_module_that_is_taken_from_its_package_counts(root: Path) -> None:
    (root / "penstock" / "core" / "novel.py").touch()
    with (root / "penstock" / "errors.py").open("a") as file:
        file.write("from penstock.core import novel\n")
    assert root / "penstock" / "core" / "novel.py" in sources(root)
