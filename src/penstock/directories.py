"""Private directories, for sockets, credentials and other things that no other user may touch."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from penstock.errors import SettingsError


def private_directory(path: Path) -> None:
    """Make sure that `path` is a directory of ours that nobody else may enter (0700). Raises SettingsError.

    The run directory may lie in /tmp, where another user could have put a directory of that name first.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.stat(path, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            raise SettingsError(f"{path}: is not a directory of its own")
        if status.st_uid != os.getuid():
            raise SettingsError(f"{path}: belongs to another user (uid {status.st_uid})")
        if status.st_mode & 0o077:
            os.chmod(path, 0o700)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be used as a private directory: {error}") from error
