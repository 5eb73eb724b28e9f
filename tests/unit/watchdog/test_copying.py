"""Copying a bundle to where another container finds it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.errors import InvalidInput
from penstock.watchdog.bundle.write import MARK as BUNDLE_MARK
from penstock.watchdog.copying import MARK, copy_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    (root / "lib" / "deep").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "fwatchdog").write_bytes(b"launcher")
    (root / "fwatchdog").chmod(0o755)
    (root / "of-watchdog").symlink_to("fwatchdog")
    (root / "bin" / "python3").symlink_to("../fwatchdog")
    (root / "lib" / "deep" / "big.so").write_bytes(os.urandom(3 << 20))
    (root / "lib" / "empty").touch()
    (root / MARK).write_text("{}")
    return root


def copy(bundle: Path, target: Path) -> None:
    copy_bundle(str(target), str(bundle / "bin" / "python3"))


def contents(root: Path) -> dict[str, tuple[int, bytes | str]]:
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else path.read_bytes(),
        )
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_everything_is_copied_with_its_modes_and_links(bundle: Path, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        copy(bundle, tmp_path / "new" / "place")
    finally:
        os.umask(old)
    assert contents(tmp_path / "new" / "place") == contents(bundle)
    assert MARK == BUNDLE_MARK


def test_a_copy_that_was_begun_is_finished(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "place"
    copy(bundle, target)
    (target / MARK).unlink()
    (target / "lib" / "deep" / "big.so").write_bytes(b"half")
    (target / "of-watchdog").unlink()
    copy(bundle, target)
    assert contents(target) == contents(bundle)


def test_a_complete_copy_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "place"
    copy(bundle, target)
    (target / "lib" / "empty").write_text("seen")
    copy(bundle, target)
    assert (target / "lib" / "empty").read_text() == "seen"


def test_a_copy_of_another_version_is_replaced(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "place"
    copy(bundle, target)
    (bundle / MARK).write_text('{"penstock": "2"}')
    (bundle / "fwatchdog").write_bytes(b"newer")
    copy(bundle, target)
    assert contents(target) == contents(bundle)


def test_outside_of_a_bundle_there_is_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no bundle at"):
        copy_bundle(str(tmp_path / "place"), "/usr/bin/python3")
    assert not (tmp_path / "place").exists()


def test_a_place_that_is_a_file_is_an_error(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "place").touch()
    with pytest.raises(OSError, match="place"):
        copy(bundle, tmp_path / "place")
