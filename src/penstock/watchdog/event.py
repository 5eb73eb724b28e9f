"""What a Python handler is given: the event and the context of contract watchdog §5.4, row `python3-http`.

Mode `python` makes one of each per call. Everything that a handler may not look at is worked out when it does.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote_to_bytes

from penstock.watchdog.call import Call
from penstock.wire.message import RequestHead

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


class Missing(KeyError):
    """The request lacks what the handler asked it for. Answered 400 unless the handler catches it, as Flask does."""

    def __init__(self, what: str, name: object) -> None:
        super().__init__(name)
        self.what = what

    def __str__(self) -> str:
        return f"the request has no {self.what} {self.args[0]!r}"


class Headers(Mapping[str, str]):
    """Fields of the request by name, in any case. Of one that was repeated the values are joined by commas."""

    __slots__ = ("_values",)

    def __init__(self, request: RequestHead) -> None:
        values: dict[str, list[str]] = {}
        for name, value in request.fields:
            values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        self._values = values

    def __getitem__(self, name: str) -> str:
        try:
            values = self._values[name.lower()]
        except (KeyError, AttributeError):
            raise Missing("header", name) from None
        return values[0] if len(values) == 1 else ("; " if name.lower() == "cookie" else ", ").join(values)

    def __iter__(self) -> Iterator[str]:
        return (name.title() for name in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def getlist(self, name: str) -> list[str]:
        """Each value of a field that may be repeated."""
        return list(self._values.get(name.lower(), ()))

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"


class Query(Mapping[str, str]):
    """Arguments of the query string, decoded. Of one that was repeated, `[]` and `get` give the first value."""

    __slots__ = ("_values",)

    def __init__(self, query: bytes) -> None:
        values: dict[str, list[str]] = {}
        if query:
            pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace")
            for name, value in pairs:
                values.setdefault(name, []).append(value)
        self._values = values

    def __getitem__(self, name: str) -> str:
        try:
            return self._values[name][0]
        except (KeyError, TypeError):
            raise Missing("query argument", name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def getlist(self, name: str) -> list[str]:
        """Each value of an argument that may be repeated."""
        return list(self._values.get(name, ()))

    def to_dict(self, flat: bool = True) -> dict[str, str] | dict[str, list[str]]:
        """A plain dict of the first values, or of all of them."""
        return {name: values[0] for name, values in self._values.items()} if flat else dict(self._values)

    def __repr__(self) -> str:
        return f"Query({self._values!r})"


class Event:
    """The request. `body` is bytes, however large it was announced to be or in whatever pieces it came."""

    __slots__ = ("_headers", "_path", "_query", "_request", "body")

    def __init__(self, request: RequestHead, body: bytes) -> None:
        self.body = body
        self._request = request
        self._headers: Headers | None = None
        self._query: Query | None = None
        self._path: str | None = None

    @property
    def method(self) -> str:
        """In upper case, such as `POST`."""
        method = self._request.method
        return _METHODS.get(method) or method.decode("latin-1")

    @property
    def path(self) -> str:
        """Percent-decoded, without the query string; begins with a slash."""
        if self._path is None:
            path = self._request.path
            decoded = unquote_to_bytes(path) if b"%" in path else path
            self._path = decoded.decode("utf-8", "replace")
        return self._path

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers(self._request)
        return self._headers

    @property
    def query(self) -> Query:
        if self._query is None:
            self._query = Query(self._request.query)
        return self._query

    def __repr__(self) -> str:
        return f"<Event {self.method} {self.path}, {len(self.body)} bytes>"


class Context:
    """What surrounds the call. Besides `hostname`, which the original has, it says where the call ran and for how long it may."""

    __slots__ = ("_call",)

    hostname = ""
    """This replica's host."""
    function_name = ""
    """Name of the function, empty where the platform has not told."""
    namespace = ""
    """Namespace of the function, likewise."""

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def call_id(self) -> str:
        """The gateway's name for this call; empty when the function was called directly."""
        return self._call.call_id.decode("latin-1")

    @property
    def deadline(self) -> float | None:
        """When the call is given up, in seconds of `time.monotonic()`; None when it may take for ever."""
        return self._call.began + self._call.timeout if self._call.timeout else None

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline; None when there is none."""
        deadline = self.deadline
        return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def know_the_place(environ: Mapping[str, str] = os.environ) -> None:
    """Fill in what is the same for all calls: host, function, namespace."""
    Context.hostname = environ.get("HOSTNAME") or socket.gethostname() or "localhost"
    Context.function_name = environ.get("OPENFAAS_NAME", "")
    Context.namespace = environ.get("OPENFAAS_NAMESPACE", "")
