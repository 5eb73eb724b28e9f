"""What a Python handler returned, made into an answer (contract watchdog §5.4; what differs is said at `Renderer`).

Called by mode `python`, in whichever thread the handler ran, so that a result that cannot be sent is the handler's failure.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, NamedTuple

from penstock.core.headers import Field, field_lines
from penstock.errors import PenstockError

HTML = b"text/html; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
BINARY = b"application/octet-stream"

_RESPONSE_KEYS = frozenset({"statusCode", "body", "headers"})
_OURS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"trailer"})
"""Fields that frame the answer or rule the connection. We know better than the handler, whose values are dropped."""

Stream = Iterator[Any] | AsyncIterator[Any]


class WrongResult(PenstockError):
    """The handler returned something that cannot be an answer; the message says what, and goes to the client."""

    blame = "function"


class Answer(NamedTuple):
    """Either `body` or, when there is one, the pieces of `stream`."""

    status: int
    fields: tuple[Field, ...]
    body: bytes = b""
    stream: Stream | None = None


class Renderer:
    """Makes answers. `content_type` is for answers whose handler names none; `plain` for handlers of the form `handle(req)`.

    As the original (Flask): None is an empty answer, a str is text/html, a dict without `statusCode`, `body` or `headers`, a
    list, and a dict as `body` are JSON, a tuple is (body, status, headers). Unlike it: bytes are sent as they are, and
    iterators piece by piece. With `plain`, a str is text/plain and gets a newline, as the classic template prints it.
    """

    def __init__(self, content_type: str = "", plain: bool = False) -> None:
        forced = content_type.encode("latin-1", "replace")
        self._text = ((b"Content-Type", forced or (TEXT if plain else HTML)),)
        self._json = ((b"Content-Type", forced or JSON),)
        self._binary = ((b"Content-Type", forced or BINARY),)
        self._plain = plain
        self._empty = Answer(200, self._text)

    def render(self, result: Any) -> Answer:
        """The answer. Raises WrongResult, and whatever the result's own code raises."""
        kind = type(result)
        if kind is str:
            return Answer(200, self._text, _encoded(result + "\n" if self._plain else result))
        if result is None:
            return self._empty
        if isinstance(result, dict):
            if not result or _RESPONSE_KEYS.isdisjoint(result):
                return Answer(200, self._json, _json(result))
            return self._response(result.get("body"), result.get("statusCode", 200), result.get("headers"), loose=True)
        if isinstance(result, tuple):
            return self._from_tuple(result)
        if self._plain and isinstance(result, int | float):
            return Answer(200, self._text, f"{result}\n".encode())
        return self._response(result, 200, None, loose=False)

    def _from_tuple(self, result: tuple[Any, ...]) -> Answer:
        if len(result) == 3:
            return self._response(*result, loose=False)
        if len(result) == 2:
            body, second = result
            if isinstance(second, int | str):
                return self._response(body, second, None, loose=False)
            return self._response(body, 200, second, loose=False)
        raise WrongResult(
            f"the handler returned a tuple of {len(result)}; it must be (body, status), (body, headers) or (body, status, headers)"
        )

    def _response(self, body: Any, status: Any, headers: Any, *, loose: bool) -> Answer:
        number = _status(status)
        stream: Stream | None = None
        data = b""
        if body is None:
            fields = self._text
        elif isinstance(body, str):
            fields, data = self._text, _encoded(body)
        elif isinstance(body, bytes | bytearray | memoryview):
            fields, data = self._binary, bytes(body)
        elif isinstance(body, dict | list):
            fields, data = self._json, _json(body)
        elif hasattr(body, "__anext__") or hasattr(body, "__next__"):
            fields, stream = self._text, body
        elif loose:
            fields, data = self._text, _encoded(str(body))
        else:
            raise WrongResult(
                f"the handler returned {_article(type(body).__name__)}; it must be str, bytes, dict, list, tuple, None "
                "or an iterator of str or bytes"
            )
        return Answer(number, _with(fields, headers) if headers else fields, data, stream)


def piece_of(value: Any) -> bytes:
    """A piece of a stream as bytes. Raises WrongResult."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return _encoded(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise WrongResult(f"the handler's iterator gave {_article(type(value).__name__)}; it must give str or bytes")


def _status(status: Any) -> int:
    try:
        number = int(status.split()[0]) if isinstance(status, str) else status
    except (ValueError, IndexError):
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 200 <= number <= 599:
        raise WrongResult(f"the handler's status must be a number from 200 to 599, not {status!r:.100}")
    return int(number)


def _with(defaults: tuple[Field, ...], headers: Any) -> tuple[Field, ...]:
    """The handler's fields, and the defaults for those that it does not name. Raises WrongResult."""
    try:
        pairs = list(headers.items() if hasattr(headers, "items") else headers)
        fields = [field for name, value in pairs for field in _fields(name, value)]
    except (TypeError, ValueError) as error:
        raise WrongResult(f"the handler's headers must be a dict or a list of pairs: {error}") from error
    try:
        field_lines(fields)
    except ValueError as error:
        raise WrongResult(f"the handler's headers cannot be sent: {error}") from error
    named = {name.lower() for name, _ in fields}
    missing = tuple(field for field in defaults if field[0].lower() not in named)
    return (*missing, *(field for field in fields if field[0].lower() not in _OURS))


def _fields(name: Any, value: Any) -> Iterable[Field]:
    if isinstance(value, list | tuple | set):
        return [field for item in value for field in _fields(name, item)]
    if value is None:
        raise WrongResult(f"the handler's header {name!r:.100} has no value")
    return [(_field_bytes(name), _field_bytes(value).strip(b" \t"))]


def _field_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    text = str(value)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return _encoded(text)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise WrongResult(f"the handler's text cannot be encoded: {error}") from error


def _json(value: Any) -> bytes:
    """Compact JSON, as Flask's: keys in order where they can be, and a newline at the end."""
    try:
        try:
            return _dump(value, True)
        except TypeError:  # keys of several types cannot be ordered; anything else fails again
            return _dump(value, False)
    except (TypeError, ValueError) as error:
        raise WrongResult(f"the handler's result cannot be JSON: {error}") from error


def _dump(value: Any, ordered: bool) -> bytes:
    return (json.dumps(value, separators=(",", ":"), sort_keys=ordered, default=_plain_value) + "\n").encode()


def _plain_value(value: Any) -> Any:
    """Types that JSON lacks, as Flask writes them."""
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, datetime.date):
        from email.utils import format_datetime

        if not isinstance(value, datetime.datetime):
            value = datetime.datetime(value.year, value.month, value.day)
        moment = value.replace(tzinfo=datetime.UTC) if value.tzinfo is None else value.astimezone(datetime.UTC)
        return format_datetime(moment, usegmt=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _article(name: str) -> str:
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"
