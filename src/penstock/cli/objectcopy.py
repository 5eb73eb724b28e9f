"""Copies of files and objects in either direction: one, or all below a folder or a prefix, some at a time.

Used by `penstock storage cp`. Files appear under their names only when they are complete; so do objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import os
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.cli.output import printable
from penstock.cli.requestbody import pipe_blocks
from penstock.errors import InvalidInput, PenstockError
from penstock.storage.attributes import kept
from penstock.storage.objects import ObjectStore
from penstock.storage.reference import Location, ObjectRef, check_key, parse_location, parse_reference, shown
from penstock.storage.upload import Stored

PIECE = 1 << 20
"""Bytes read from a file at a time."""

LARGE = 8 << 20
"""Bytes from which a copy has a bar on a terminal: below it is over before one could look."""

STREAM = "-"
"""Stands for stdin as a source and for stdout as a target."""

Moved = Callable[[int], None]
"""Told of the bytes that have gone through."""


@dataclass(frozen=True)
class Wish:
    """What all copies of one command are told."""

    content_type: str = ""
    """Of new objects; empty: by the ending of the file's name, or that of the source where it is an object. Printable ASCII."""
    replace: bool = True

    def __post_init__(self) -> None:
        """Raises InvalidInput for a type that no store could give back."""
        if not (self.content_type.isascii() and self.content_type.isprintable()):
            raise InvalidInput(f"--content-type: {shown(self.content_type)} is not printable ASCII, such as image/png")


@dataclass(frozen=True)
class Copy:
    """One file or object to another. Text is a path, or `-`."""

    source: ObjectRef | str
    target: ObjectRef | str

    def __str__(self) -> str:
        return f"{printable(str(self.source))} -> {printable(str(self.target))}"


@dataclass(frozen=True)
class Copied:
    """What has become of a copy; `etag` is empty for files."""

    copy: Copy
    size: int
    etag: str = ""


def is_object(text: str) -> bool:
    """Whether an argument means the store and not a file."""
    return text.startswith("s3://")


def single(source: str, target: str) -> Copy:
    """One copy, as typed: a target that ends in `/`, or is a folder, takes the source's own name. Raises InvalidInput."""
    if not is_object(source) and not is_object(target):
        raise InvalidInput("one of the two must be an object, such as s3://BUCKET/KEY; cp copies files to files")
    start: ObjectRef | str = parse_reference(source) if is_object(source) else source
    name = start.key.rpartition("/")[2] if isinstance(start, ObjectRef) else Path(start).name
    if is_object(target):
        bucket, key = parse_location(target)
        if not key or key.endswith("/"):
            if source == STREAM:
                raise InvalidInput(f"{target} names no object: what comes from stdin has no name of its own")
            key += name
        check_key(key)
        return Copy(start, ObjectRef(bucket, key))
    if target != STREAM and (target.endswith("/") or Path(target).is_dir()):
        target = str(Path(target) / name)
    return Copy(start, target)


async def several(store: ObjectStore, source: str, target: str) -> AsyncIterator[Copy | PenstockError]:
    """All copies of a folder or a prefix, and a fault for each object that cannot be a file. Raises InvalidInput."""
    if STREAM in (source, target) or not (is_object(source) or is_object(target)):
        raise InvalidInput("--recursive copies a folder to s3://BUCKET/PREFIX, or the other way round")
    if not is_object(source):
        for path in _files(Path(source)):
            yield Copy(str(path), _below(target, path.relative_to(source).as_posix()))
        return
    bucket, prefix = _folder(parse_location(source))
    async for item in store.list(bucket, prefix):
        ref, name = ObjectRef(bucket, item.key), item.key.removeprefix(prefix)
        try:
            check_key(item.key)
        except InvalidInput as error:
            # Among these are the empty objects that stand for folders in some tools, which are none.
            if item.size or not item.key.endswith("/"):
                yield error
            continue
        yield Copy(ref, _below(target, name) if is_object(target) else str(Path(target, name)))


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder; without --recursive a single file is copied")
    for path, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(path, name) for name in sorted(names) if Path(path, name).is_file())


def _below(target: str, name: str) -> ObjectRef:
    bucket, prefix = _folder(parse_location(target))
    try:
        name.encode()
    except UnicodeError as error:
        raise InvalidInput(f"the name of the file {name!r} is not UTF-8") from error
    check_key(prefix + name)
    return ObjectRef(bucket, prefix + name)


def _folder(location: Location) -> Location:
    """A prefix that ends where a name does."""
    bucket, prefix = location
    return Location(bucket, prefix if not prefix or prefix.endswith("/") else f"{prefix}/")


class Copier:
    """Makes copies by one store."""

    def __init__(self, store: ObjectStore, wish: Wish) -> None:
        self._store, self._wish = store, wish

    async def copy(self, copy: Copy, moved: Callable[[int | None], Moved]) -> Copied:
        """Make one. `moved` is called with the bytes that there will be, None where nobody knows, and gives whom to tell.

        Raises InvalidInput, the errors of storage and OSError.
        """
        if isinstance(copy.target, ObjectRef):
            stored = await self._upload(copy.source, copy.target, moved)
            return Copied(copy, stored.size, stored.etag)
        assert isinstance(copy.source, ObjectRef)  # noqa: S101 - `single` and `several` see to it
        return Copied(copy, await self._download(copy.source, copy.target, moved))

    async def _upload(self, source: ObjectRef | str, target: ObjectRef, moved: Callable[[int | None], Moved]) -> Stored:
        async with contextlib.AsyncExitStack() as stack:
            size, attributes, pieces = await self._opened(source, stack)
            if self._wish.content_type:
                attributes["Content-Type"] = self._wish.content_type
            upload = await self._store.write(target, attributes, not self._wish.replace)
            await stack.enter_async_context(upload)
            tell = moved(size)
            async for piece in pieces:
                await upload.write(piece)
                tell(len(piece))
            return await upload.finish()

    async def _opened(
        self, source: ObjectRef | str, stack: contextlib.AsyncExitStack
    ) -> tuple[int | None, dict[str, str], AsyncIterator[bytes]]:
        """Size, attributes and pieces of a source."""
        if isinstance(source, ObjectRef):
            stream = await self._store.read(source)
            stack.push_async_callback(stream.aclose)
            return stream.size, kept(stream.attributes.items()), stream
        if source == STREAM:
            return None, {}, pipe_blocks(sys.stdin.fileno())
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        os.set_blocking(descriptor, True)  # only a named pipe without a writer must not keep us from hearing signals
        about, content_type = os.fstat(descriptor), mimetypes.guess_type(source)[0]
        attributes = {"Content-Type": content_type} if content_type else {}
        if stat.S_ISREG(about.st_mode):
            return about.st_size, attributes, _pieces(descriptor)
        return None, attributes, pipe_blocks(descriptor)

    async def _download(self, source: ObjectRef, target: str, moved: Callable[[int | None], Moved]) -> int:
        if not self._wish.replace:
            _check_new(target)
        stream = await self._store.read(source)
        tell = moved(stream.size)
        with _written(target) as descriptor:
            async for piece in stream:
                _write_all(descriptor, piece)
                tell(len(piece))
        return stream.size


def _check_new(target: str) -> None:
    if target != STREAM and os.path.lexists(target):
        raise InvalidInput(f"{printable(target)} exists")


async def _pieces(descriptor: int) -> AsyncIterator[bytes]:
    while piece := os.read(descriptor, PIECE):
        yield piece


@contextmanager
def _written(target: str) -> Iterator[int]:
    """A descriptor for the target; a file gets its name, and replaces what had it, when the block ends well."""
    if target == STREAM:
        sys.stdout.flush()
        yield sys.stdout.fileno()
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a device or a named pipe is written as it is
        with path.open("wb", buffering=0) as file:
            yield file.fileno()
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".penstock-")
    try:
        with os.fdopen(descriptor, "wb"):
            yield descriptor
            os.fchmod(descriptor, 0o666 & ~_umask())
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


async def some_at_a_time(
    work: AsyncIterator[Copy | PenstockError], limit: int, do: Callable[[Copy | PenstockError], asyncio.Future[None]]
) -> None:
    """Begin `do` for what there is, with so many under way at most, until all are through."""
    under_way: set[asyncio.Future[None]] = set()
    try:
        async for item in work:
            if len(under_way) >= limit:
                _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            under_way.add(do(item))
    except BaseException:
        for task in under_way:
            task.cancel()
        raise
    finally:
        await asyncio.gather(*under_way, return_exceptions=True)
