"""Heads of HTTP/1.1 messages: parsed by httptools (llhttp), then held to RFC 9112 more strictly than llhttp does alone.

The server and the client hand in the bytes up to and including the empty line; bodies are `framing`'s. No I/O.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from penstock.core.headers import HOP_BY_HOP, Field, connection_options, forward_fields
from penstock.wire.errors import MalformedMessage

__all__ = ["Field", "RequestHead", "ResponseHead", "parse_request", "parse_response"]

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 §5.6.2."""

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
"""Methods fed to llhttp as they are. It knows a fixed list, so any other token is checked here and fed as POST."""

_FRAMING_NAMES = b"|".join(sorted(HOP_BY_HOP | {b"host", b"content-length"}))
_FRAMING = re.compile(rb"\r\n(" + _FRAMING_NAMES + rb"):[ \t]*([^\r]*)")
"""The fields that frame or route a message, in a head in lower case. Once llhttp has accepted a head, each of its lines is
`name:value`, so that looking for these few is exact, and cheaper than taking every field apart (the others are, when somebody
asks). None of their values means something else in lower case. Ignoring case would cost the expression its quick first look."""

_FIELD = re.compile(rb"([^:\r\n]+):[ \t]*([^\r]*)\r\n")
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_BARE_LF = re.compile(rb"(?<!\r)\n")
CHUNKED = b"Transfer-Encoding: chunked\r\n"
"""How `forward_fields` ends for a chunked message."""

_LENGTH = frozenset({b"content-length"})
_LENGTH_MAX = (1 << 63) - 1
_VERSIONS = frozenset({b"HTTP/1.1 ", b"HTTP/1.0 "})
_NOTHING: frozenset[bytes] = frozenset()


class Head:
    """What requests and responses have in common. Heads are never changed once parsed."""

    __slots__ = (
        "_fields",
        "chunked",
        "closing",
        "content_length",
        "hop_by_hop",
        "http10",
        "keep_alive",
        "named_by_connection",
        "raw_fields",
    )

    def __init__(self, http10: bool, raw_fields: bytes) -> None:
        self.http10 = http10
        self.raw_fields = raw_fields
        """Field lines as received, each ending in CRLF."""
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = not http10
        self.closing = False
        """Whether `Connection` says `close`, which outweighs any `keep-alive` (RFC 9112 §9.3)."""
        self.hop_by_hop = False
        """Whether there is any field that a proxy must not pass on."""
        self.named_by_connection: frozenset[bytes] = _NOTHING
        self._fields: list[Field] | None = None

    def _vary(self, other: Head) -> None:
        """Frame another head as this one is framed."""
        other.content_length = self.content_length
        other.chunked = self.chunked
        other.keep_alive = self.keep_alive
        other.closing = self.closing
        other.hop_by_hop = self.hop_by_hop
        other.named_by_connection = self.named_by_connection

    @property
    def fields(self) -> list[Field]:
        """All fields in order: name in lower case, value without surrounding white space."""
        if self._fields is None:
            self._fields = [(name.lower(), value.rstrip(b" \t")) for name, value in _FIELD.findall(self.raw_fields)]
        return self._fields

    def get(self, name: bytes) -> bytes | None:
        """First value of a field, named in lower case."""
        return next((value for key, value in self.fields if key == name), None)


class RequestHead(Head):
    """Request line and fields. `target` is as sent: a path, or an absolute http URL."""

    __slots__ = ("expect_continue", "lasting", "method", "note", "target", "upgrade")

    def __init__(self, method: bytes, target: bytes, http10: bool, raw_fields: bytes) -> None:
        super().__init__(http10, raw_fields)
        self.method = method
        self.target = target
        self.expect_continue = False
        self.upgrade = b""
        self.note: Any = None
        """For the application: what it worked out from this head. A client that repeats a head finds it again."""
        self.lasting: Any = None
        """As `note`, of what holds as well for heads with another client, call id and start time at their end."""

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target!r}>"

    @property
    def path(self) -> bytes:
        """Path of the target, still percent-encoded; of an absolute-form target the part after the authority."""
        return origin_form(self.target).partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the first `?`, undecoded; empty where there is none."""
        return self.target.partition(b"?")[2]

    def rewritten(self, target: bytes, raw_fields: bytes) -> RequestHead:
        """This head with another target and other field lines, which frame the body as these do."""
        head = copy.copy(self)
        head.target = target
        head.raw_fields = raw_fields
        head._fields = None
        head.note = head.lasting = None
        return head

    def varied(self, head: bytes) -> RequestHead:
        """This head with the values of fields that neither frame nor route it as they are in `head`."""
        other = RequestHead(self.method, self.target, self.http10, head[head.index(b"\r\n") + 2 : -2])
        self._vary(other)
        other.expect_continue = self.expect_continue
        other.upgrade = self.upgrade
        other.lasting = self.lasting
        return other

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)


class ResponseHead(Head):
    """Status line and fields of a response."""

    __slots__ = ("_passed_on", "lasting", "reason", "status", "upgrade")

    def __init__(self, status: int, reason: bytes, http10: bool, raw_fields: bytes) -> None:
        super().__init__(http10, raw_fields)
        self.status = status
        self.reason = reason
        self.upgrade = status == 101
        self.lasting: Any = None
        """For the application: what it worked out from this head and holds for the same with another duration at its end. An
        upstream that repeats itself finds it again."""
        self._passed_on = b""

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.reason!r}>"

    def varied(self, head: bytes) -> ResponseHead:
        """This head with the values of fields that do not frame it as they are in `head`."""
        other = ResponseHead(self.status, self.reason, self.http10, head[head.index(b"\r\n") + 2 : -2])
        self._vary(other)
        other.lasting = self.lasting
        return other

    @property
    def passed_on(self) -> bytes:
        """Status line and field lines as a proxy passes them on to an HTTP/1.1 client; its own fields and the empty line
        are still missing."""
        if not self._passed_on:
            if self.status < 200 or self.status == 204:  # RFC 9112 §6.1, §6.2: these announce no body
                fields = forward_fields(self, _LENGTH).removesuffix(CHUNKED)
            else:
                fields = forward_fields(self)
            self._passed_on = b"HTTP/1.1 %d %b\r\n%b" % (self.status, self.reason, fields)
        return self._passed_on


class _Silent:
    """llhttp's callbacks, none of which is wanted: it is asked only whether the head is well-formed."""

    __slots__ = ()


_SILENT = _Silent()


def parse_request(head: bytes, max_target: int = 64 << 10, max_fields: int = 1000) -> RequestHead:
    """The request head in `head`, which ends with the empty line. Raises MalformedMessage with the status to answer."""
    end = head.index(b"\r\n")
    method, target, http10 = _request_line(head[:end], max_target)
    try:
        HttpRequestParser(_SILENT).feed_data(head if method in _METHODS else b"POST" + head[len(method) :])
    except HttpParserUpgrade:
        pass  # the Upgrade field is read below; llhttp only says that it stopped
    except HttpParserError as error:
        raise MalformedMessage(400, f"malformed request: {error}") from error
    request = RequestHead(method, target, http10, head[end + 2 : -2])
    if len(head) > 3 * max_fields and head.count(b"\r\n") - 2 > max_fields:
        raise MalformedMessage(431, f"more than {max_fields} header fields")
    _frame_request(request, _FRAMING.findall(head.lower(), end))
    return request


def parse_response(head: bytes, max_fields: int = 1000) -> ResponseHead:
    """The response head in `head`, which ends with the empty line. Raises MalformedMessage."""
    end = head.index(b"\r\n")
    version, code = head[:9], head[9:12]
    if version not in _VERSIONS or not code.isdigit() or code < b"100" or head[12] not in b" \r" or end < 12:
        raise MalformedMessage(502, f"malformed status line {head[:80]!r}")
    try:
        HttpResponseParser(_SILENT).feed_data(head)
    except HttpParserUpgrade:
        pass  # 101 is recognised by its status
    except HttpParserError as error:
        raise MalformedMessage(502, f"malformed response: {error}") from error
    if not _REASON.fullmatch(head, 13, max(end, 13)):  # llhttp lets control characters pass here
        raise MalformedMessage(502, f"malformed status line {head[:80]!r}")
    response = ResponseHead(int(code), head[13:end], version == b"HTTP/1.0 ", head[end + 2 : -2])
    if len(head) > 3 * max_fields and head.count(b"\r\n") - 2 > max_fields:
        raise MalformedMessage(502, f"more than {max_fields} header fields")
    _frame_response(response, _FRAMING.findall(head.lower(), end))
    return response


def check_partial(head: bytes | bytearray, start: int) -> None:
    """Refuse early what can never become a head: a line feed without its carriage return, at `start` or after it. Raises
    MalformedMessage."""
    if _BARE_LF.search(head, start):
        raise MalformedMessage(400, "malformed request: a line ends in LF without CR")


def _request_line(line: bytes, max_target: int) -> tuple[bytes, bytes, bool]:
    parts = line.split(b" ")
    if len(parts) != 3 or b"\n" in line:  # to llhttp a lone LF here ends an HTTP/0.9 request line
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


def _frame_request(request: RequestHead, fields: list[Field]) -> None:
    """Read the fields that frame the message (RFC 9112 §6.3) and rule out everything ambiguous."""
    hosts = 0
    for name, value in fields:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            _set_length(request, value, 400)
        else:
            request.hop_by_hop = True
            if name == b"transfer-encoding":
                _set_chunked(request, value, 400)
            elif name == b"connection":
                _set_connection(request, value)
            elif name == b"expect":
                if value.rstrip(b" \t") != b"100-continue":
                    raise MalformedMessage(417, "the only expectation understood is 100-continue")
                request.expect_continue = not request.http10
    if request.content_length is not None and request.chunked:
        raise MalformedMessage(400, "both Content-Length and Transfer-Encoding")
    if hosts != 1 and (hosts or not request.http10):
        raise MalformedMessage(400, "exactly one Host field is required")


def _frame_response(response: ResponseHead, fields: list[Field]) -> None:
    for name, value in fields:
        if name == b"content-length":
            _set_length(response, value, 502)
        elif name != b"host":
            response.hop_by_hop = True
            if name == b"transfer-encoding":
                _set_chunked(response, value, 502)
            elif name == b"connection":
                _set_connection(response, value)
    if response.content_length is not None and response.chunked:
        raise MalformedMessage(502, "both Content-Length and Transfer-Encoding")


def _set_length(head: Head, value: bytes, code: int) -> None:
    """Content-Length: digits only, once (RFC 9112 §6.3 rule 5)."""
    value = value.rstrip(b" \t")
    if head.content_length is not None or not value.isdigit() or len(value) > 19 or int(value) > _LENGTH_MAX:
        raise MalformedMessage(code, "Content-Length must be one decimal number, given once")
    head.content_length = int(value)


def _set_chunked(head: Head, value: bytes, code: int) -> None:
    """Transfer-Encoding: `chunked` alone, once, and never from HTTP/1.0 (RFC 9112 §6.1)."""
    if value.rstrip(b" \t") != b"chunked":
        raise MalformedMessage(501 if code == 400 else code, "the only transfer coding understood is chunked")
    if head.chunked or head.http10:
        raise MalformedMessage(code, "Transfer-Encoding repeated, or sent in HTTP/1.0")
    head.chunked = True


def _set_connection(head: Head, value: bytes) -> None:
    if value == b"keep-alive" and not head.http10:
        return
    options = [option.strip(b" \t") for option in value.split(b",")]
    if b"close" in options:
        head.keep_alive = False
        head.closing = True
    elif b"keep-alive" in options and head.http10 and not head.closing:
        head.keep_alive = True
    if isinstance(head, RequestHead) and b"upgrade" in options and not head.http10:
        head.upgrade = head.get(b"upgrade") or b""
    head.named_by_connection |= connection_options(value)


def origin_form(target: bytes) -> bytes:
    """Path and query of a request target; `http://host/path` loses its authority."""
    if target[:1] == b"/" or target == b"*":
        return target
    _, _, rest = target.partition(b"://")
    path, mark, query = rest.partition(b"?")
    slash = path.find(b"/")
    return (path[slash:] if slash >= 0 else b"/") + mark + query
