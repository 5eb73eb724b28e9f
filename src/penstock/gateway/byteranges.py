"""The one range of bytes that a `Range` field asks for (RFC 9110 §14.1.2). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from penstock.errors import InvalidInput

_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{1,19})?|bytes=-(\d{1,19})", re.ASCII | re.IGNORECASE)


class ByteRange(NamedTuple):
    """Bytes `first` to `last`, inclusive, to the end where `last` is None; or, where `suffix` is one, the last so many."""

    first: int = 0
    last: int | None = None
    suffix: int | None = None

    def resolved(self, size: int) -> ByteRange:
        """The same without a suffix, of something of `size` bytes."""
        return self if self.suffix is None else ByteRange(max(size - self.suffix, 0))


def parse_range(text: str) -> ByteRange:
    """Of `bytes=5-9`, `bytes=5-` or `bytes=-10`; everything where it is empty. Raises InvalidInput, also for several ranges: an
    object is read from one place on, and half of what was asked for would be a wrong answer."""
    if not text:
        return ByteRange()
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(
            f"Range: {text[:80]!r} is not one range of bytes, such as bytes=0-999, bytes=1000- or bytes=-500"
        )
    first, last, suffix = (None if number is None else int(number) for number in match.groups())
    if suffix is not None:
        if not suffix:
            raise InvalidInput("Range: the last 0 bytes of an object are none")
        return ByteRange(suffix=suffix)
    if last is not None and last < (first or 0):
        raise InvalidInput(f"Range: {text[:80]!r} ends before it begins")
    return ByteRange(first or 0, last)
