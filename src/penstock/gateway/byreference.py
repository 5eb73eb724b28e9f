"""Requests whose body, or whose answer, is an object of a store (`X-Input-Object`, `X-Output-Object`).

The invoker hands them over; after all checks it gets them back as exchanges whose bytes come from the store, or go there.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.wire.exchange import Exchange


class ByReference:
    """Begins such requests. One per worker."""

    def begin(self, exchange: Exchange, invoke: Callable[[Exchange], None]) -> None:
        """Check the request, and have `invoke` answer what it becomes."""
        exchange.respond(501, [(b"Content-Type", b"text/plain; charset=utf-8")], b"no object storage is configured\n")
