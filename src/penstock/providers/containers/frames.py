"""The log of a container or service, from the engine's bytes to lines: asked for with `timestamps=1`, and `details=1` or not.

The answer is made of frames (a header of eight bytes: stream, length) or, for containers with a terminal, of bare text; which
of them, the first byte tells. Fed with chunks of any size by `logsource`; holds no more than a few MiB whatever it is fed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from penstock.errors import ProviderUnavailable

HEADER = 8
STDOUT, STDERR, TROUBLE = 1, 2, 3
"""Streams. On the third the engine tells what kept it from reading the log; stream 0 is an old name of the first."""
SPLIT = 16 << 10
"""Bytes at which the engine splits a long line; all pieces but the last have at least that many, and no line end."""
LONGEST = 1 << 20
"""Bytes after which a line that goes on becomes several. The same bounds what is held of a frame."""
HELD = 4 << 20
"""Bytes of unfinished lines held together; a service has one for each stream of each task at most."""
_SECOND = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. Times are nanoseconds since 1970, `last` that of its last piece; `attributes` are details as they came."""

    stream: int
    nanos: int
    last: int
    attributes: str
    text: str

    @property
    def timestamp(self) -> datetime:
        """Microseconds are kept."""
        return _EPOCH + timedelta(microseconds=self.nanos // 1000)


def nanos_of(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(microseconds=1) * 1000


@dataclass(slots=True)
class _Line:
    """A line that has not ended yet."""

    nanos: int
    last: int
    text: bytearray = field(default_factory=bytearray)


class Frames:
    """Takes one answer apart. `pieces` counts what the engine counts as a line, by attributes; `troubles` are its own words."""

    def __init__(self, details: bool = False) -> None:
        self.pieces: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.details = details
        self._buffer = bytearray()
        self._raw: bool | None = None
        self._rest = 0
        """Bytes to come of a frame that is too long to be held; its stream and attributes are those of `_current`."""
        self._current: tuple[int, str] = (STDOUT, "")
        self._lines: dict[tuple[int, str], _Line] = {}
        self._nanos = 0
        self._second: tuple[bytes, int] = (b"", 0)

    def feed(self, data: bytes) -> list[Entry]:
        """Lines that end in these bytes. Raises ProviderUnavailable when they are no log."""
        self._buffer += data
        if self._raw is None and self._buffer:
            self._raw = self._buffer[0] > TROUBLE
        found: list[Entry] = []
        if self._raw:
            self._take_raw(found)
        else:
            self._take_frames(found)
        return found

    def end(self) -> list[Entry]:
        """The answer ended: what is left without a line end, of a frame that was cut off too if its time is there."""
        found: list[Entry] = []
        if self._raw and self._buffer:
            self._raw_line(bytes(self._buffer), found)
        elif self._rest:
            self._add(self._current, bytes(self._buffer), found)
        elif self._time(bytes(self._buffer[HEADER:]).partition(b" ")[0]) is not None:
            self._message(self._buffer[0] or STDOUT, bytes(self._buffer[HEADER:]), True, found)
        self._buffer.clear()
        self._finish_all(found)
        return found

    # Frames

    def _take_frames(self, found: list[Entry]) -> None:
        buffer, at = self._buffer, 0
        while True:
            if self._rest:
                wanted = min(self._rest, LONGEST)
                if len(buffer) - at < wanted:
                    break
                self._rest -= wanted
                self._add(self._current, bytes(buffer[at : at + wanted]), found)
                if not self._rest:
                    self._finish(self._current, found)
                at += wanted
                continue
            if len(buffer) - at < HEADER:
                break
            stream, length = self._header(buffer[at : at + HEADER])
            wanted = min(length, LONGEST)
            if len(buffer) - at - HEADER < wanted:
                break
            at += HEADER
            self._rest = length - wanted
            self._message(stream, bytes(buffer[at : at + wanted]), not self._rest, found)
            at += wanted
        del buffer[:at]

    def _header(self, head: bytearray) -> tuple[int, int]:
        if head[0] > TROUBLE or any(head[1:4]):
            raise ProviderUnavailable(
                f"the engine's log cannot be read: {bytes(head).hex()} is no header of a frame; is a proxy in between?"
            )
        return head[0] or STDOUT, int.from_bytes(head[4:], "big")

    def _message(self, stream: int, data: bytes, whole: bool, found: list[Entry]) -> None:
        """A frame, or its beginning: a line or a piece of one."""
        if stream == TROUBLE:
            self._current = (stream, "")
            if len(self.troubles) < 10:
                self.troubles.append(data[:1000].decode("utf-8", "replace").strip())
            return
        attributes, text = self._prefix(data)
        self._current = (stream, attributes)
        self._add(self._current, text, found)
        # The log goes on behind the last words of a process that was started again: those are no piece of the next line.
        if whole and len(text) < SPLIT:
            self._finish(self._current, found)

    # Bare text

    def _take_raw(self, found: list[Entry]) -> None:
        buffer, at = self._buffer, 0
        while True:
            end = buffer.find(b"\n", at, at + LONGEST)
            if end < 0 and len(buffer) - at < LONGEST:
                break
            end = at + LONGEST if end < 0 else end + 1
            self._raw_line(bytes(buffer[at:end]), found)
            self._finish(self._current, found)
            at = end
        del buffer[:at]

    def _raw_line(self, data: bytes, found: list[Entry]) -> None:
        """A line, which has a time at its beginning and wherever the engine has split it."""
        while True:
            attributes, text = self._prefix(data)
            self._current = (STDOUT, attributes)
            piece, data = text[:SPLIT], text[SPLIT:]
            if not _SECOND.match(data):
                self._add(self._current, piece + data, found)
                return
            self._add(self._current, piece, found)

    # Lines

    def _prefix(self, data: bytes) -> tuple[str, bytes]:
        """Attributes and text of a message; notes its time. One without a time has that of what came before it."""
        stamp, _, text = data.partition(b" ")
        if (nanos := self._time(stamp)) is None:
            self.pieces[""] += 1
            return "", data
        self._nanos = nanos
        attributes = b""
        if self.details:
            attributes, _, text = text.partition(b" ")
        details = attributes[:SPLIT].decode("utf-8", "replace")
        self.pieces[details] += 1
        return details, text

    def _time(self, stamp: bytes) -> int | None:
        match = _SECOND.fullmatch(stamp)
        if not match:
            return None
        second, fraction, zone = match.groups()
        if self._second[0] != second + zone:
            try:
                when = datetime.fromisoformat((second + zone).decode())
                self._second = (second + zone, (when - _EPOCH) // timedelta(seconds=1))
            except (ValueError, OverflowError):
                return None
        return self._second[1] * _NANOS + int((fraction or b"0").ljust(9, b"0"))

    def _add(self, key: tuple[int, str], text: bytes, found: list[Entry]) -> None:
        if key[0] == TROUBLE:
            return
        *ended, rest = text.split(b"\n")
        for part in ended:
            self._open(key).text.extend(part)
            self._finish(key, found)
        if rest:
            self._open(key).text.extend(rest)
            if len(self._lines[key].text) >= LONGEST:
                self._finish(key, found)
            elif sum(len(line.text) for line in self._lines.values()) > HELD:
                self._finish_all(found)

    def _open(self, key: tuple[int, str]) -> _Line:
        line = self._lines.setdefault(key, _Line(self._nanos, self._nanos))
        line.last = self._nanos
        return line

    def _finish(self, key: tuple[int, str], found: list[Entry]) -> None:
        line = self._lines.pop(key, None)
        if line is not None:
            text = line.text.removesuffix(b"\r").decode("utf-8", "replace")
            found.append(Entry(key[0], line.nanos, line.last, key[1], text))

    def _finish_all(self, found: list[Entry]) -> None:
        for key in list(self._lines):
            self._finish(key, found)
