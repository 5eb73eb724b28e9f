"""What was learned of functions' pauses, in a file, so that it outlives the control process.

`control.process` loads it before the scaler begins and runs `keep` beside it. The scaler takes what is known of a function when it
first sees it. Gateways of one home write the same file: each has learned from the calls of all, so whichever was last is right.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from penstock.core.idle import Pauses
from penstock.providers.clock import Clock

log = logging.getLogger(__name__)

SAVE_EVERY = 300.0
"""Seconds; what was learned in the last of them is lost with a process that is killed."""

MISSED_FOR = timedelta(days=30)
"""For how long that of a function is kept which nobody has seen: an engine may be away for a while."""

MOST_BYTES = 64 * 1024 * 1024
"""Of a file: ten thousand functions whose pauses are spread over all bins."""


class Learned(NamedTuple):
    """Of one function, as of its deployment: one of the same name that comes later has pauses of its own."""

    deployed: datetime
    pauses: Pauses


class _Entry(msgspec.Struct, frozen=True):
    deployed: datetime
    seen: date
    """The last day on which there was such a function."""
    pauses: Pauses


class _Document(msgspec.Struct, frozen=True):
    version: Literal[1]
    functions: dict[Annotated[str, msgspec.Meta(min_length=1, max_length=130)], _Entry]
    """By `name.namespace`."""


class LearnedFile:
    """The file at `path`, and what nobody has taken from it yet."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._untaken: dict[str, _Entry] = {}
        self._written = b""
        self._failing = False

    def load(self) -> None:
        """Read it. One that is not ours, or is damaged, is set aside with a warning, and everything is learned anew."""
        try:
            self._written = _read(self._path)
            self._untaken = msgspec.json.decode(self._written, type=_Document).functions
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            self._set_aside(error)

    def take(self, key: str, deployed: datetime) -> Pauses | None:
        """What is known of a function (`name.namespace`) that was deployed at this time; the next time it is not there any more."""
        entry = self._untaken.pop(key, None)
        return entry.pauses if entry and entry.deployed == deployed else None

    async def keep(self, current: Callable[[], Mapping[str, Learned]]) -> None:
        """Save what `current` returns, and what nobody has taken, now and then until cancelled, and once more at the end."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(
            1, "learned"
        ) as writer:  # a single thread: nothing older is written after what is newer
            try:
                while True:
                    await self._clock.sleep(SAVE_EVERY)
                    await loop.run_in_executor(writer, self._save, self._document(current()))
            finally:
                await loop.run_in_executor(writer, self._save, self._document(current()))

    def _document(self, current: Mapping[str, Learned]) -> _Document:
        today = self._clock.now().date()
        missed = {key: entry for key, entry in self._untaken.items() if today - entry.seen <= MISSED_FOR}
        known = {key: _Entry(one.deployed, today, one.pauses) for key, one in current.items() if one.pauses.seen}
        return _Document(1, missed | known)

    def _save(self, document: _Document) -> None:
        """Write it whole or not at all, unless it is there already. What goes wrong is said once, until it works again."""
        content = msgspec.json.encode(document)
        if content == self._written or not (document.functions or self._written):
            return
        try:
            _replace(self._path, content)
        except OSError as error:
            if not self._failing:
                log.warning(
                    "what was learned of functions' pauses cannot be kept in %s: %s", self._path, error.strerror
                )
            self._failing = True
            return
        self._written, self._failing = content, False

    def _set_aside(self, error: Exception) -> None:
        aside = self._path.with_name(f"{self._path.name}.unusable")
        self._written = b""
        kept = f"it is now {aside}"
        try:
            self._path.replace(aside)
        except OSError as failure:
            kept = f"it cannot be set aside: {failure.strerror}"
        log.warning(
            "%s cannot be used, functions' pauses are learned anew (%s): %s", self._path, kept, str(error)[:200]
        )


def _read(path: Path) -> bytes:
    """Raises OSError, and ValueError for what is no file of bearable size."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would be waited for
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no regular file")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    return content


def _replace(path: Path, content: bytes) -> None:
    """Synced, so that a power failure leaves the old or the new one. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
