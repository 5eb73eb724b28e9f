"""Answers of the gateway's own, marked as such (contract gateway §3.2)."""

from __future__ import annotations

from penstock.core.headers import Field
from penstock.wire.exchange import Exchanging


def refuse(exchange: Exchanging, status: int, text: bytes, own: bytes, retry: bool = False) -> None:
    """Answer with a line of text. `own`: field lines to add, each ending in CRLF; `retry`: it may go better in a second."""
    exchange.respond(status, refusal_fields(own, retry), text + b"\n")


def refusal_fields(own: bytes, retry: bool = False) -> list[Field]:
    """The fields of such an answer."""
    fields = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"X-OpenFaaS-Internal", b"gateway"),
    ]
    if retry:
        fields.append((b"Retry-After", b"1"))
    for line in own.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b": ")
            fields.append((name, value))
    return fields
