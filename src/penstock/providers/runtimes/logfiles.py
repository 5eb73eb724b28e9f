"""Reads, follows and tidies the log files that replicas write (see `logwriter`).

Called by the process runtime in the control process. Files stay when their replica is gone, the last few of each function,
until the function is deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Container, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from penstock.model import LogLine, LogQuery
from penstock.providers.loglines import matches, select

_SUFFIX = ".log"
_BLOCK = 64 << 10
_FOLLOW_PAUSE = 0.15
"""Seconds between looks for new lines; following is for people, who do not see the difference to less."""
_KEEP_ENDED = 5
"""Files of replicas that are gone, for each function: enough to see why something crashed."""


class LogFiles:
    """All log files below one directory: `NAMESPACE/FUNCTION/REPLICA.log`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def directory(self, name: str, namespace: str) -> Path:
        return self._root / namespace / name

    async def lines(self, query: LogQuery, deployed: Callable[[], bool]) -> AsyncGenerator[LogLine, None]:
        """What is kept, by time; then, with `follow`, what is added until the function is gone."""
        follower = _Follower(self.directory(query.name, query.namespace), query) if query.follow else None
        for line in await asyncio.to_thread(self._kept, query):
            yield line
        while follower and deployed():
            for line in await asyncio.to_thread(follower.poll):
                yield line
            await asyncio.sleep(_FOLLOW_PAUSE)
        if follower:
            follower.close()

    def last_line(self, name: str, namespace: str, replica: str, since: datetime | None = None) -> str:
        """The last thing a replica wrote to stderr since it was started; empty when it wrote nothing."""
        path = self.directory(name, namespace) / (replica + _SUFFIX)
        for raw in reversed(_last_lines(path, 20)):
            stamp, _, rest = raw.partition(b" ")
            stream, _, text = rest.partition(b" ")
            if since and (when := _time_of(stamp)) and when < since:
                break
            if stream == b"stderr" and text.strip():
                return text.decode("utf-8", "replace")
        return ""

    def forget(self, name: str, namespace: str, keep: Iterable[str] = ()) -> None:
        """Remove the files of all replicas but `keep`, and the directory once it is empty."""
        kept = set(keep)
        folder = self.directory(name, namespace)
        for path in _files(folder):
            if _replica_of(path) not in kept:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or somebody still writes
            folder.rmdir()

    def prune(self, name: str, namespace: str, live: Container[str]) -> None:
        """Keep the files of live replicas and of the last few that ended."""
        ended: dict[str, float] = {}
        for path in _files(self.directory(name, namespace)):
            replica = _replica_of(path)
            if replica not in live:
                with contextlib.suppress(FileNotFoundError):  # the function has just been deleted
                    ended[replica] = max(path.stat().st_mtime, ended.get(replica, 0.0))
        for replica in sorted(ended, key=lambda replica: ended[replica])[:-_KEEP_ENDED]:
            for suffix in (_SUFFIX, _SUFFIX + ".1"):
                (self.directory(name, namespace) / (replica + suffix)).unlink(missing_ok=True)

    def _kept(self, query: LogQuery) -> list[LogLine]:
        found: list[LogLine] = []
        for replica, paths in _by_replica(self.directory(query.name, query.namespace)).items():
            if query.instance in ("", replica):
                found += self._of_replica(query, replica, paths)
        return select(query, found)

    def _of_replica(self, query: LogQuery, replica: str, paths: list[Path]) -> Iterator[LogLine]:
        """Newest file last. With `tail` no more than that many lines of each file can be wanted."""
        for path in paths:
            raw = _last_lines(path, query.tail) if query.tail > 0 else _all_lines(path)
            yield from filter(None, (_parse(query, replica, line) for line in raw))


class _Follower:
    """Reads what is appended to a function's files from its creation on, through rotations and new replicas."""

    def __init__(self, folder: Path, query: LogQuery) -> None:
        self._folder = folder
        self._query = query
        self._open: dict[str, tuple[int, bytes]] = {}
        for path in _files(folder):
            if path.suffix == _SUFFIX and (fd := _open(path)) >= 0:
                os.lseek(fd, 0, os.SEEK_END)
                self._open[_replica_of(path)] = (fd, b"")

    def poll(self) -> list[LogLine]:
        """New lines since the last call, by time."""
        paths = {_replica_of(path): path for path in _files(self._folder) if path.suffix == _SUFFIX}
        found: list[LogLine] = []
        for replica in {**self._open, **paths}:
            found += self._read(replica)
            path = paths.get(replica)
            if path is None or self._is_current(replica, path):
                continue
            self._replace(replica, path)
            found += self._read(replica)
        return sorted((line for line in found if matches(self._query, line)), key=lambda line: line.timestamp)

    def close(self) -> None:
        for fd, _ in self._open.values():
            os.close(fd)
        self._open.clear()

    def _read(self, replica: str) -> Iterator[LogLine]:
        if replica not in self._open:
            return
        fd, partial = self._open[replica]
        while data := os.read(fd, _BLOCK):
            *lines, partial = (partial + data).split(b"\n")
            self._open[replica] = (fd, partial)
            yield from filter(None, (_parse(self._query, replica, line) for line in lines))

    def _is_current(self, replica: str, path: Path) -> bool:
        if replica not in self._open:
            return False
        try:
            return os.fstat(self._open[replica][0]).st_ino == path.stat().st_ino
        except FileNotFoundError:
            return True

    def _replace(self, replica: str, path: Path) -> None:
        old = self._open.pop(replica, None)
        if old:
            os.close(old[0])
        fd = _open(path)
        if fd >= 0:
            self._open[replica] = (fd, b"")


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith((_SUFFIX, _SUFFIX + ".1")))
    except FileNotFoundError:
        return []


def _by_replica(folder: Path) -> dict[str, list[Path]]:
    """Files by replica, the older one first."""
    found: dict[str, list[Path]] = {}
    for path in sorted(_files(folder), key=lambda path: path.suffix == _SUFFIX):
        found.setdefault(_replica_of(path), []).append(path)
    return found


def _replica_of(path: Path) -> str:
    return path.name.partition(_SUFFIX)[0]


def _open(path: Path) -> int:
    """A descriptor, or -1 for a file that has just been rotated away."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _all_lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _last_lines(path: Path, count: int) -> list[bytes]:
    """The last `count` lines, read from the end in blocks."""
    try:
        with path.open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            data = b""
            while position and data.count(b"\n") <= count:
                step = min(_BLOCK, position)
                position -= step
                file.seek(position)
                data = file.read(step) + data
    except FileNotFoundError:
        return []
    return data.split(b"\n")[:-1][-count:]


def _parse(query: LogQuery, replica: str, raw: bytes) -> LogLine | None:
    """None for what is no line of ours, as a disk that was full may leave behind."""
    stamp, _, rest = raw.partition(b" ")
    when = _time_of(stamp)
    if when is None:
        return None
    text = rest.partition(b" ")[2].decode("utf-8", "replace")
    return LogLine(name=query.name, namespace=query.namespace, instance=replica, timestamp=when, text=text)


def _time_of(stamp: bytes) -> datetime | None:
    """Microseconds are kept of the nanoseconds written."""
    try:
        return datetime.fromisoformat(stamp[:26].decode() + "+00:00")
    except (ValueError, UnicodeDecodeError):
        return None
