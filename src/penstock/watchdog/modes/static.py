"""mode=static: files under one directory (contract watchdog §2.7; RFC 9110 §13 and §14 for conditions and ranges).

Any method is answered like GET, since clients of functions POST by habit. A path is decoded, resolved and then compared with
the root, so that neither dots, encoded slashes nor links lead out of it. Large files are sent in pieces at the client's pace.
"""

from __future__ import annotations

import html
import mimetypes
import os
import re
import stat
from calendar import timegm
from collections.abc import Callable
from urllib.parse import quote

from penstock.core.headers import Field
from penstock.errors import InvalidInput, SettingsError
from penstock.watchdog.call import CLIENT_GONE, PLAIN, Call
from penstock.watchdog.cgi import decode_path
from penstock.watchdog.filesend import FileSender
from penstock.watchdog.modes import Context
from penstock.watchdog.sniff import LOOK_AT, sniff
from penstock.wire.date import http_date

SMALL = 64 << 10
"""Bytes of a file that is answered in one write."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) ([A-Z][a-z][a-z]) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_RANGE = re.compile(rb"bytes=(\d{0,18})-(\d{0,18})")
_TYPES = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""What the standard library's table lacks or spells in an outdated way."""


class Static:
    """Find, compare, send."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._root = os.path.realpath(os.fsencode(context.settings.static_path))
        self._types = mimetypes.MimeTypes()  # the built-in table alone: the same answer on every machine
        for extension, kind in _TYPES.items():
            self._types.add_type(kind, extension)

    async def start(self) -> None:
        self._check_root()
        self._context.log.line(f"Serving files at: {self._context.settings.static_path}")

    def handle(self, call: Call) -> None:
        if b"%2f" in call.request.path.lower():
            raise InvalidInput("the path holds an encoded slash")
        path = decode_path(call.request.path)
        try:
            fd = self._open(path)
        except OSError:
            fd = -1
        if fd < 0:
            call.respond(404, (PLAIN,), b"404 page not found\n")
            return
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            try:
                self._directory(call, fd, path)
            finally:
                os.close(fd)
        else:
            self._serve(call, fd, status, path)

    def unready(self) -> str:
        return ""

    async def stop(self) -> None:
        pass  # nothing runs between requests

    def _check_root(self) -> None:
        if not os.path.isdir(self._root):
            raise SettingsError(f"static_path: {self._context.settings.static_path!r} is not a directory")

    def _open(self, path: bytes) -> int:
        """A descriptor of the file, or of a directory without an index or asked for without its slash; -1 for what is not
        served."""
        if b".." in path.split(b"/"):
            return -1
        place = os.path.realpath(os.path.join(self._root, path.lstrip(b"/")))
        wants_directory = path.endswith(b"/")
        if wants_directory and not os.path.isdir(place):
            return -1
        if wants_directory and os.path.exists(index := os.path.join(place, b"index.html")):
            place = os.path.realpath(index)
            wants_directory = False
        if place != self._root and not place.startswith(self._root.rstrip(b"/") + b"/"):
            return -1
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not wants_directory):
            return fd
        os.close(fd)
        return -1

    def _directory(self, call: Call, fd: int, path: bytes) -> None:
        if not path.endswith(b"/"):
            self._redirect(call)
            return
        request, status = call.request, os.fstat(fd)
        modified = int(status.st_mtime)
        fields = ((b"Content-Type", b"text/html; charset=utf-8"), (b"Last-Modified", http_date(modified)))
        since = parse_date(request.get(b"if-modified-since"))
        if since is not None and modified <= since:
            call.respond(304, fields[1:])
        else:
            call.respond(200, fields, listing(fd))

    @staticmethod
    def _redirect(call: Call) -> None:
        """To the same directory with its slash; relative, so that a path like //host cannot send anybody elsewhere."""
        name = call.request.path.rpartition(b"/")[2] + b"/"
        query = call.request.query
        location = (b"./" if b":" in name else b"") + name + (b"?" + query if query else b"")
        call.respond(301, ((b"Location", location),))

    def _serve(self, call: Call, fd: int, status: os.stat_result, path: bytes) -> None:
        """Conditions, then the range, then the bytes."""
        size, request = status.st_size, call.request
        etag = b'"%x-%x"' % (status.st_mtime_ns, size)
        modified = int(status.st_mtime)
        fields: list[Field] = [(b"ETag", etag), (b"Last-Modified", http_date(modified)), (b"Accept-Ranges", b"bytes")]
        verdict = precondition(request.get, etag, modified)
        if verdict == 304 and request.method not in (b"GET", b"HEAD"):  # RFC 9110 §13.1.2, §13.1.3
            verdict = 412 if request.get(b"if-none-match") is not None else 0
        if verdict:
            os.close(fd)
            call.respond(verdict, fields)
            return
        fields.append((b"Content-Type", self._type(path, fd)))
        asked = request.get(b"range") if fresh_range(request.get(b"if-range"), etag, modified) else None
        span = parse_range(asked, size) if asked else None
        if span is None:
            self._send(call, fd, 200, fields, 0, size)
        elif span[1] <= 0:
            os.close(fd)
            call.respond(416, (*fields, (b"Content-Range", b"bytes */%d" % size)))
        else:
            start, length = span
            fields.append((b"Content-Range", b"bytes %d-%d/%d" % (start, start + length - 1, size)))
            self._send(call, fd, 206, fields, start, length)

    def _send(self, call: Call, fd: int, status: int, fields: list[Field], start: int, length: int) -> None:
        if call.request.method == b"HEAD":
            os.close(fd)
            call.start(status, fields, length)
            call.finish()
        elif length <= SMALL:
            data = os.pread(fd, length, start)
            os.close(fd)
            call.respond(status, fields, data)
        else:
            _Download(self._context, call, fd).begin(status, fields, start, length)

    def _type(self, path: bytes, fd: int) -> bytes:
        name = os.fsdecode(b"index.html" if path.endswith(b"/") else path)
        kind, encoding = self._types.guess_type("/" + name.rpartition("/")[2])
        if encoding:
            kind = {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}.get(
                encoding, "application/octet-stream"
            )
        if kind is None:
            return sniff(os.pread(fd, LOOK_AT, 0))
        return kind.encode() + (b"; charset=utf-8" if kind.startswith("text/") else b"")


class _Download:
    """A large file on its way. Listens to the client; a request body is of no interest."""

    __slots__ = ("_call", "_context", "_fd", "_sender")

    def __init__(self, context: Context, call: Call, fd: int) -> None:
        self._context = context
        self._call = call
        self._fd = fd
        self._sender: FileSender | None = None

    def begin(self, status: int, fields: list[Field], start: int, length: int) -> None:
        exchange = self._call.exchange
        self._sender = FileSender(self._context.loop, exchange, self._fd, start, length, self._sent)
        exchange.attach(self)
        if not exchange.done:
            self._call.start(status, fields, length)
            self._sender.start()

    def body(self, data: bytes) -> None:
        """Discarded."""

    def body_end(self) -> None:
        """Of no interest."""

    def client_gone(self) -> None:
        if self._sender is not None:
            self._sender.close()
        self._call.end(CLIENT_GONE)

    def writable(self, ready: bool) -> None:
        if self._sender is not None:
            self._sender.writable(ready)

    def _sent(self, complete: bool) -> None:
        if complete:
            self._call.finish()
        else:
            self._call.cut()


def listing(fd: int) -> bytes:
    """What is in the directory `fd`, as a page of links by name; directories end in a slash."""
    with os.scandir(fd) as entries:
        names = sorted(os.fsencode(entry.name) + (b"/" if entry.is_dir() else b"") for entry in entries)
    links = []
    for name in names:
        reference = quote(name, safe="/~").encode()
        prefix = b"./" if b":" in name.partition(b"/")[0] else b""  # otherwise a scheme, to a browser
        shown = html.escape(name.decode("utf-8", "replace")).encode()
        links.append(b'<a href="%b%b">%b</a>\n' % (prefix, reference, shown))
    opening = b'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n'
    return opening + b"".join(links) + b"</pre>\n"


def precondition(get: Callable[[bytes], bytes | None], etag: bytes, modified: int) -> int:
    """Status that the request's conditions ask for instead of the file: 304, 412, or 0 for none (RFC 9110 §13.2.2)."""
    match, since = get(b"if-match"), parse_date(get(b"if-unmodified-since"))
    if match is not None:
        if not _lists(match, etag, weak=False):
            return 412
    elif since is not None and modified > since:
        return 412
    none, since = get(b"if-none-match"), parse_date(get(b"if-modified-since"))
    if none is not None:
        return 304 if _lists(none, etag, weak=True) else 0
    return 304 if since is not None and modified <= since else 0


def fresh_range(condition: bytes | None, etag: bytes, modified: int) -> bool:
    """Whether If-Range lets the range count (RFC 9110 §13.1.5)."""
    return condition is None or condition == etag or parse_date(condition) == modified


def parse_range(value: bytes, size: int) -> tuple[int, int] | None:
    """Start and length of the one range in `value`; length 0 when it lies outside; None when it is to be ignored."""
    match = _RANGE.fullmatch(value.replace(b" ", b""))
    if match is None or match[1] == match[2] == b"":
        return None  # several ranges, another unit or nonsense: the whole file is a correct answer (RFC 9110 §14.2)
    if not match[1]:
        length = min(int(match[2]), size)
        return size - length, length
    start, end = int(match[1]), int(match[2] or size)
    if match[2] and end < start:
        return None
    return start, max(min(end, size - 1) - start + 1, 0)


def parse_date(value: bytes | None) -> int | None:
    """Seconds since the epoch; None for anything that is no IMF-fixdate, which conditions then ignore."""
    match = _DATE.fullmatch(value or b"")
    if match is None or match[2].decode() not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[number]) for number in (1, 3, 4, 5, 6))
    return timegm((year, _MONTHS.index(match[2].decode()) + 1, day, hour, minute, second))


def _lists(value: bytes, etag: bytes, *, weak: bool) -> bool:
    tags = [tag.strip(b" \t") for tag in value.split(b",")]
    if weak:
        tags = [tag.removeprefix(b"W/") for tag in tags]
    return etag in tags or tags == [b"*"]
