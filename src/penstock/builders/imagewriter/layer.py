"""Writes a layer: a tar whose bytes depend on nothing but its files, packed by gzip on its way into the store."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from penstock.builders.imagewriter.image import Layer
from penstock.builders.imagewriter.store import Store
from penstock.builders.imagewriter.tree import Node

_LEVEL = 6


class LayerWriter:
    """A layer in the making. Made by `writing_layer`."""

    layer: Layer
    """What has become of it; only once it is complete."""

    def __init__(self, archive: tarfile.TarFile, when: int) -> None:
        self._archive = archive
        self._when = when

    def add(self, path: str, node: Node, content: BinaryIO | None = None) -> None:
        """One entry; a file has its content, of exactly the size that the node says."""
        entry = tarfile.TarInfo(path)
        entry.mode, entry.uid, entry.gid, entry.mtime = node.mode, node.uid, node.gid, self._when
        if node.kind == "folder":
            entry.type = tarfile.DIRTYPE
            self._archive.addfile(entry)
        elif node.kind == "link":
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, node.target, 0o777
            self._archive.addfile(entry)
        else:
            entry.size = node.size
            self._archive.addfile(entry, content)


@contextmanager
def writing_layer(store: Store, when: int) -> Iterator[LayerWriter]:
    """Write a layer into the store; `layer` is set when the context is left without an error. Raises OSError."""
    with store.writing() as (file, path):
        packed = _Hashed(file)
        with gzip.GzipFile("", "wb", _LEVEL, fileobj=packed, mtime=0) as zipped:
            plain = _Hashed(zipped)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                writer = LayerWriter(archive, when)
                yield writer
        file.flush()
        digest = f"sha256:{packed.hash.hexdigest()}"
        writer.layer = Layer(digest, packed.count, f"sha256:{plain.hash.hexdigest()}")
        store.keep(path, digest)


class _Hashed(io.RawIOBase):
    """Passes on what is written, and knows its digest."""

    def __init__(self, target: BinaryIO | gzip.GzipFile) -> None:
        self._target = target
        self.hash = hashlib.sha256()
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.hash.update(data)
        self.count += len(data)
        self._target.write(data)
        return len(data)
