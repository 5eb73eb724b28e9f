"""Turns exceptions into answers, once, for the whole REST API.

`control.app` calls `answer_to` with whatever a handler raised. Deliberate errors keep their message and status; anything
else is logged with its traceback and answered with an id that finds it in the log.
"""

from __future__ import annotations

import logging
import secrets

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from penstock.errors import PenstockError

log = logging.getLogger(__name__)

NO_SNIFF = {"X-Content-Type-Options": "nosniff"}


def plain_error(status: int, message: str) -> Response:
    """The error format clients know: text/plain and one final newline (contract gateway, "Go error reply")."""
    return Response(f"{message}\n", status, headers=NO_SNIFF, media_type="text/plain")


def not_found_page() -> Response:
    """The answer for a path that no route has."""
    return plain_error(404, "404 page not found")


def unauthorized() -> Response:
    """The answer to missing or wrong credentials; its bytes are fixed (contract gateway §7.1)."""
    headers = {"WWW-Authenticate": 'Basic realm="Restricted"'}
    return Response("invalid credentials", 401, headers=headers, media_type="text/plain")


def answer_to(error: Exception, request_line: str) -> Response:
    """The answer for an exception raised while handling `request_line` (method and path, for the log)."""
    if isinstance(error, PenstockError):
        if error.status >= 500:
            log.warning("%s: %s: %s", request_line, type(error).__name__, error)
        return plain_error(error.status, str(error))
    if isinstance(error, ClientDisconnect):
        return plain_error(400, "the request body ended early")
    identity = secrets.token_hex(6)
    log.error("%s: internal error %s", request_line, identity, exc_info=error)
    return plain_error(500, f"internal error; see the gateway's log (id {identity})")
