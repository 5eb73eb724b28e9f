"""The Date field of answers (RFC 9110 §6.6.1) and the form of dates in fields. Whoever makes an answer's head asks here."""

from __future__ import annotations

import functools
import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def date_line() -> bytes:
    """`Date: …` as of now, ending in CRLF. Formatted once a second."""
    return _line(int(time.time()))


def http_date(seconds: int) -> bytes:
    """IMF-fixdate (RFC 9110 §5.6.7), whatever the locale."""
    at = time.gmtime(seconds)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year:04} {clock} GMT".encode()


@functools.lru_cache(maxsize=1)
def _line(second: int) -> bytes:
    return b"Date: %b\r\n" % http_date(second)
