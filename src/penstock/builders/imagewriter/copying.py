"""COPY and ADD: which files go where, and the layer that comes of it.

Called by `interpret`. Sources are a context's folder, or the tree of another stage or image; what lies in layers is read as data
and never written to this machine's disk.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from penstock.builders.imagewriter.dockerfile import Instruction
from penstock.builders.imagewriter.ignore import Ignore, glob, has_wildcard
from penstock.builders.imagewriter.image import Layer
from penstock.builders.imagewriter.layer import LayerWriter, writing_layer
from penstock.builders.imagewriter.store import Store
from penstock.builders.imagewriter.tree import FOLDER, MOST_ENTRIES, Node, Tree, counted, members, node_of, normal
from penstock.errors import BuildFailed

_ARCHIVES = ((b"\x1f\x8b", 0), (b"BZh", 0), (b"\xfd7zXZ\x00", 0), (b"ustar", 257))
"""Beginnings of what ADD unpacks, and where they are (Dockerfile reference, ADD)."""

_Place = tuple[str, int]
"""A file's name in a layer, and how many before it have the same."""


class Source(Protocol):
    """Where files come from."""

    def find(self, path: str) -> Node | None:
        """What is at a path, a link at its end followed."""
        ...

    def below(self, path: str) -> Iterator[tuple[str, Node]]:
        """All below a folder, relative to the source, each folder first."""
        ...

    def contents(self, wanted: dict[str, list[str]]) -> Iterator[tuple[str, BinaryIO]]:
        """Targets with their contents, in an order that is always the same; `wanted` are the targets of each path."""
        ...

    @property
    def identity(self) -> tuple[str, ...]:
        """What the content of all files depends on, where that is known without reading them; else empty."""
        ...


class Context:
    """The folder of a build, without what .dockerignore leaves out."""

    def __init__(self, folder: Path) -> None:
        """Raises InvalidInput for a .dockerignore that means nothing."""
        self.folder = folder
        self._root = os.path.realpath(folder)
        listed = folder / ".dockerignore"
        self._ignore = Ignore(listed.read_text(errors="replace") if listed.is_file() else "")

    def find(self, path: str) -> Node | None:
        if path and self._ignore.leaves_out(path):
            return None
        real = os.path.realpath(self.folder / path)
        if real != self._root and not real.startswith(self._root + os.sep):
            return None
        return _node(real) if os.path.exists(real) else None

    def below(self, path: str) -> Iterator[tuple[str, Node]]:
        for item in sorted(os.scandir(self.folder / path), key=lambda item: item.name):
            child = f"{path}/{item.name}" if path else item.name
            folder = item.is_dir(follow_symlinks=False)
            inside = list(self.below(child)) if folder else []
            if inside or not self._ignore.leaves_out(child):
                yield child, _node(item.path)
            yield from inside

    @property
    def identity(self) -> tuple[str, ...]:
        return ()

    def contents(self, wanted: dict[str, list[str]]) -> Iterator[tuple[str, BinaryIO]]:
        for path in sorted(wanted):
            for target in wanted[path]:
                with open(self.folder / path, "rb") as file:
                    yield target, file


class Files:
    """The tree of a stage or an image."""

    def __init__(self, tree: Tree, layers: tuple[Layer, ...], store: Store) -> None:
        self._tree = tree
        self._layers = layers
        self._store = store

    def find(self, path: str) -> Node | None:
        return self._tree.get(self._tree.resolve(path))

    def below(self, path: str) -> Iterator[tuple[str, Node]]:
        real = self._tree.resolve(path)
        for child, node in self._tree.below(real):
            yield posixpath.join(path, child[len(real) :].lstrip("/")), node

    def contents(self, wanted: dict[str, list[str]]) -> Iterator[tuple[str, BinaryIO]]:
        places: dict[int, dict[_Place, list[str]]] = {}
        for path, targets in wanted.items():
            node = self.find(path)
            if node is None:
                raise BuildFailed(f"/{path} went away while it was copied")
            places.setdefault(node.layer, {}).setdefault((node.member, node.earlier), []).extend(targets)
        for number in sorted(places):
            yield from self._of_layer(self._layers[number], places[number])

    @property
    def identity(self) -> tuple[str, ...]:
        return tuple(layer.digest for layer in self._layers)

    def _of_layer(self, layer: Layer, wanted: dict[_Place, list[str]]) -> Iterator[tuple[str, BinaryIO]]:
        seen: Counter[str] = Counter()
        for entry, archive in members(self._store.blob(layer.digest), layer):
            if not entry.isreg():
                continue
            targets = wanted.pop((entry.name, seen[entry.name]), ())
            seen[entry.name] += 1
            if len(targets) == 1:
                yield targets[0], _opened(archive, entry)
            elif targets:
                yield from _several(targets, archive, entry)
        if wanted:
            raise BuildFailed(f"the layer {layer.digest} has lost {next(iter(wanted))[0]!r}")


def _several(targets: list[str], archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[tuple[str, BinaryIO]]:
    with tempfile.TemporaryFile() as kept:
        opened = _opened(archive, entry)
        while data := opened.read(1 << 20):
            kept.write(data)
        for target in targets:
            kept.seek(0)
            yield target, kept


def _opened(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> BinaryIO:
    found = archive.extractfile(entry)
    if found is None:
        raise BuildFailed(f"{entry.name[:200]!r} has no content")
    return found  # type: ignore[return-value]


class Target(msgspec.Struct):
    """The stage that is copied into."""

    tree: Tree
    layers: tuple[Layer, ...]
    workdir: str


class Owner(msgspec.Struct, frozen=True):
    """What --chown and --chmod say; None for what the source says, or root."""

    uid: int = 0
    gid: int = 0
    mode: int | None = None


class Copy:
    """One COPY or ADD that is being carried out."""

    def __init__(self, instruction: Instruction, source: Source, target: Target, owner: Owner) -> None:
        self._fault = instruction.fault
        self._source = source
        self._target = target
        self._owner = owner
        self._entries: dict[str, Node] = {}
        """What the layer will have, by its path."""
        self._wanted: dict[str, list[str]] = {}
        self._archives: list[tuple[Path, str]] = []

    def run(self, sources: list[str], destination: str, store: Store, when: int, *, unpack: bool = False) -> Layer:
        """Find everything and write the layer. Raises InvalidInput for what is not there, or cannot be."""
        found = [match for text in sources for match in self._matches(text)]
        target = posixpath.normpath(posixpath.join("/", self._target.workdir, destination)).lstrip("/")
        target = "" if target == "." else target
        resolved = self._target.tree.resolve(target)
        there = self._target.tree.get(resolved)
        into = destination.endswith("/") or posixpath.basename(destination) in ("", ".", "..")
        into = into or (there is not None and there.kind == "folder")
        if len(sources) > 1 and not into:
            raise self._fault(f"{destination!r} must end with a slash, since several sources go into it")
        for path, node in found:
            self._take(path, node, resolved, into, unpack)
        return self._write(store, when)

    def _take(self, path: str, node: Node, target: str, into: bool, unpack: bool) -> None:
        if node.kind == "folder":
            self._folder(target)
            for child, inner in self._source.below(path):
                below = child[len(path) :].lstrip("/") if path else child
                self._put(posixpath.join(target, below), inner, child)
            return
        if unpack and isinstance(self._source, Context) and _is_archive(self._source.folder / path):
            self._folder(target)
            self._archives.append((self._source.folder / path, target))
            return
        self._put(posixpath.join(target, posixpath.basename(path)) if into else target, node, path)

    def _matches(self, text: str) -> list[tuple[str, Node]]:
        path = posixpath.normpath(posixpath.join("/", text)).lstrip("/")
        path = "" if path == "." else path
        if has_wildcard(text):
            fixed = []
            for part in path.split("/")[:-1]:
                if has_wildcard(part):
                    break
                fixed.append(part)
            start = "/".join(fixed)
            at = self._source.find(start)
            pattern = glob(path, "a source")
            below = self._source.below(start) if at is not None and at.kind == "folder" else iter(())
            found = [(child, self._source.find(child) or node) for child, node in below if pattern.fullmatch(child)]
            if not found:
                raise self._fault(f"nothing in the context fits {text!r}, or .dockerignore leaves it out")
            return found
        node = self._source.find(path)
        if node is None:
            raise self._fault(f"there is no {text!r} in what is copied from, or .dockerignore leaves it out")
        return [(path, node)]

    def _put(self, path: str, node: Node, source: str) -> None:
        if node.kind == "other":
            raise self._fault(f"{source!r} is neither a file nor a folder nor a link")
        if path == "":
            raise self._fault(f"{source!r} cannot take the place of the root")
        place = self._target.tree.place(path)
        there = self._target.tree.get(place)
        if node.kind == "folder":
            self._folder(self._target.tree.resolve(path), node)
            return
        if there is not None and there.kind == "folder":
            raise self._fault(f"{source!r} is a file, and /{place} is a folder")
        self._folder(place.rpartition("/")[0])
        mode = node.mode if self._owner.mode is None else self._owner.mode
        owner, number = self._owner, len(self._target.layers)
        taken = msgspec.structs.replace(
            node, mode=mode, uid=owner.uid, gid=owner.gid, layer=number, member=place, earlier=0
        )
        self._add(place, taken)
        if node.kind == "file":
            for targets in self._wanted.values():
                if place in targets:
                    targets.remove(place)
            self._wanted.setdefault(source, []).append(place)

    def _folder(self, path: str, like: Node = FOLDER) -> None:
        """A folder and those above it. One that is there keeps its owner and mode, which the layer must repeat."""
        if path == "" or path in self._entries:
            return
        there = self._target.tree.get(path)
        if there is not None and there.kind != "folder":
            raise self._fault(f"/{path} is no folder, and something is to be copied into it")
        self._folder(path.rpartition("/")[0])
        mode = like.mode if self._owner.mode is None else self._owner.mode
        self._add(path, there or Node("folder", mode, self._owner.uid, self._owner.gid))

    def _add(self, path: str, node: Node) -> None:
        if len(self._entries) >= MOST_ENTRIES:
            raise self._fault(f"there are more than {MOST_ENTRIES} files")
        self._entries[path] = node
        self._target.tree.put(path, node)

    def _write(self, store: Store, when: int) -> Layer:
        """The layer; one that must come out the same as an earlier one is that one, for packing takes most of the time."""
        wanted = {path: targets for path, targets in self._wanted.items() if targets}
        if not self._source.identity:
            return self._pack(wanted, store, when)
        files = [(path, msgspec.structs.astuple(node)) for path, node in sorted(self._entries.items())]
        key = repr((self._source.identity, files, sorted(wanted.items()), when))
        layer = store.made(key) or self._pack(wanted, store, when)
        store.remember(key, layer)
        return layer

    def _pack(self, wanted: dict[str, list[str]], store: Store, when: int) -> Layer:
        with writing_layer(store, when) as writer:
            seen = Counter(target for targets in wanted.values() for target in targets)
            unpacked = [self._unpack(archive, target, seen) for archive, target in self._archives]
            for path, node in sorted(self._entries.items()):
                if node.kind != "file":
                    writer.add(path, node)
            for target, content in self._source.contents(wanted):
                self._write_file(writer, target, content)
            for entries in unpacked:
                for path, node, opened in entries:
                    writer.add(path, node, opened)
        return writer.layer

    def _write_file(self, writer: LayerWriter, target: str, content: BinaryIO) -> None:
        node = self._entries[target]
        try:
            writer.add(target, node, content)
        except OSError as error:
            if "unexpected end of data" in str(error):
                raise BuildFailed(f"/{target} became shorter while it was read; build again") from error
            raise

    def _unpack(self, archive: Path, target: str, seen: Counter[str]) -> Iterator[tuple[str, Node, BinaryIO | None]]:
        """The entries of an archive of ADD, as they are, below a folder. `seen` counts the files that the layer has already."""
        files: dict[str, tarfile.TarInfo] = {}
        try:
            with contextlib.closing(tarfile.open(archive, "r:*")) as opened:
                for entry in opened:
                    name = normal(entry.name)
                    if name is None or (entry.islnk() and normal(entry.linkname) is None):
                        raise self._fault(f"{archive.name}: {entry.name[:100]!r} leads out of the archive")
                    whole = files.get(normal(entry.linkname) or "", entry) if entry.islnk() else entry
                    if whole.isreg():
                        files[name] = whole
                    if name:
                        yield self._unpacked(opened, whole, posixpath.join(target, name), seen)
        except (tarfile.TarError, EOFError, ValueError, zlib.error) as error:
            raise self._fault(f"{archive.name} is a damaged archive: {error}") from error

    def _unpacked(
        self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str, seen: Counter[str]
    ) -> tuple[str, Node, BinaryIO | None]:
        """`entry` is the file itself where the archive has a hard link to one before it."""
        place = self._target.tree.place(path)
        node = counted(node_of(entry, len(self._target.layers), place), seen)
        if node.kind == "other":
            raise self._fault(f"{entry.name[:100]!r} is neither a file nor a folder nor a link to one that is there")
        content = _opened(archive, entry) if node.kind == "file" else None
        self._target.tree.put(place, node)
        return place, node, content


def _node(path: str) -> Node:
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return Node("link", 0o777, target=os.readlink(path))
    if stat.S_ISDIR(found.st_mode):
        return Node("folder", mode)
    return Node("file", mode, size=found.st_size) if stat.S_ISREG(found.st_mode) else Node("other")


def _is_archive(path: Path) -> bool:
    """Whether ADD unpacks it. Files that are only packed stay as they are."""
    with open(path, "rb") as file:
        head = file.read(512)
    if not any(head[place : place + len(mark)] == mark for mark, place in _ARCHIVES):
        return False
    try:
        with tarfile.open(path, "r:*"):
            return True
    except (tarfile.TarError, EOFError):
        return False


def check_sources(instruction: Instruction, words: list[str]) -> tuple[list[str], str]:
    """Sources and destination. Raises InvalidInput."""
    if len(words) < 2 or not all(words):
        raise instruction.fault("needs at least one source and a destination")
    for word in words[:-1]:
        if instruction.name == "ADD" and ("://" in word or word.startswith("git@")):
            raise instruction.fault(f"{word[:100]!r} lies on the network; put it in the context")
    return words[:-1], words[-1]


def owner_of(instruction: Instruction, chown: str, chmod: str, tree_file: Source) -> Owner:
    """What the flags say; names are looked up in the image's own /etc/passwd and /etc/group. Raises InvalidInput."""
    mode: int | None = None
    if chmod:
        if not (set(chmod) <= set("01234567") and 1 <= len(chmod) <= 5):
            raise instruction.fault(f"--chmod={chmod[:60]!r} must be octal, such as 755")
        mode = int(chmod, 8) & 0o7777
    if not chown:
        return Owner(mode=mode)
    user, _, group = chown.partition(":")
    uid, own_group = _number(instruction, user, tree_file, "etc/passwd")
    gid = _number(instruction, group, tree_file, "etc/group")[0] if group else own_group
    return Owner(uid, gid, mode)


def _number(instruction: Instruction, name: str, source: Source, file: str) -> tuple[int, int]:
    """A user's or a group's number, and the number of the user's own group."""
    if name.isascii() and name.isdigit():
        if int(name[:20]) >= 1 << 32:
            raise instruction.fault(f"--chown: {name[:60]!r} is too large")
        return int(name), int(name)
    node = source.find(file)
    text = ""
    if node is not None and node.kind == "file" and node.size < 1 << 20:
        for _, content in source.contents({file: [file]}):
            text = content.read().decode(errors="replace")
    for line in text.splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 and fields[2].isdigit():
            return int(fields[2]), int(fields[3]) if fields[3].isdigit() else int(fields[2])
    raise instruction.fault(f"--chown: the image's /{file} has no {name[:60]!r}")
