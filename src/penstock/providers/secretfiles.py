"""Secrets of the node-local providers: one private file for each, in a private directory for each namespace.

The local provider calls it with names it has checked. Values leave only towards a replica that is being started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Protocol

from penstock.errors import ProviderUnavailable


class SecretStore(Protocol):
    """Named values by namespace. Absent secrets raise KeyError."""

    def names(self, namespace: str) -> list[str]:
        """Sorted."""

    def read(self, name: str, namespace: str) -> bytes: ...

    def write(self, name: str, namespace: str, value: bytes) -> None: ...

    def remove(self, name: str, namespace: str) -> None: ...

    def remove_namespace(self, namespace: str) -> None: ...


class SecretFiles:
    """Files with mode 0600 under `root/NAMESPACE/NAME`, replaced atomically and synced."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, namespace: str) -> list[str]:
        folder = self._root / namespace
        return (
            sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
        )

    def read(self, name: str, namespace: str) -> bytes:
        try:
            return (self._root / namespace / name).read_bytes()
        except FileNotFoundError:
            raise KeyError(name) from None

    def write(self, name: str, namespace: str, value: bytes) -> None:
        """Raises ProviderUnavailable when the file cannot be written; the value before it then stays."""
        folder = self._root / namespace
        # A leading dot cannot begin a secret's name, so what a crash leaves behind is never taken for one.
        fresh = folder / f".{os.getpid()}.new"
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            fresh.unlink(missing_ok=True)
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(folder / name)
            _sync_directory(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise ProviderUnavailable(f"secret {name} cannot be stored: {error.strerror}") from error

    def remove(self, name: str, namespace: str) -> None:
        try:
            (self._root / namespace / name).unlink()
        except FileNotFoundError:
            raise KeyError(name) from None
        _sync_directory(self._root / namespace)

    def remove_namespace(self, namespace: str) -> None:
        folder = self._root / namespace
        if folder.is_dir():
            shutil.rmtree(folder)


def _sync_directory(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
