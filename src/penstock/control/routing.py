"""The route table's row, and the router made of such rows.

Starlette's own routes answer HEAD unasked and 405 with a body; clients know neither (contract gateway §1.0), so a row
picks its handler itself and turns whatever that raises into an answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.control.errors import answer_to, not_found_page

Handler = Callable[[Request], Awaitable[ASGIApp]]


@dataclass(frozen=True)
class Resource:
    """One path and its handlers by method. Without `public=True` it is behind the guard."""

    path: str
    handlers: Mapping[str, Handler]
    public: bool = False
    opens: Callable[[str], Awaitable[bool]] | None = None
    """Whether an `Authorization` value other than the administrator's is accepted too, for paths without a pattern."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self.handlers.get(scope["method"])
        answer: ASGIApp = Response(status_code=405)
        if handler:
            try:
                answer = await handler(Request(scope, receive))
            except Exception as error:
                answer = answer_to(error, f"{scope['method']} {scope['path']}")
        await answer(scope, receive, send)


def build_router(table: Sequence[Resource]) -> ASGIApp:
    """An application that serves the table's exact paths, and 404 for all others."""
    return Router([Route(row.path, row) for row in table], redirect_slashes=False, default=_unknown_path)


async def _unknown_path(scope: Scope, receive: Receive, send: Send) -> None:
    await not_found_page()(scope, receive, send)
