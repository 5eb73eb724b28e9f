"""Heads of HTTP/1.1 messages: parsed by httptools (llhttp), then held to RFC 9112 more strictly than llhttp does alone.

The server and the client hand in the bytes up to and including the empty line; bodies are `framing`'s. No I/O.
"""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from penstock.core.headers import HOP_BY_HOP, Field
from penstock.wire.errors import MalformedMessage

__all__ = ["Field", "RequestHead", "ResponseHead", "parse_request", "parse_response"]

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 §5.6.2."""

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
"""Methods fed to llhttp as they are. It knows a fixed list, so any other token is checked here and fed as POST."""

_FRAMING = HOP_BY_HOP | {b"host", b"content-length"}
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH_MAX = (1 << 63) - 1


class RequestHead:
    """Request line and fields. `target` is as sent; `raw_fields` are the field lines as received, each ending in CRLF."""

    __slots__ = (
        "chunked",
        "content_length",
        "expect_continue",
        "fields",
        "hop_by_hop",
        "http10",
        "keep_alive",
        "method",
        "raw_fields",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, http10: bool, fields: list[Field], raw_fields: bytes) -> None:
        self.method = method
        self.target = target
        self.http10 = http10
        self.fields = fields
        self.raw_fields = raw_fields
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = not http10
        self.expect_continue = False
        self.upgrade = b""
        self.hop_by_hop = False

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target!r} {len(self.fields)} fields>"

    @property
    def path(self) -> bytes:
        """Path of the target, still percent-encoded; of an absolute-form target the part after the authority."""
        return _origin_form(self.target).partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the first `?`, undecoded; empty where there is none."""
        return self.target.partition(b"?")[2]

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    def get(self, name: bytes) -> bytes | None:
        """First value of a field, named in lower case."""
        return next((value for key, value in self.fields if key == name), None)


class ResponseHead:
    """Status line and fields of a response."""

    __slots__ = (
        "chunked",
        "content_length",
        "fields",
        "hop_by_hop",
        "http10",
        "keep_alive",
        "raw_fields",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, http10: bool, fields: list[Field], raw_fields: bytes) -> None:
        self.status = status
        self.reason = reason
        self.http10 = http10
        self.fields = fields
        self.raw_fields = raw_fields
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = not http10
        self.upgrade = status == 101
        self.hop_by_hop = False

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.reason!r} {len(self.fields)} fields>"

    def get(self, name: bytes) -> bytes | None:
        """First value of a field, named in lower case."""
        return next((value for key, value in self.fields if key == name), None)


class _Collector:
    """Receives llhttp's callbacks."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def parse_request(head: bytes, max_target: int = 64 << 10, max_fields: int = 1000) -> RequestHead:
    """The request head in `head`, which ends with the empty line. Raises MalformedMessage with the status to answer."""
    end = head.index(b"\r\n")
    method, target, http10 = _request_line(head[:end], max_target)
    collector = _Collector()
    parser = HttpRequestParser(collector)
    try:
        parser.feed_data(head if method in _METHODS else b"POST" + head[len(method) :])
    except HttpParserUpgrade:
        pass  # the Upgrade field is read below; llhttp only says that it stopped
    except HttpParserError as error:
        raise MalformedMessage(400, f"malformed request: {error}") from error
    fields = collector.fields
    if len(fields) > max_fields:
        raise MalformedMessage(431, f"more than {max_fields} header fields")
    request = RequestHead(method, target, http10, fields, head[end + 2 : -2])
    _frame_request(request)
    return request


def parse_response(head: bytes, max_fields: int = 1000) -> ResponseHead:
    """The response head in `head`, which ends with the empty line. Raises MalformedMessage."""
    end = head.index(b"\r\n")
    line = head[:end]
    version, status, reason = line[:9], line[9:12], line[13:]
    if version not in (b"HTTP/1.1 ", b"HTTP/1.0 ") or not status.isdigit() or line[12:13] not in (b" ", b""):
        raise MalformedMessage(502, f"malformed status line {line[:80]!r}")
    collector = _Collector()
    parser = HttpResponseParser(collector)
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        pass  # 101 is recognised by its status
    except HttpParserError as error:
        raise MalformedMessage(502, f"malformed response: {error}") from error
    if len(collector.fields) > max_fields:
        raise MalformedMessage(502, f"more than {max_fields} header fields")
    response = ResponseHead(int(status), reason, version == b"HTTP/1.0 ", collector.fields, head[end + 2 : -2])
    _frame_response(response)
    return response


def check_partial(head: bytes) -> None:
    """Refuse early what can never become a head: a line feed without its carriage return. Raises MalformedMessage."""
    if _BARE_LF.search(head):
        raise MalformedMessage(400, "malformed request: a line ends in LF without CR")


def _request_line(line: bytes, max_target: int) -> tuple[bytes, bytes, bool]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise MalformedMessage(400, "malformed request line: it is METHOD TARGET VERSION with single spaces")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        if not version.startswith(b"HTTP/"):
            raise MalformedMessage(400, "malformed request line: no HTTP version")
        raise MalformedMessage(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if len(target) > max_target:
        raise MalformedMessage(414, f"request target longer than {max_target} bytes")
    if method not in _METHODS and (method == b"CONNECT" or not TOKEN.fullmatch(method)):
        raise MalformedMessage(501 if method == b"CONNECT" else 400, "method not usable here")
    if target[:1] != b"/" and target[:7].lower() not in (b"http://", b"https:/") and target != b"*":
        raise MalformedMessage(400, "request target must be a path or an absolute http URL")
    return method, target, version == b"HTTP/1.0"


def _frame_request(request: RequestHead) -> None:
    """Read the fields that frame the message (RFC 9112 §6.3) and rule out everything ambiguous."""
    hosts = 0
    for name, value in request.fields:
        if name not in _FRAMING:
            continue
        if name == b"host":
            hosts += 1
            continue
        if name == b"content-length":
            _set_length(request, value, 400)
            continue
        request.hop_by_hop = True
        if name == b"transfer-encoding":
            _set_chunked(request, value, 400)
        elif name == b"connection":
            _set_connection(request, value)
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise MalformedMessage(417, "the only expectation understood is 100-continue")
            request.expect_continue = not request.http10
    if request.content_length is not None and request.chunked:
        raise MalformedMessage(400, "both Content-Length and Transfer-Encoding")
    if hosts != 1 and (hosts or not request.http10):
        raise MalformedMessage(400, "exactly one Host field is required")


def _frame_response(response: ResponseHead) -> None:
    for name, value in response.fields:
        if name == b"content-length":
            _set_length(response, value, 502)
        elif name in HOP_BY_HOP:
            response.hop_by_hop = True
            if name == b"transfer-encoding":
                _set_chunked(response, value, 502)
            elif name == b"connection":
                options = value.lower()
                if b"close" in options:
                    response.keep_alive = False
                elif response.http10 and b"keep-alive" in options:
                    response.keep_alive = True
    if response.content_length is not None and response.chunked:
        raise MalformedMessage(502, "both Content-Length and Transfer-Encoding")


def _set_length(head: RequestHead | ResponseHead, value: bytes, code: int) -> None:
    """Content-Length: digits only, once (RFC 9112 §6.3 rule 5)."""
    if head.content_length is not None or not value.isdigit() or len(value) > 19 or int(value) > _LENGTH_MAX:
        raise MalformedMessage(code, "Content-Length must be one decimal number, given once")
    head.content_length = int(value)


def _set_chunked(head: RequestHead | ResponseHead, value: bytes, code: int) -> None:
    """Transfer-Encoding: `chunked` alone, once, and never from HTTP/1.0 (RFC 9112 §6.1)."""
    if value.lower() != b"chunked":
        raise MalformedMessage(501 if code == 400 else code, "the only transfer coding understood is chunked")
    if head.chunked or head.http10:
        raise MalformedMessage(code, "Transfer-Encoding repeated, or sent in HTTP/1.0")
    head.chunked = True


def _set_connection(request: RequestHead, value: bytes) -> None:
    options = [option.strip(b" \t") for option in value.lower().split(b",")]
    if b"close" in options:
        request.keep_alive = False
    elif b"keep-alive" in options and request.http10:
        request.keep_alive = True
    if b"upgrade" in options and not request.http10:
        request.upgrade = request.get(b"upgrade") or b""


def _origin_form(target: bytes) -> bytes:
    if target[:1] == b"/" or target == b"*":
        return target
    _, _, rest = target.partition(b"://")
    slash = rest.find(b"/")
    return rest[slash:] if slash >= 0 else b"/"
