"""What can be wrong on the wire. Each error carries the status that it deserves."""

from __future__ import annotations

from penstock.errors import PenstockError


class MalformedMessage(PenstockError):
    """The peer broke HTTP/1.1 framing or a limit; answer `code` and close (RFC 9112 §2.2, §6.3)."""

    blame = "client"

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class BodyTooLarge(PenstockError):
    """A body that the reader wanted whole exceeds the reader's limit."""

    status = 413
    blame = "client"


class ClientGone(PenstockError):
    """The client closed, or its body was malformed or late, before the reader had it whole."""

    blame = "client"
