"""A body in, its SHA-256 out, and a line about every piece while the body is still on its way: an ASGI application without a framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]})
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message.get("body", b""))
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
        if more:
            await send({"type": "http.response.body", "body": _line(bytes=size), "more_body": True})
    await send({"type": "http.response.body", "body": _line(bytes=size, sha256=digest.hexdigest())})


def _line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"
