"""Output in memory and on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.watchdog import spool
from penstock.watchdog.spool import MEMORY_MOST, Spool


def test_small_output_stays_in_memory(tmp_path: Path) -> None:
    output = Spool(str(tmp_path))
    output.feed(b"a")
    output.feed(b"bc")
    assert (output.size, output.whole(), output.head(2), output.on_disk) == (3, b"abc", b"ab", False)


def test_large_output_goes_to_a_file_without_a_name(tmp_path: Path) -> None:
    output = Spool(str(tmp_path))
    output.feed(b"x" * MEMORY_MOST)
    output.feed(b"end")
    assert output.on_disk
    assert not list(tmp_path.iterdir())
    fd = output.take_file()
    assert os.pread(fd, 10, MEMORY_MOST) == b"end"
    os.close(fd)


def test_a_file_system_without_nameless_files_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT)
    fd = spool._unlinked_file(str(tmp_path))
    assert not list(tmp_path.iterdir())
    os.close(fd)


def test_a_directory_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    output = Spool(str(tmp_path / "missing"))
    with pytest.raises(OSError, match="No such file"):
        output.feed(bytes(MEMORY_MOST + 1))
