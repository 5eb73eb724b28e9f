"""The last head of a connection, so that its repetition need not be parsed again.

Between our own hops no two heads are quite alike: each invocation has another call id and start time, and may be another
client's; each answer of a watchdog has another duration. The fields that we write last and whose values cannot change how a
message is framed are therefore left out of the comparison; every other byte must be the same. Connections of both sides keep
one memory each.
"""

from __future__ import annotations

import re
from typing import Generic, Protocol, TypeVar

MEMO_HEAD = 2 << 10
"""Bytes of a head up to which a connection remembers it."""

_JOINTS = rb"(?:X-Pipeline-(?:In|Out): [0-9a-f]{32}\r\n){0,2}"
_CALL = rb"X-Call-Id: [-0-9A-Za-z]{1,64}\r\nX-Start-Time: [0-9]{1,20}\r\n" + _JOINTS + rb"\r\n"
_TAILS = {
    b"\r\nX-Forwarded-For: ": re.compile(rb"X-Forwarded-For: [0-9A-Fa-f.:\[\]]{1,64}\r\n" + _CALL),
    b"\r\nX-Call-Id: ": re.compile(_CALL),
    b"\r\nX-Duration-Seconds: ": re.compile(rb"X-Duration-Seconds: [0-9]{1,10}\.[0-9]{1,10}\r\n\r\n"),
}
"""How heads end that the gateway sends to a replica, and those that a watchdog answers with, by how they begin to."""


class Remembered(Protocol):
    """A parsed head."""

    def varied(self, head: bytes) -> Remembered:
        """The same with these bytes, which differ from its own only in values that mean nothing to a parser."""


H = TypeVar("H", bound=Remembered)


class HeadMemory(Generic[H]):
    """One head, as bytes and parsed."""

    __slots__ = ("_parsed", "_prefix", "_tail", "_whole")

    _parsed: H
    _tail: re.Pattern[bytes]

    def __init__(self) -> None:
        self._whole = b""
        self._prefix = b""
        """What the head begins with before the fields that are left out; empty where it has none."""

    def recall(self, head: bytes) -> H | None:
        """What parsing `head` would give, where it is the last one again; None where it is another."""
        if head == self._whole:
            return self._parsed
        prefix = self._prefix
        if prefix and head.startswith(prefix) and self._tail.fullmatch(head, len(prefix)):
            return self._parsed.varied(head)  # type: ignore[return-value]
        return None

    def keep(self, head: bytes, parsed: H) -> None:
        """Remember a head that was parsed, unless it is large."""
        if len(head) > MEMO_HEAD:
            return
        self._whole, self._parsed, self._prefix = head, parsed, b""
        for beginning, tail in _TAILS.items():
            at = head.rfind(beginning) + 2
            if at > 1 and tail.fullmatch(head, at):
                self._prefix, self._tail = head[:at], tail
                return
