"""The files that a stack of layers makes, known by their headers: nothing in a layer is ever written to this machine's disk.

Called by `interpret`, which must know what a path leads to, and by `layer`. Names with `..` in them are in no tree.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from penstock.builders.imagewriter.image import MOST_BLOB, Layer
from penstock.builders.imagewriter.store import Store
from penstock.errors import BuildFailed

MOST_ENTRIES = 1_000_000
"""Of one layer."""
MOST_HEADER = 1 << 20
"""Bytes of the extended header of one entry, which tarfile reads at once."""
MOST_PARTS = 256
"""Folders above each other; what lies deeper stays in its layer and is in no tree."""
MOST_LINKS = 40
"""Links on one path, as Linux has it."""

_EXTENDED = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Node(msgspec.Struct, frozen=True):
    """What is at a path."""

    kind: Literal["file", "folder", "link", "other"]
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    """Of a link."""
    layer: int = -1
    """Which layer has the content of a file."""
    member: str = ""
    """The file's name there, as it is written."""
    earlier: int = 0
    """How many files before it have the same name there; the last one counts."""


FOLDER = Node("folder")


class Tree:
    """Paths without a slash at the beginning; the root is empty."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._children: dict[str, set[str]] = {"": set()}

    def get(self, path: str) -> Node | None:
        """What is there, links not followed."""
        return FOLDER if path == "" else self._nodes.get(path)

    def put(self, path: str, node: Node) -> None:
        """Replaces what is there, with all below it unless both are folders. Folders above come into being."""
        if path == "":
            return
        parent = path.rpartition("/")[0]
        above = self.get(parent)
        if above is None or above.kind != "folder":
            self.put(parent, FOLDER)
        before = self._nodes.get(path)
        if before is not None and (before.kind, node.kind) != ("folder", "folder"):
            self.remove(path)
        self._nodes[path] = node
        self._children.setdefault(parent, set()).add(path)

    def remove(self, path: str) -> None:
        """With all below it."""
        todo = [path]
        self._children.get(path.rpartition("/")[0], set()).discard(path)
        while todo:
            gone = todo.pop()
            self._nodes.pop(gone, None)
            todo += self._children.pop(gone, ())

    def below(self, path: str) -> Iterator[tuple[str, Node]]:
        """All below a folder, each folder before what is in it, in the order of names."""
        for child in sorted(self._children.get(path, ())):
            yield child, self._nodes[child]
            yield from self.below(child) if child in self._children else ()

    def all(self) -> Iterator[tuple[str, Node]]:
        yield from self._nodes.items()

    def resolve(self, path: str) -> str:
        """Where a path leads when all links on it are followed, never out of the root. Raises BuildFailed for a circle."""
        return self._follow(path, last=True)

    def place(self, path: str) -> str:
        """As `resolve`, but the last part stays what it is: where something new would come to be."""
        return self._follow(path, last=False)

    def _follow(self, path: str, *, last: bool) -> str:
        todo, at, links = path.split("/")[::-1], "", 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            step = f"{at}/{part}" if at else part
            node = self._nodes.get(step)
            if node is None or node.kind != "link" or (not todo and not last):
                at = step
                continue
            links += 1
            if links > MOST_LINKS:
                raise BuildFailed(f"/{path[:200]}: there are more than {MOST_LINKS} links on the way")
            todo += node.target.split("/")[::-1]
            at = "" if node.target.startswith("/") else at
        return at

    def apply(self, number: int, layer: Layer, store: Store) -> None:
        """Lay a layer over it. Raises BuildFailed for one that is damaged or hostile."""
        seen: Counter[str] = Counter()
        for count, (entry, _) in enumerate(members(store.blob(layer.digest), layer)):
            if count == MOST_ENTRIES:
                raise BuildFailed(f"the layer {layer.digest} has more than {MOST_ENTRIES} entries")
            path = normal(entry.name)
            if path is None:
                continue
            parent, _, name = path.rpartition("/")
            if name == _OPAQUE:
                for child in list(self._children.get(parent, ())):
                    self.remove(child)
            elif name.startswith(_WHITEOUT):
                self.remove(f"{parent}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
            else:
                self.put(path, self._node(entry, number, seen))

    def _node(self, entry: tarfile.TarInfo, number: int, seen: Counter[str]) -> Node:
        if entry.islnk():
            return self.get(normal(entry.linkname) or "") or Node("other")
        return counted(node_of(entry, number, entry.name), seen)


def node_of(entry: tarfile.TarInfo, layer: int, member: str) -> Node:
    """An entry of a tar that is no hard link."""
    mode, uid, gid = entry.mode & 0o7777, entry.uid, entry.gid
    if entry.isdir():
        return Node("folder", mode, uid, gid)
    if entry.issym():
        return Node("link", mode, uid, gid, target=entry.linkname)
    if entry.isreg():
        return Node("file", mode, uid, gid, entry.size, layer=layer, member=member)
    return Node("other", mode, uid, gid)


def counted(node: Node, seen: Counter[str]) -> Node:
    """The node, with the number of files of its name before it; `seen` counts those of one layer."""
    if node.kind != "file":
        return node
    seen[node.member] += 1
    return msgspec.structs.replace(node, earlier=seen[node.member] - 1) if seen[node.member] > 1 else node


def normal(name: str) -> str | None:
    """A path as trees have it; None for one that leads out of the root, or too deep."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts or len(parts) > MOST_PARTS else "/".join(parts)


class BoundedInfo(tarfile.TarInfo):
    """An entry of an archive from elsewhere; refuses extended headers that would fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> BoundedInfo:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _EXTENDED and found.size > MOST_HEADER:
            raise BuildFailed(f"an entry has a header of {found.size} bytes")
        return found


class Bounded:
    """Reads what a layer holds, and no more than a layer may hold."""

    def __init__(self, source: BinaryIO | gzip.GzipFile) -> None:
        self._source = source
        self._left = MOST_BLOB

    def read(self, count: int) -> bytes:
        data = self._source.read(count)
        self._left -= len(data)
        if self._left < 0:
            raise BuildFailed(f"unpacks to more than {MOST_BLOB} bytes")
        return data


def members(path: Path, layer: Layer) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """The entries of a layer; the content of each can be read until the next one is asked for. Raises BuildFailed."""
    with reading(path, f"the layer {layer.digest}") as archive:
        for entry in archive:
            yield entry, archive


@contextmanager
def reading(path: Path, what: str) -> Iterator[tarfile.TarFile]:
    """A tar, perhaps packed by gzip, from its beginning to its end. Raises BuildFailed when it is damaged."""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            source = Bounded(gzip.GzipFile(fileobj=file) if packed else file)
            with tarfile.open(fileobj=source, mode="r|", tarinfo=BoundedInfo) as archive:  # type: ignore[call-overload]
                yield archive
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise BuildFailed(f"{what} is damaged: {error}") from error
    except RecursionError as error:
        raise BuildFailed(f"{what} has headers without end") from error
