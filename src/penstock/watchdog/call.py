"""One request to the function: its exchange, its clock and its entry in the books.

Made by the app, answered by a mode. Modes answer through the call and not through the exchange, so that every request is
counted exactly once, however it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from penstock.core.duration import parse_duration
from penstock.core.headers import Field
from penstock.errors import InvalidInput
from penstock.wire.exchange import Exchange
from penstock.wire.message import RequestHead

INTERNAL: Field = (b"X-OpenFaaS-Internal", b"penstock-watchdog")
"""Marks answers that the watchdog, not the program, has made."""
PLAIN: Field = (b"Content-Type", b"text/plain; charset=utf-8")
CLASSIC_METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"})
"""Those that reach the program in the classic mode; others get 405 (contract §1.2)."""
CLIENT_GONE = 499
"""Counted for a request whose client left first; nobody receives it."""
CUT = 500
"""Counted for an answer that had begun and was cut."""


class Call:
    """A request under way. `timeout` is in seconds, 0 for none. `began` is on the monotonic clock."""

    __slots__ = (
        "_ended",
        "began",
        "exchange",
        "logged",
        "on_end",
        "on_head",
        "reason",
        "request",
        "size",
        "status",
        "timeout",
    )

    def __init__(
        self, exchange: Exchange, request: RequestHead, timeout: float, on_end: Callable[[Call], None]
    ) -> None:
        self.exchange = exchange
        self.request = request
        self.timeout = timeout
        self.began = time.monotonic()
        self.status = 0
        self.on_head: Callable[[Iterable[Field]], None] | None = None
        """Told of the fields of the answer, for `debug_headers`."""
        self.on_end = on_end
        """Told once, when the request is over."""
        self.logged = 0
        """Status in the access log where it is not the client's: of a failure that is answered 200."""
        self.size = 0
        """Bytes of the answer's body, for the access log; -1 when nobody has announced them."""
        self.reason = b""
        """The program's own words for its status, where it has some."""
        self._ended = False

    @property
    def call_id(self) -> bytes:
        """The gateway's name for this invocation; empty when it was called directly."""
        return self.request.get(b"x-call-id") or b""

    def elapsed(self) -> float:
        """Seconds since the request's head was complete."""
        return time.monotonic() - self.began

    def duration(self) -> Field:
        """`X-Duration-Seconds` as of now."""
        return b"X-Duration-Seconds", b"%.6f" % self.elapsed()

    def respond(self, status: int, fields: Iterable[Field] = (), body: bytes = b"") -> None:
        """The whole answer."""
        self.show(fields)
        self.size = len(body)
        self.exchange.respond(status, fields, body)
        self.end(status)

    def refuse(self, status: int, text: str, fields: Iterable[Field] = ()) -> None:
        """An answer of the watchdog's own: one line of text, marked as the platform's."""
        body = text.encode("utf-8", "backslashreplace") + b"\n"
        self.respond(status, (PLAIN, INTERNAL, *fields), body)

    def start(self, status: int, fields: Iterable[Field] = (), content_length: int | None = None) -> None:
        """Begin an answer in pieces."""
        self.show(fields)
        self.size = -1 if content_length is None else content_length
        self.status = status
        self.exchange.start(status, fields, content_length)

    def finish(self) -> None:
        """The answer that was begun is complete."""
        self.exchange.finish()
        self.end(self.status)

    def cut(self) -> None:
        """Break the answer off so that the client notices."""
        self.exchange.abort()
        self.end(CUT)

    def show(self, fields: Iterable[Field]) -> None:
        """Tell `on_head`, if anybody wants to know."""
        if self.on_head is not None:
            self.on_head(fields)

    def end(self, status: int) -> None:
        """Enter the request into the books; only the first time counts."""
        if not self._ended:
            self._ended = True
            self.status = status
            self.on_end(self)


def effective_timeout(request: RequestHead, exec_timeout: float) -> float:
    """`exec_timeout`, or what the X-Timeout field asks for when that is a shorter duration (contract watchdog §2.6)."""
    if not exec_timeout or b"x-timeout" not in request.raw_fields.lower():  # before all fields are taken apart for one
        return exec_timeout
    wanted = request.get(b"x-timeout")
    if not wanted:
        return exec_timeout
    try:
        seconds = parse_duration(wanted.decode("ascii", "replace"))
    except InvalidInput:
        return exec_timeout
    return seconds if 0 < seconds <= exec_timeout else exec_timeout
