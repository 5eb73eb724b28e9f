"""Copies the bundle that runs this to another directory: `--copy-to` of `penstock.watchdog.__main__`.

What an init container does for a container whose image has no watchdog. The directory may be another user's, such as the root
of a volume, and the copy may have been begun before.
"""

from __future__ import annotations

import contextlib
import os
import sys

from penstock.errors import InvalidInput

MARK = "bundle.json"
"""The file by which a bundle is known (`bundle.write.MARK`); written last, so that a copy that has it is complete."""


def copy_bundle(target: str, executable: str = sys.executable) -> None:
    """Copy it into the directory, which is made when it is missing. Raises InvalidInput where this runs in no bundle, OSError."""
    source = os.path.dirname(os.path.dirname(executable))
    if not os.path.isfile(os.path.join(source, MARK)):
        raise InvalidInput(f"there is no bundle at {source}; start it by the bundle's penstock-watchdog")
    if _is_complete(source, target):
        return
    os.makedirs(target, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(target, MARK))
    _copy_folder(source, target)
    _copy_file(os.path.join(source, MARK), os.path.join(target, MARK), 0o644)


def _is_complete(source: str, target: str) -> bool:
    """A container that is started again finds what it did before."""
    try:
        with open(os.path.join(source, MARK), "rb") as ours, open(os.path.join(target, MARK), "rb") as theirs:
            return ours.read() == theirs.read()
    except FileNotFoundError:
        return False


def _copy_folder(source: str, target: str) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            place = os.path.join(target, entry.name)
            if entry.is_symlink():
                _link(os.readlink(entry.path), place)
            elif entry.is_dir():
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place, 0o755)
                _copy_folder(entry.path, place)
            elif entry.name != MARK:
                _copy_file(entry.path, place, entry.stat().st_mode & 0o777)


def _copy_file(source: str, target: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(target, flags, mode)
        try:
            os.fchmod(writing, mode)  # whatever the umask
            while os.sendfile(writing, reading, None, 1 << 30):
                pass
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _link(text: str, place: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place)
    os.symlink(text, place)
