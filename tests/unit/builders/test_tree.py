"""Digests of trees: what changes them and what does not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.builders.tree import copy, digest, go_on, overlay, walk
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


# Copies

PATTERN = bytes(range(256)) * 4096


def copied(source: Path, check: Callable[[], None] = go_on) -> Path:
    tree = {entry.path: entry for entry in walk(source, what="test")}
    target = source.parent / "copy"
    target.mkdir()
    copy(tree, target, check)
    return target


@pytest.fixture
def holes(tmp_path: Path) -> Path:
    """A folder with a file that has holes before, between and behind its content."""
    (tmp_path / "one").mkdir()
    with (tmp_path / "one/sparse").open("wb") as file:
        for position in (8 << 20, 24 << 20):
            file.seek(position)
            file.write(PATTERN)
        file.truncate(64 << 20)
    return tmp_path / "one"


def test_holes_stay_holes(holes: Path) -> None:
    target = copied(holes)
    before, after = (holes / "sparse").stat(), (target / "sparse").stat()
    assert after.st_size == before.st_size
    assert after.st_blocks <= before.st_blocks + 64, "or as many as the file system makes of the original"
    assert digest_of(target) == digest_of(holes)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP])
def test_without_the_kernels_help_copies_are_the_same(
    holes: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def cannot(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", cannot)
    assert digest_of(copied(holes)) == digest_of(holes)


def test_a_full_disk_is_no_reason_to_try_otherwise(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        copied(folder)


class Enough(Exception):
    pass


def after(count: int) -> Callable[[], None]:
    """A check that raises when it is made once more than so often."""
    left = iter(range(count))

    def check() -> None:
        if next(left, None) is None:
            raise Enough

    return check


def test_a_copy_ends_in_the_middle_of_a_file_when_it_is_to_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.builders.tree._STEP", 1 << 16)
    (folder / "a").write_bytes(PATTERN)  # the first file, of 16 steps
    with pytest.raises(Enough):
        copied(folder, after(8))
    assert [path.name for path in (folder.parent / "copy").iterdir()] == ["a"]


def test_a_digest_ends_in_the_middle_of_a_file_when_it_is_to_end(folder: Path) -> None:
    (folder / "a").write_bytes(PATTERN)
    tree = {entry.path: entry for entry in walk(folder, what="test")}
    with pytest.raises(Enough):
        digest(tree, after(2))


@pytest.mark.parametrize("swap", [os.mkfifo, lambda path: os.symlink("d/b", path)], ids=["a pipe", "a link"])
def test_what_takes_a_files_place_meanwhile_is_neither_waited_for_nor_followed(
    folder: Path, swap: Callable[[Path], None]
) -> None:
    tree = {entry.path: entry for entry in walk(folder, what="test")}
    (folder / "a").unlink()
    swap(folder / "a")
    target = folder.parent / "copy"
    target.mkdir()
    try:
        copy(tree, target)
    except OSError as error:
        assert error.errno == errno.ELOOP
    else:
        assert (target / "a").read_bytes() == b""
