"""h11's view of a message, to hold ours against: what it read, or that it refuses.

h11 gets the whole input at once and limits so wide that only syntax decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import h11

Field = tuple[bytes, bytes]


@dataclass(frozen=True)
class Message:
    """One complete message and what follows it."""

    start: tuple[bytes, ...]
    """Method and target, or the status."""
    fields: list[Field]
    body: bytes
    trailers: list[Field]
    rest: bytes


def read_request(data: bytes) -> Message | None:
    """The first request in `data`; None when h11 refuses it or it is not complete."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 22)
    return _read(connection, data)


def read_response(data: bytes, method: bytes = b"GET", closed: bool = False) -> Message | None:
    """The final response in `data` to a request of `method`; None when h11 refuses it or it is not complete."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 22)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    return _read(connection, data, closed)


def read_chunked(body: bytes) -> Message | None:
    """A request whose chunked body is `body`."""
    return read_request(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)


def _read(connection: h11.Connection, data: bytes, closed: bool = False) -> Message | None:
    connection.receive_data(data)
    if closed:
        connection.receive_data(b"")
    start: tuple[bytes, ...] = ()
    fields: list[Field] = []
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Request):
            start, fields = (event.method, event.target), list(event.headers)
        elif isinstance(event, h11.Response):
            start, fields = (b"%d" % event.status_code,), list(event.headers)
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return Message(start, fields, body, list(event.headers), connection.trailing_data[0])
        elif not isinstance(event, h11.InformationalResponse):
            return None


def read_requests(data: bytes) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Method and target of every request that begins in `data`, and the bodies of those that are complete, in order, up to
    the first that h11 refuses or that ends its connection. Empty lines between requests are skipped, which h11 does not."""
    begun: list[tuple[bytes, bytes]] = []
    bodies: list[bytes] = []
    while data := data.lstrip(b"\r\n"):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 22)
        connection.receive_data(data)
        body = b""
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                return begun, bodies
            if isinstance(event, h11.Request):
                begun.append((event.method, event.target))
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                bodies.append(body)
                break
            else:
                return begun, bodies
        if connection.their_state is h11.MUST_CLOSE:
            break
        data = connection.trailing_data[0]
    return begun, bodies
