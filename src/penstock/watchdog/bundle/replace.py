"""Puts something new where something old may be, in one step: there is never half of it.

Called by `build`, which prepares the new beside the old, on the same file system.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from penstock.errors import InvalidInput
from penstock.watchdog.bundle.write import MARK

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """An empty directory beside the target, gone afterwards. Raises InvalidInput when there is no place for one."""
    if not target.parent.is_dir():
        raise InvalidInput(f"{target}: there is no directory {target.parent}")
    place = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def check_directory(target: Path) -> None:
    """Whether a bundle may be put there. Raises InvalidInput when something else is."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InvalidInput(f"{target} exists and is not a directory")
    if target.is_dir() and any(target.iterdir()) and not (target / MARK).is_file():
        raise InvalidInput(
            f"{target} is neither empty nor an earlier bundle (it has no {MARK}); choose another directory"
        )


def check_file(target: Path) -> None:
    """Whether an image may be written there. Raises InvalidInput when something else than a file is."""
    if target.exists() and not target.is_file():
        raise InvalidInput(f"{target} exists and is not a file")


def put_directory(new: Path, target: Path) -> None:
    """Move the directory to its place; what was there goes to where the new one was. Raises OSError."""
    if not target.exists() or not any(target.iterdir()):
        new.rename(target)
        return
    if not _exchange(new, target):
        old = new.with_name(f"{new.name}.old")
        target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            old.rename(target)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two directories change places (renameat2(2)); False where the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and (
        rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0
    )
