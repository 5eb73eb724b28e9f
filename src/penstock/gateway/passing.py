"""An exchange that stands before another: what is asked of it is asked of the other, what the other hears is heard here first.

The common part of `objectsource` and `objectsink`, which each take one direction for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.headers import Field
from penstock.wire.exchange import Asking, Listener
from penstock.wire.message import RequestHead


class Passing:
    """Passes everything on, both ways (`wire.exchange.Asking` and `Listener`)."""

    def __init__(self, client: Asking, request: RequestHead) -> None:
        """`request`: what whoever answers is to see of the request."""
        self.request = request
        self._client = client
        self._listener: Listener | None = None

    @property
    def peer(self) -> str:
        return self._client.peer

    @property
    def head_sent(self) -> bool:
        return self._client.head_sent

    @property
    def done(self) -> bool:
        return self._client.done

    @property
    def fault(self) -> int:
        return self._client.fault

    # The request body.

    @property
    def body_done(self) -> bool:
        return self._client.body_done

    def attach(self, listener: Listener, raw: bool = False) -> None:
        self._listener = listener
        self._client.attach(self, raw)

    def take_arrived(self, raw: bool) -> bytes:
        return self._client.take_arrived(raw)

    def watch(self, listener: Listener) -> None:
        self._listener = listener
        self._client.watch(self)

    def detach(self) -> None:
        """Whoever listened has given up; that the client leaves is still heard here."""
        self._listener = None
        self._client.detach()
        self._client.watch(self)

    def pause(self) -> None:
        self._client.pause()

    def resume(self) -> None:
        self._client.resume()

    # The answer.

    def respond(self, status: int, fields: Iterable[Field] = (), body: bytes = b"") -> None:
        self._client.respond(status, fields, body)

    def send_head(self, data: bytes, close: bool) -> None:
        self._client.send_head(data, close)

    def send_interim(self, data: bytes) -> None:
        self._client.send_interim(data)

    def send(self, data: bytes) -> None:
        self._client.send(data)

    def send_chunk(self, data: bytes) -> None:
        self._client.send_chunk(data)

    def end(self) -> None:
        self._client.end()

    def abort(self) -> None:
        self._client.abort()

    def tunnel(self) -> None:
        raise AssertionError("a request by reference asks for no other protocol")

    def connection_field(self) -> bytes:
        return self._client.connection_field()

    # What the client does.

    def body(self, data: bytes) -> None:
        if self._listener is not None:
            self._listener.body(data)

    def body_end(self) -> None:
        if self._listener is not None:
            self._listener.body_end()

    def client_gone(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.client_gone()

    def writable(self, ready: bool) -> None:
        if self._listener is not None:
            self._listener.writable(ready)
