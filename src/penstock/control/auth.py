"""The one guard that stands before the whole admin branch (contract gateway §7.1).

`control.app` puts it in front of every route. Who may call functions is not decided here: function traffic never reaches the
control process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.control.errors import plain_error, unauthorized
from penstock.credentials import Credentials
from penstock.webpages import foreign_host, foreign_page

Accept = Callable[[str], Awaitable[bool]]
"""Whether an `Authorization` value opens a path."""

_ALWAYS_GUARDED = frozenset(("system", "ui"))


class Guard:
    """ASGI middleware: only `public` paths, and branches without any route, are reachable without credentials.

    Without credentials (`--no-auth`) it still refuses what a web page could do to a local service behind its user's
    back: requests from other origins, and names that only resolve to this machine (DNS rebinding).
    """

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials | None,
        public: frozenset[str],
        paths: frozenset[str],
        others: Mapping[str, Accept] | None = None,
    ) -> None:
        """`paths`: the routes' path patterns; `public`: those among them that need no credentials; `others`: what opens a
        path besides the administrator's credentials."""
        self._app = app
        self._credentials = credentials
        self._public = public
        self._others = others or {}
        self._branches = _ALWAYS_GUARDED | {_branch(path) for path in paths - public}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path not in self._public and _branch(path) in self._branches:
            headers = Headers(scope=scope)
            if self._credentials and not await self._accepts(self._credentials, path, headers.get("authorization", "")):
                return await unauthorized()(scope, receive, send)
            fault = foreign_page(scope["method"], headers) or (not self._credentials and foreign_host(headers))
            if fault:
                return await plain_error(403, fault)(scope, receive, send)
        await self._app(scope, receive, send)

    async def _accepts(self, credentials: Credentials, path: str, authorization: str) -> bool:
        if credentials.accept(authorization):
            return True
        other = self._others.get(path)
        return other is not None and await other(authorization)


def _branch(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
