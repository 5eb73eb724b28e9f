"""What every resource needs from a request: its body within a limit, its namespace, Go's booleans, and JSON answers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.control.decode import JsonObject
from penstock.control.schema import encode
from penstock.core.names import check_namespace
from penstock.errors import TooLarge
from penstock.model import DEFAULT_NAMESPACE

MAX_BODY = 32 << 20
"""Bytes of a request body. The original has no limit; ours keeps one client from filling the control process's memory."""

_GO_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The whole body. Raises TooLarge as soon as more than `limit` bytes are announced or arrive."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and len(declared) < 20 and int(declared) > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


async def read_json(request: Request) -> JsonObject:
    """The body as a JSON object. Raises InvalidInput or TooLarge."""
    return JsonObject.parse(await read_body(request))


def query_namespace(request: Request) -> str:
    """`?namespace=` (the last one wins), or the default. Raises InvalidInput."""
    return check_namespace(request.query_params.get("namespace") or DEFAULT_NAMESPACE)


def go_bool(text: str) -> bool:
    """What Go's ParseBool takes for true; all else is false."""
    return text in _GO_TRUE


def json_answer(value: object, status: int = 200) -> Response:
    return Response(encode(value), status, media_type="application/json")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"request body: is larger than the {limit} bytes that are accepted here")
