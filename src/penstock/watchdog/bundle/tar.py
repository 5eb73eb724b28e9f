"""Tar files whose bytes depend on nothing but what is in them: the layer of an image, and what an image is packed in.

Called by `archive` and by those who make images. Everything is as old as it is told to be; owners are numbers without names.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Folder:
    """An empty directory of an image, or one whose owner or mode is not the usual one."""

    name: str
    """Without the slash at the beginning."""
    mode: int = 0o755
    owner: int = 0
    group: int = 0


class Writer:
    """A tar file in the making, which can be left as a context."""

    def __init__(self, file: Path, when: int) -> None:
        self._archive = tarfile.open(file, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by `__exit__`
        self._when = when
        self._seen: dict[tuple[int, int], str] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def folder(self, folder: Folder) -> None:
        entry = self._entry(folder.name, tarfile.DIRTYPE, folder.mode)
        entry.uid, entry.gid = folder.owner, folder.group
        self._archive.addfile(entry)

    def data(self, name: str, data: bytes) -> None:
        entry = self._entry(name, tarfile.REGTYPE, 0o644)
        entry.size = len(data)
        self._archive.addfile(entry, io.BytesIO(data))

    def file(self, name: str, path: Path) -> None:
        """A copy of the file, readable by all whatever it is here."""
        entry = self._entry(name, tarfile.REGTYPE, 0o644)
        entry.size = path.stat().st_size
        with open(path, "rb") as opened:
            self._archive.addfile(entry, opened)

    def tree(self, name: str, folder: Path) -> None:
        """The directory's content below the name, in the order of names, whatever order the file system has."""
        for path in sorted(folder.rglob("*")):
            self._path(f"{name}/{path.relative_to(folder)}".lstrip("/"), path)

    def _path(self, name: str, path: Path) -> None:
        status = path.lstat()
        if path.is_symlink():
            link = self._entry(name, tarfile.SYMTYPE, 0o777)
            link.linkname = str(path.readlink())
            self._archive.addfile(link)
        elif path.is_dir():
            self.folder(Folder(name))
        elif (status.st_dev, status.st_ino) in self._seen:
            again = self._entry(name, tarfile.LNKTYPE, status.st_mode & 0o777)
            again.linkname = self._seen[status.st_dev, status.st_ino]
            self._archive.addfile(again)
        else:
            self._seen[status.st_dev, status.st_ino] = name
            entry = self._entry(name, tarfile.REGTYPE, status.st_mode & 0o777)
            entry.size = status.st_size
            with open(path, "rb") as opened:
                self._archive.addfile(entry, opened)

    def _entry(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.mtime = kind, mode, self._when
        return entry


def write_layer(file: Path, when: int, trees: Mapping[str, Path], folders: Iterable[Folder]) -> None:
    """Write a layer with each tree below its name (`""` is the root), and the folders behind them. Raises OSError."""
    with Writer(file, when) as layer:
        for name, tree in trees.items():
            if name:
                layer.folder(Folder(name))
            layer.tree(name, tree)
        for folder in folders:
            layer.folder(folder)
