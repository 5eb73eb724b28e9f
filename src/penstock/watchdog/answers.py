"""An application's answer on its way out: its own Content-Length is kept to, and answers without a body are framed as such.

Shared by the modes `asgi` and `wsgi`, whose applications choose status, fields and body by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.core.headers import HOP_BY_HOP, Field
from penstock.watchdog.call import Call

_FRAMING = HOP_BY_HOP | {b"content-length"}


def own_fields(headers: Iterable[Field]) -> tuple[list[Field], int | None]:
    """The fields to send and the announced length. Fields between the gateway and us are left out, as the application has no
    part in them. Raises TypeError or ValueError."""
    length: int | None = None
    fields: list[Field] = []
    for name, value in headers:
        if type(value) is not bytes or type(name) is not bytes:
            raise TypeError(f"the header {name!r}: {value!r} is not a pair of bytes")
        lower = name.lower()
        if lower not in _FRAMING:
            fields.append((name, value))
        elif lower == b"content-length":
            if not value.isdigit() or len(value) > 18 or (length is not None and length != int(value)):
                raise ValueError(f"Content-Length {value!r} is not one number")
            length = int(value)
    return fields, length


def check_status(status: int) -> int:
    """A status that ends a request. Raises ValueError for all others."""
    if not 200 <= status <= 999:
        raise ValueError(f"{status!r} is not the status of an answer")
    return status


def is_bodyless(call: Call, status: int) -> bool:
    """Whether the answer has no body, whatever the application gives (RFC 9110 §6.4.1)."""
    return call.request.method == b"HEAD" or status in (204, 304)


def check_size(size: int, left: int | None, last: bool) -> None:
    """Hold a piece of `size` bytes to what is `left` of the announced length. Raises RuntimeError."""
    if left is not None and (size > left or (last and size < left)):
        kind, by = ("longer", size - left) if size > left else ("shorter", left - size)
        raise RuntimeError(f"the answer is {kind} than its Content-Length by {by} bytes")


def send_whole(call: Call, status: int, fields: Sequence[Field], length: int | None, body: bytes) -> None:
    """The whole answer. Raises RuntimeError when it has another length than announced, ValueError for an illegal field."""
    if is_bodyless(call, status):
        if length is not None or not body or status in (204, 304):
            call.start(status, fields, length)  # with the length that a GET would have had, as far as anybody says so
            call.finish()
            return
    else:
        check_size(len(body), length, last=True)
    call.respond(status, fields, body)
