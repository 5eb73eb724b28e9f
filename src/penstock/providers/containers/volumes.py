"""Tar archives by which files get into containers that do not run yet: secrets, and the bundle of the watchdog.

Pure but for reading the bundle's directory. Everything in them is root's and cannot be written by others.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from penstock.watchdog.bundle.write import MARK

_FOLDER, _SECRET = 0o755, 0o444


def archive_of_secrets(secrets: Mapping[str, bytes]) -> bytes:
    """One file for each, which every user in the container may read: which user the program runs as is the image's affair."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, value in sorted(secrets.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(value), _SECRET
            archive.addfile(entry, io.BytesIO(value))
    return data.getvalue()


def archive_of_bundle(directory: Path) -> IO[bytes]:
    """A file without a name that holds the archive, at its beginning. The mark comes last: where it is, all of it is."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        paths = sorted(path for path in directory.rglob("*") if path != directory / MARK)
        for path in [*paths, directory / MARK]:
            archive.add(path, str(path.relative_to(directory)), recursive=False, filter=_roots)
    file.seek(0)
    return file


def _roots(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
