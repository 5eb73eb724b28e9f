"""Digests of trees: what changes them and what does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.builders.tree import copy, digest, overlay, walk
from tests.unit.builders.requests import write


def digest_of(folder: Path) -> str:
    return digest({entry.path: entry for entry in walk(folder, what="test")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "one", {"a": "1", "d/b": "2"})


def test_the_same_files_have_the_same_digest_wherever_they_are(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "two", {"d/b": "2", "a": "1"})
    os.utime(other / "a", (1, 1))
    assert digest_of(folder) == digest_of(other)


def rename(folder: Path) -> None:
    (folder / "a").rename(folder / "c")


def edit(folder: Path) -> None:
    (folder / "a").write_text("2")


def make_executable(folder: Path) -> None:
    (folder / "a").chmod(0o755)


def add_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def link(folder: Path) -> None:
    (folder / "a").unlink()
    (folder / "a").symlink_to("d/b")


@pytest.mark.parametrize("change", [rename, edit, make_executable, add_folder, link])
def test_every_change_changes_it(folder: Path, change: Callable[[Path], None]) -> None:
    before = digest_of(folder)
    change(folder)
    assert digest_of(folder) != before


def test_moving_bytes_between_name_and_content_changes_it(tmp_path: Path) -> None:
    assert digest_of(write(tmp_path / "x", {"ab": "c"})) != digest_of(write(tmp_path / "y", {"a": "bc"}))


def test_a_copy_has_the_digest_of_its_original(folder: Path, tmp_path: Path) -> None:
    make_executable(folder)
    (folder / "l").symlink_to("d")
    tree = {entry.path: entry for entry in walk(folder, what="test")}
    target = tmp_path / "copy"
    target.mkdir()
    copy(tree, target)
    assert digest_of(target) == digest(tree)


def test_a_prefix_makes_the_folders_it_needs(folder: Path) -> None:
    tree = {entry.path: entry for entry in walk(folder, what="test")}
    overlay(tree, "a/x", walk(folder, what="test"))  # where `a` was a file
    assert [path for path in tree if path.startswith("a")] == ["a", "a/x", "a/x/a", "a/x/d", "a/x/d/b"]
