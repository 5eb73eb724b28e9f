"""Where native builds are kept: folders named by a digest of all that went into them, never changed once they are complete.

    <root>/<function>/<digest>/     a build; functions that are deployed run from here
    <root>/.shared/<kind>/<digest>/ what several builds use: virtual environments, node_modules
    <root>/.deployed/, .latest/     which builds run somewhere, and which were the last; see `deployed` and `latest`

A folder is made in its place, since programs write its path into it, and is complete when its record has been written, last
and in one step. Who finds one without takes it away, and first ends the programs of who was killed over it, as a note beside it
says. A lock for each function and each shared folder keeps other processes out meanwhile; the kernel releases it however its
holder ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from penstock.builders.native.deployed import Deployed
from penstock.builders.program import end_orphans
from penstock.errors import BuildFailed
from penstock.providers.runtimes import processes

KEEP = 3
"""Builds of one function that stay in any case; those that are deployed stay as well."""
UNUSED = 86_400.0
"""Seconds until a shared folder that no build refers to is taken away."""
_RECORD = ".penstock-build.json"
_LOCK = ".lock"
_TEMPORARY = ".tmp-"
_NOTE = ".made-"
_MARK = re.compile(r"build-[0-9a-f]{32}")
"""Nothing shorter, by which others could be meant."""
_SHARED = ".shared"
_POLL = 0.05
"""Seconds between two tries to get a lock: a wait inside the kernel could not be cancelled."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is written into a complete folder."""

    fprocess: str = ""
    environment: dict[str, str] = {}
    uses: tuple[str, ...] = ()
    """Shared folders, absolute."""
    needs: tuple[str, ...] = ()
    """What was in the folder when it was complete, relative; without it somebody has been at it since."""
    leads: tuple[str, ...] = ()
    """Links, relative, that must lead somewhere: what they lead to is not ours, such as an interpreter."""


def builds_root(environ: Mapping[str, str]) -> Path:
    """`$PENSTOCK_BUILDS`, else `builds` in the home of `penstock serve`."""
    given = environ.get("PENSTOCK_BUILDS")
    home = Path(environ.get("PENSTOCK_HOME") or "~/.penstock").expanduser()
    return Path(given).expanduser().absolute() if given else home.absolute() / "builds"


class Maker(msgspec.Struct, frozen=True):
    """Who is making a folder, as it is noted beside it."""

    mark: str
    """Of the programs that it starts."""
    pid: int
    started: int


class Store:
    """The folders below one root. Safe for any number of threads and processes. `mark` is that of the programs which fill them."""

    def __init__(self, root: Path, mark: str = "") -> None:
        self.root = root
        self._mark = mark

    def function(self, name: str) -> Path:
        return self.root / name

    def shared(self, kind: str) -> Path:
        return self.root / _SHARED / kind

    def find(self, parent: Path, digest: str) -> tuple[Path, Record] | None:
        """The newest complete folder of that digest, with its record. One from which something has been taken is none."""
        for folder in _newest_first(parent, digest):
            record = read_record(folder)
            if record is not None and _whole(folder, record) and all(_shared_whole(used) for used in record.uses):
                return folder, record
        return None

    @contextlib.contextmanager
    def locked(self, parent: Path, waiting: Callable[[], None], digest: str = "") -> Iterator[None]:
        """Hold the lock of a function, or of one shared folder; `waiting` is called again and again until we have it, and may
        raise. What a build that was killed has left behind is gone then."""
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock_file(parent, digest).open("ab") as file:
            while not _try_lock(file.fileno()):
                waiting()
                time.sleep(_POLL)
            for note in parent.glob(f"{_NOTE}{digest}*"):
                _end_programs(note)
                note.unlink()
            for folder in _folders(parent):
                if folder.name.startswith(digest) and read_record(folder) is None:
                    shutil.rmtree(folder)
            yield

    def make(self, parent: Path, digest: str, fill: Callable[[Path], Record]) -> tuple[Path, Record]:
        """Make a folder; the lock must be held. It lies beside one of that digest, which may be in use, if there is one.

        Whatever `fill` raises leaves nothing behind.
        """
        folder = parent / digest
        if folder.exists():
            folder = parent / f"{digest}-{time.time_ns()}"
        note = parent / f"{_NOTE}{folder.name}"
        try:
            note.write_bytes(msgspec.json.encode(_this_process(self._mark)))
            folder.mkdir(mode=0o700)
            record = fill(folder)
            _write(folder / _RECORD, msgspec.json.encode(record))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            note.unlink(missing_ok=True)
        return folder, record

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """Raises BuildFailed when the disk turns out to be full meanwhile."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise BuildFailed(
                    f"no space is left for builds in {str(self.root)!r}; nothing half built was kept"
                ) from error
            raise

    @contextlib.contextmanager
    def temporary(self, parent: Path) -> Iterator[Path]:
        """A folder for what a build's programs write aside; the lock must be held."""
        folder = parent / f"{_TEMPORARY}{time.time_ns()}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def touch(self, folder: Path) -> None:
        """Note that a build was used, so that it counts as new."""
        os.utime(folder / _RECORD)

    def prune(self, parent: Path) -> None:
        """Keep the newest builds of a function, and those that are deployed; the lock must be held."""
        old = _newest_first(parent, "")[KEEP:]
        if not old:
            return
        with Deployed(self.root).held(parent.name) as held:
            for folder in old:
                if folder.name not in held:
                    shutil.rmtree(folder, ignore_errors=True)

    def prune_shared(self, kind: str, now: float) -> None:
        """Take away shared folders that no build uses, and that are not so new that a build may be about to."""
        used = {path for parent in _folders(self.root) for path in self._uses(parent)}
        for folder in _newest_first(self.shared(kind), ""):
            if str(folder) in used:
                continue
            with contextlib.suppress(FileNotFoundError), _lock_file(folder.parent, folder.name).open("ab") as file:
                if _try_lock(file.fileno()) and now - (folder / _RECORD).stat().st_mtime > UNUSED:
                    shutil.rmtree(folder, ignore_errors=True)

    def _uses(self, parent: Path) -> Iterator[str]:
        if parent.name != _SHARED:
            for folder in _folders(parent):
                record = read_record(folder)
                yield from record.uses if record else ()


def _this_process(mark: str) -> Maker:
    stat = processes.stat_of(os.getpid())
    return Maker(mark, os.getpid(), stat.started if stat else 0)


def _end_programs(note: Path) -> None:
    """End what is left of the programs of a maker that was killed."""
    try:
        maker = msgspec.json.decode(note.read_bytes(), type=Maker)
    except msgspec.MsgspecError:  # it was killed before it had written all, and so before it had started anything
        return
    if _MARK.fullmatch(maker.mark) and not processes.is_running(maker.pid, maker.started):
        end_orphans(maker.mark)


def read_record(folder: Path) -> Record | None:
    """The record of a complete folder; None for any other."""
    try:
        return msgspec.json.decode((folder / _RECORD).read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def content(folder: Path) -> tuple[str, ...]:
    """All that is in a folder, relative, but for what Python writes and deletes as it likes, and names that are no text."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in (*folders, *files)]
    return tuple(sorted(path for path in found if path.isprintable()))


def _whole(folder: Path, record: Record) -> bool:
    there = all(os.path.lexists(folder / path) for path in record.needs)
    return there and all(os.path.exists(folder / path) for path in record.leads)


def _shared_whole(folder: str) -> bool:
    record = read_record(Path(folder))
    return record is not None and _whole(Path(folder), record)


def _lock_file(parent: Path, digest: str) -> Path:
    return parent / (f"{_LOCK}-{digest.partition('-')[0]}" if digest else _LOCK)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, text: bytes) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(text)
    aside.rename(path)


def _folders(parent: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _newest_first(parent: Path, digest: str) -> list[Path]:
    """Complete folders whose name begins so."""
    found = []
    for folder in _folders(parent):
        if folder.name.startswith(digest):
            with contextlib.suppress(FileNotFoundError):  # it is not complete, or has just been taken away
                found.append(((folder / _RECORD).stat().st_mtime_ns, folder))
    return [folder for _, folder in sorted(found, reverse=True)]
