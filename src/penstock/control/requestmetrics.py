"""Counts and times requests of the REST API (contract gateway §6.1 and §6.2): a thin layer around the whole application.

Paths are those of routes, never those of requests, and methods those that routes know: strangers make no series.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Iterator, Sequence

from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.control.exposition import head, histogram, label
from penstock.control.routing import Resource
from penstock.gateway.messages import LATENCY_BUCKETS

ROOT = "/system"
OTHER = "other"
"""In place of a path that has no route, or a method that is in none."""

Key = tuple[str, str, str]
"""Method, path and status."""


class RequestMetrics:
    """Finished requests below `/system`, those that were refused for want of credentials included."""

    def __init__(self, table: Sequence[Resource], monotonic: Callable[[], float] = time.monotonic) -> None:
        rows = [row for row in table if row.path.startswith(f"{ROOT}/")]
        self._methods = frozenset(method for row in rows for method in row.handlers)
        self._exact = {row.path: collapsed(row.path) for row in rows if "{" not in row.path}
        self._patterns = [(compile_path(row.path)[0], collapsed(row.path)) for row in rows if "{" in row.path]
        self._monotonic = monotonic
        self._buckets: dict[Key, list[int]] = {}
        self._seconds: dict[Key, float] = {}

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, with each request counted when its answer is complete."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].startswith(f"{ROOT}/"):
                return await app(scope, receive, send)
            begun = self._monotonic()
            status = 500  # if nothing is answered

            async def note(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, note)
            finally:
                self._count(scope["method"], scope["path"], status, self._monotonic() - begun)

        return counted

    def lines(self) -> Iterator[str]:
        rows = [(_labels(key), self._buckets[key], self._seconds[key]) for key in sorted(self._buckets)]
        yield from head("http_requests_total", "counter", "Total number of HTTP requests.")
        for labels, buckets, _ in rows:
            yield f"http_requests_total{{{labels}}} {sum(buckets)}"
        yield from head("http_request_duration_seconds", "histogram", "Seconds spent serving HTTP requests.")
        for labels, buckets, seconds in rows:
            yield histogram("http_request_duration_seconds", labels, buckets, seconds)

    def _count(self, method: str, path: str, status: int, seconds: float) -> None:
        key = (method if method in self._methods else OTHER, self._route(path), str(status))
        buckets = self._buckets.setdefault(key, [0] * (len(LATENCY_BUCKETS) + 1))
        buckets[bisect.bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self._seconds[key] = self._seconds.get(key, 0.0) + seconds

    def _route(self, path: str) -> str:
        if found := self._exact.get(path):
            return found
        return next((name for pattern, name in self._patterns if pattern.match(path)), OTHER)


def collapsed(path: str) -> str:
    """A route's path without its parameters: `/system/function/{name}` is `/system/function`."""
    return "/".join(part for part in path.rstrip("/").split("/") if not part.startswith("{"))


def _labels(key: Key) -> str:
    method, path, status = key
    return ",".join((label("method", method), label("path", path), label("status", status)))
