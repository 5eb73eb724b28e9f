"""Layers: owners, modes, one copy of files with two names, and nothing that differs from machine to machine."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from penstock.watchdog.bundle.tar import Folder, write_layer


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "file").write_bytes(b"content")
    (root / "a" / "file").chmod(0o755)
    (root / "b").mkdir(mode=0o700)
    os.link(root / "a" / "file", root / "b" / "file")
    (root / "link").symlink_to("a/file")
    return root


def layer_of(tree: Path, name: str = "layer", *folders: Folder) -> Path:
    file = tree.parent / name
    write_layer(file, 86400, {"": tree}, folders)
    return file


def test_a_file_with_two_names_is_there_once(tree: Path) -> None:
    with tarfile.open(layer_of(tree)) as layer:
        entries = {entry.name: entry for entry in layer}
    assert (entries["a/file"].type, entries["a/file"].size) == (tarfile.REGTYPE, 7)
    assert (entries["b/file"].type, entries["b/file"].linkname, entries["b/file"].size) == (
        tarfile.LNKTYPE,
        "a/file",
        0,
    )
    assert entries["link"].linkname == "a/file"


def test_the_root_itself_is_not_named(tree: Path) -> None:
    with tarfile.open(layer_of(tree)) as layer:
        assert layer.getnames() == ["a", "a/file", "b", "b/file", "link"]


def test_a_folder_has_the_owner_and_the_mode_that_it_is_given(tree: Path) -> None:
    with tarfile.open(layer_of(tree, "layer", Folder("home", 0o770, 12000, 7))) as layer:
        home = layer.getmember("home")
    assert (home.isdir(), home.mode, home.uid, home.gid, home.mtime) == (True, 0o770, 12000, 7, 86400)


def test_the_same_files_make_the_same_bytes_whatever_their_times_and_the_umask_were(tree: Path) -> None:
    first = layer_of(tree).read_bytes()
    os.utime(tree / "a" / "file", (1e9, 1e9))
    (tree / "b").chmod(0o711)
    assert layer_of(tree, "again").read_bytes() == first
