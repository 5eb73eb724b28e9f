"""Files that are to be copied: found, judged, laid over each other, and known by a digest of what they hold.

`context` makes a build's folder from it; native builds take their identity from it. Nothing here follows a link.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from penstock.errors import InvalidInput

LEFT_OUT = frozenset({".git", "__pycache__"})
"""Folders that no build needs, wherever they are: history, and what Python writes beside sources that are tried out."""


Check = Callable[[], None]
"""Called again and again while something takes long; raises when it is to end."""
_STEP = 16 << 20
"""Bytes that are copied between two checks."""
_PIECE = 1 << 18
"""Bytes that are read at once."""
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY)
"""Errors of file systems that do not copy inside the kernel, or know no holes."""


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


def go_on() -> None:
    """The check of who cannot be cancelled."""


def copy(tree: Tree, folder: Path, check: Check = go_on) -> None:
    """Make the tree's files in an existing folder; the bits of modes are kept, with all of the owner's own, and so are holes.

    Raises OSError, and what `check` raises.
    """
    for entry in tree.values():
        check()
        target = os.path.join(folder, entry.path)
        if entry.kind == "folder":
            os.makedirs(target, exist_ok=True)
            os.chmod(target, entry.mode & 0o777 | 0o700)
        elif entry.kind == "link":
            os.symlink(entry.target, target)
        else:
            _copy_file(entry.source, target, check)
            os.chmod(target, entry.mode & 0o777 | 0o600)


def _copy_file(source: str, target: str, check: Check) -> None:
    """What one file holds, in pieces. What has taken its place since it was seen, such as a link or a pipe, is not followed or
    waited for."""
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(reader).st_size
            os.truncate(writer, size)
            for start, end in _written(reader, size):
                _copy_range(reader, writer, start, end, check)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _written(reader: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has content, which is everywhere but in its holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(reader, end, os.SEEK_DATA)
            end = min(size, os.lseek(reader, start, os.SEEK_HOLE))
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end, or the file is shorter now
                return
            if error.errno not in _CANNOT:
                raise
            start, end = end, size
        if start < end:
            yield start, end


def _copy_range(reader: int, writer: int, start: int, end: int, check: Check) -> None:
    """Inside the kernel, which may share what is the same, where the file systems let it."""
    inside = True
    while start < end:
        check()
        wanted = min(_STEP, end - start)
        if inside:
            try:
                count = os.copy_file_range(reader, writer, wanted, start, start)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                inside = False
                continue
        else:
            count = os.pwrite(writer, os.pread(reader, min(wanted, _PIECE), start), start)
        if count == 0:  # it is shorter now
            return
        start += count


def digest(tree: Tree, check: Check = go_on) -> str:
    """SHA-256, in hexadecimal, of paths, kinds, executable bits and contents.

    Raises InvalidInput for a file that is gone, and what `check` raises.
    """
    total = hashlib.sha256()
    for path in sorted(tree):
        entry = tree[path]
        executable = entry.kind == "file" and bool(entry.mode & 0o100)
        held = _file_digest(entry.source, check) if entry.kind == "file" else os.fsencode(entry.target)
        for part in (os.fsencode(path), entry.kind.encode(), b"x" if executable else b"", held):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _file_digest(path: str, check: Check) -> bytes:
    total = hashlib.sha256()
    piece = memoryview(bytearray(_PIECE))
    try:
        with open(path, "rb", buffering=0, opener=_opened) as file:
            check()
            while count := file.readinto(piece):
                total.update(piece[:count])
                check()
            return total.digest()
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise InvalidInput(f"{path!r} went away while it was read; build again") from error
        raise


def _opened(path: str, flags: int) -> int:
    """Does not wait for a pipe that has taken a file's place."""
    return os.open(path, flags | os.O_NONBLOCK)
