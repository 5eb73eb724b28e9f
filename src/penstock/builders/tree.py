"""Files that are to be copied: found, judged, laid over each other, and known by a digest of what they hold.

`context` makes a build's folder from it; native builds take their identity from it. Nothing here follows a link.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from penstock.errors import InvalidInput

LEFT_OUT = frozenset({".git", "__pycache__"})
"""Folders that no build needs, wherever they are: history, and what Python writes beside sources that are tried out."""


class Entry(msgspec.Struct, frozen=True):
    """One file, folder or link."""

    path: str
    """Its place in the result, relative, with slashes."""
    source: str
    kind: Literal["file", "folder", "link"]
    mode: int = 0o644
    """Permission bits."""
    target: str = ""
    """Of a link, as it is written."""


Tree = dict[str, Entry]
"""Entries by their paths, each folder before what is in it."""


def walk(root: Path, *, what: str, skip: Collection[str] = (), keep_out: Path | None = None) -> Iterator[Entry]:
    """What is below `root`, in the order of the names; `skip` are folders directly below it that are left out.

    Raises InvalidInput, beginning with `what`, for links that lead out of `root`, for anything but files, folders and links,
    and when `keep_out`, the place where the copy will be, lies inside.
    """
    real = os.path.realpath(root)
    forbidden = os.path.realpath(keep_out) if keep_out is not None else ""
    if forbidden and (real == forbidden or real.startswith(forbidden + os.sep)):
        raise InvalidInput(f"{what}: {str(root)!r} lies inside {str(keep_out)!r}, which the build makes anew")
    yield from _below(real, real, "", _Rules(what, LEFT_OUT | set(skip), forbidden))


class _Rules(msgspec.Struct, frozen=True):
    what: str
    skip: Collection[str]
    forbidden: str


def _below(root: str, folder: str, prefix: str, rules: _Rules) -> Iterator[Entry]:
    skip = rules.skip if not prefix else LEFT_OUT
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        path = prefix + item.name
        if item.is_symlink():
            yield _link(root, item, path, rules.what)
        elif item.is_dir():
            if item.name in skip:
                continue
            if item.path == rules.forbidden:
                raise InvalidInput(
                    f"{rules.what}: {root!r} holds {item.path!r}, where the build goes: it would be copied into itself"
                )
            yield Entry(path, item.path, "folder", stat.S_IMODE(item.stat().st_mode))
            yield from _below(root, item.path, path + "/", rules)
        elif item.is_file():
            yield Entry(path, item.path, "file", stat.S_IMODE(item.stat().st_mode))
        else:
            raise InvalidInput(f"{rules.what}: {item.path!r} is neither a file nor a folder nor a link; take it away")


def _link(root: str, item: os.DirEntry[str], path: str, what: str) -> Entry:
    target = os.readlink(item.path)
    real = os.path.realpath(item.path)
    if os.path.isabs(target) or not (real == root or real.startswith(root + os.sep)):
        raise InvalidInput(
            f"{what}: the link {item.path!r} leads to {target!r}, outside {root!r}; only relative links to what is inside are kept"
        )
    return Entry(path, item.path, "link", target=target)


def file_entry(source: Path, path: str) -> Entry:
    """A single file under another path."""
    return Entry(path, str(source), "file", stat.S_IMODE(source.stat().st_mode))


def overlay(tree: Tree, prefix: str, entries: Iterator[Entry]) -> None:
    """Lay entries over a tree, below the folder `prefix`; what they replace is gone, with all that was in it."""
    _folders(tree, prefix)
    for entry in entries:
        path = f"{prefix}/{entry.path}" if prefix else entry.path
        before = tree.get(path)
        if before is not None and before.kind != entry.kind:
            for gone in [other for other in tree if other.startswith(path + "/")]:
                del tree[gone]
            del tree[path]
        tree[path] = Entry(path, entry.source, entry.kind, entry.mode, entry.target)


def _folders(tree: Tree, path: str) -> None:
    """The folder `path` and those above it, where the tree does not have them; a file in their place has to go."""
    parts = path.split("/") if path else []
    for depth in range(1, len(parts) + 1):
        folder = "/".join(parts[:depth])
        if folder not in tree or tree[folder].kind != "folder":
            tree.pop(folder, None)
            tree[folder] = Entry(folder, "", "folder", 0o755)


def place(tree: Tree, path: str, entry: Entry) -> None:
    """Put a single entry at `path`."""
    parent, _, name = path.rpartition("/")
    overlay(tree, parent, iter([Entry(name, entry.source, entry.kind, entry.mode, entry.target)]))


def copy(tree: Tree, folder: Path) -> None:
    """Make the tree's files in an existing folder; the bits of modes are kept, with all of the owner's own. Raises OSError."""
    for entry in tree.values():
        target = os.path.join(folder, entry.path)
        if entry.kind == "folder":
            os.makedirs(target, exist_ok=True)
            os.chmod(target, entry.mode & 0o777 | 0o700)
        elif entry.kind == "link":
            os.symlink(entry.target, target)
        else:
            shutil.copyfile(entry.source, target, follow_symlinks=False)
            os.chmod(target, entry.mode & 0o777 | 0o600)


def digest(tree: Tree) -> str:
    """SHA-256, in hexadecimal, of paths, kinds, executable bits and contents. Raises InvalidInput for a file that is gone."""
    total = hashlib.sha256()
    for path in sorted(tree):
        entry = tree[path]
        executable = entry.kind == "file" and bool(entry.mode & 0o100)
        held = _file_digest(entry.source) if entry.kind == "file" else os.fsencode(entry.target)
        for part in (os.fsencode(path), entry.kind.encode(), b"x" if executable else b"", held):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _file_digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise InvalidInput(f"{path!r} went away while it was read; build again") from error
        raise
