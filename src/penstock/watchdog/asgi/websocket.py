"""One WebSocket between a client and an ASGI application (RFC 6455), on an exchange that became a tunnel.

Made by `modes/asgi.py`. The handshake is checked here, frames are wsproto's. Messages wait for the application up to a limit and
then the client waits; a client that is silent is pinged, and given up when it stays silent. Compression is not offered: its
memory and time per connection, and what a small malicious frame can grow to, are more than most functions would gain.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from typing import Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from penstock.core.headers import Field, field_lines
from penstock.watchdog.asgi.http import CANCEL_GRACE, GONE_GRACE, Host, answer_head, as_bytes
from penstock.watchdog.asgi.scope import Disconnected, Message, Scope, websocket_scope
from penstock.watchdog.call import CLIENT_GONE, Call
from penstock.watchdog.failures import caused_by, log_failure
from penstock.wire.message import RequestHead
from penstock.wire.timeouts import NEVER

MESSAGE_MOST = 16 << 20
"""Bytes or characters of a message; a longer one ends the connection with 1009. uvicorn's default."""
QUEUE_MOST = 64 << 10
"""Bytes of messages that wait for the application; beyond, the client waits. A message more may be underway."""
SLICE = 64 << 10
"""Bytes of frames taken apart at a time."""
PIECE_COST = 64
"""Bytes that a waiting message, and the least that a fragment counts for, so that many small ones are not free."""
PING_EVERY = 20.0
"""Seconds of silence after which a client is pinged, and after as many more given up."""
CLOSE_WAIT = 5.0
"""Seconds that a client gets to answer our close."""
DENIAL_MOST = 1 << 20
"""Bytes of an answer that refuses the handshake."""

NORMAL, PROTOCOL_ERROR, NO_STATUS, ABNORMAL, TOO_BIG, INTERNAL_ERROR = 1000, 1002, 1005, 1006, 1009, 1011
_RESERVED_CODES = frozenset({1004, NO_STATUS, ABNORMAL, 1015})

_CONNECTING, _DENYING, _OPEN, _CLOSING, _CLOSED = range(5)


def open_websocket(host: Host, call: Call, state: dict[str, Any]) -> None:
    """Answer a handshake that cannot be accepted, or run the application for it. Raises InvalidInput for a path that cannot
    be decoded."""
    request = call.request
    if request.method != b"GET" or request.has_body:
        call.refuse(400, "a WebSocket handshake is a GET without a body")
    elif request.get(b"sec-websocket-version") != b"13":
        call.refuse(426, "only version 13 of WebSocket is spoken here", ((b"Sec-WebSocket-Version", b"13"),))
    elif not _is_key(request.get(b"sec-websocket-key")):
        call.refuse(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    else:
        WebSocketRun(host, call).begin(websocket_scope(request, call.exchange.peer, state))


class WebSocketRun:
    """A WebSocket under way. Listens to the exchange and expires by the sweeper."""

    __slots__ = (
        "_call",
        "_cancelled",
        "_clear",
        "_close",
        "_denial",
        "_exchange",
        "_frames",
        "_greeted",
        "_heard",
        "_host",
        "_message",
        "_message_size",
        "_paused",
        "_queue",
        "_queued",
        "_raw",
        "_state",
        "_subprotocols",
        "_told",
        "_waiters",
        "complete",
        "deadline",
        "task",
    )

    task: asyncio.Task[None]

    def __init__(self, host: Host, call: Call) -> None:
        self._host = host
        self._call = call
        self._exchange = call.exchange
        self.deadline = NEVER
        self.complete = False
        """For the mode: a WebSocket's application has no work of its own once its connection is cut."""
        self._state = _CONNECTING
        self._close: Message | None = None
        """What the application is told of the end, once that is known."""
        self._cancelled = False
        self._greeted = False
        self._told = False
        self._waiters: list[asyncio.Future[None]] = []
        self._queue: deque[tuple[Message, int]] = deque()
        self._queued = 0
        self._raw = bytearray()
        self._paused = False
        self._heard = True
        self._clear = True
        self._frames = Connection(ConnectionType.SERVER)
        self._message: list[Any] = []
        self._message_size = 0
        self._subprotocols: list[str] = []
        self._denial: tuple[int, list[Field], bytes] = (403, [], b"")

    def begin(self, scope: Scope) -> None:
        """Run the application in a task of its own."""
        host = self._host
        self._subprotocols = scope["subprotocols"]
        self._exchange.watch(self)
        host.sweeper.watch(self)
        if self._call.timeout:
            self.deadline = host.sweeper.now + self._call.timeout
        host.running.add(self)
        self.task = host.loop.create_task(self._run(scope))

    async def _run(self, scope: Scope) -> None:
        try:
            await self._host.app(scope, self.receive, self.send)
        except BaseException as error:  # SystemExit too: an application does not end the watchdog
            self._raised(error)
        else:
            self._returned()
        finally:
            self._host.running.discard(self)
            if self._state != _CLOSING:
                self._host.sweeper.unwatch(self)
            if self._exchange.done:
                self._call.end(self._call.status or CLIENT_GONE)

    # For the application

    async def receive(self) -> Message:
        """The handshake, then messages, then the end of the connection."""
        if not self._greeted:
            self._greeted = True
            return {"type": "websocket.connect"}
        while True:
            if self._queue:
                message, size = self._queue.popleft()
                self._queued -= size
                if self._raw and self._queued < QUEUE_MOST:
                    self._parse()
                return message
            if self._close is not None:
                break
            await self._wait()
        if self._told:
            await asyncio.sleep(0)  # whoever asks again and again does not hold up the loop
        self._told = True
        return self._close

    async def send(self, message: Message) -> None:
        """Accept, deny, send or close. Raises RuntimeError, ValueError or TypeError for what cannot be sent, Disconnected when
        nobody receives it."""
        kind = message["type"]
        if self._exchange.done:
            await asyncio.sleep(0)
            raise Disconnected("the client has gone")
        if self._state == _OPEN and kind == "websocket.send":
            self._send_message(message)
            await self._drained()
        elif self._state == _OPEN and kind == "websocket.close":
            self._start_closing(*_code_and_reason(message))
        elif self._state == _CONNECTING and kind == "websocket.accept":
            self._accept(message)
        elif self._state == _CONNECTING and kind == "websocket.close":
            self._denied(403, [], b"")
        elif self._state == _CONNECTING and kind == "websocket.http.response.start":
            status, _, fields = answer_head(message)
            field_lines(fields)
            self._denial = (status, fields, b"")
            self._state = _DENYING
        elif self._state == _DENYING and kind == "websocket.http.response.body":
            self._deny(message)
        else:
            raise RuntimeError(f"a message of type {kind!r} cannot be sent {_WHEN[self._state]}")

    # Listener

    def body(self, data: bytes) -> None:
        self._heard = True
        if not self._is_ended():
            self._raw += data
            self._parse()

    def body_end(self) -> None:
        """A handshake has no body."""

    def client_gone(self) -> None:
        self._raw.clear()
        self._ended(ABNORMAL, "")
        self._connection_over()

    def writable(self, ready: bool) -> None:
        self._clear = ready
        if ready:
            self._wake()

    # The time

    def expire(self) -> None:
        host, call = self._host, self._call
        if self._cancelled:
            host.log.line("the application goes on though it was cancelled", call.call_id)
            host.sweeper.unwatch(self)
        elif self._exchange.done:
            host.log.line("the application goes on though its WebSocket is closed, and is cancelled", call.call_id)
            self.cancel()
        elif self._state in (_CONNECTING, _DENYING):
            self._give_up(504, f"the function did not accept the WebSocket within {call.timeout:g} s")
            self.cancel()
        elif self._state == _CLOSING:
            self._cut()  # its answer to our close did not come
        elif self._heard or self._raw:
            self._heard = False
            self.deadline = host.sweeper.now + PING_EVERY
            if self._clear:
                self._exchange.send(self._frames.send(Ping()))
        else:
            self._ended(ABNORMAL, "the client is silent")
            self._cut()

    def cancel(self) -> None:
        """End the application, as far as it lets itself be ended."""
        self._cancelled = True
        self.deadline = self._host.sweeper.now + CANCEL_GRACE
        self.task.cancel()

    # The handshake

    def _accept(self, message: Message) -> None:
        request = self._call.request
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self._subprotocols:
            raise ValueError(f"the client has not offered the subprotocol {subprotocol!r}")
        _, _, fields = answer_head({"status": 200, "headers": message.get("headers") or ()})
        if subprotocol is not None:
            fields.append((b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1")))
        own = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Accept", _token(request)))
        lines = field_lines((*own, *fields))
        self._call.show(fields)
        self._call.status = 101
        self._state = _OPEN
        self.deadline = self._host.sweeper.now + PING_EVERY
        self._exchange.send_head(b"HTTP/1.1 101 Switching Protocols\r\n" + lines + b"\r\n", True)
        self._exchange.tunnel()

    def _deny(self, message: Message) -> None:
        status, fields, body = self._denial
        body += as_bytes(message.get("body", b""))
        if len(body) > DENIAL_MOST:
            raise ValueError(f"the answer to a denied WebSocket may have at most {DENIAL_MOST} bytes")
        self._denial = (status, fields, body)
        if not message.get("more_body", False):
            self._denied(status, fields, body)

    def _denied(self, status: int, fields: list[Field], body: bytes) -> None:
        self._state = _CLOSED
        self._ended(ABNORMAL, "")
        self.deadline = NEVER
        self._call.respond(status, fields, body)

    # Frames that come

    def _parse(self) -> None:
        """Take frames apart until enough messages wait; then the client waits too."""
        while self._raw and self._queued < QUEUE_MOST and not self._is_ended():
            data = bytes(self._raw[:SLICE])
            del self._raw[:SLICE]
            self._frames.receive_data(data)
            for event in self._frames.events():
                self._event(event)
                if self._is_ended():
                    break
        if bool(self._raw) != self._paused and not self._exchange.done:
            self._paused = bool(self._raw)
            if self._paused:
                self._exchange.pause()
            else:
                self._exchange.resume()

    def _event(self, event: Event) -> None:
        if isinstance(event, TextMessage | BytesMessage):
            self._piece(event)
        elif isinstance(event, Ping):
            if self._clear and self._state == _OPEN:  # a client that does not read gets no more to read
                self._exchange.send(self._frames.send(event.response()))
        elif isinstance(event, CloseConnection):
            self._closed_by_client(event)

    def _piece(self, event: TextMessage | BytesMessage) -> None:
        if self._state != _OPEN:
            return
        if event.data:
            self._message.append(event.data)
            self._message_size += max(len(event.data), PIECE_COST)
        if self._message_size > MESSAGE_MOST:
            self._fail(TOO_BIG, f"a message may have at most {MESSAGE_MOST} bytes")
        elif event.message_finished:
            text = isinstance(event, TextMessage)
            data = ("" if text else b"").join(self._message)
            size, self._message_size, self._message = self._message_size + PIECE_COST, 0, []
            self._queue.append(({"type": "websocket.receive", "text" if text else "bytes": data}, size))
            self._queued += size
            self._wake()

    def _closed_by_client(self, event: CloseConnection) -> None:
        state = self._frames.state
        if state is ConnectionState.REMOTE_CLOSING:
            self._exchange.send(self._frames.send(event.response()))
            self._ended(int(event.code), event.reason or "")
            self._finish()
        elif state is ConnectionState.CLOSED:
            self._finish()
        else:  # what came was no WebSocket
            self._fail(int(event.code), event.reason or "")

    # Ends

    def _start_closing(self, code: int, reason: str) -> None:
        """Our close; the connection ends when the client has answered it."""
        self._exchange.send(self._frames.send(CloseConnection(code=code, reason=reason)))
        self._state = _CLOSING
        self.deadline = self._host.sweeper.now + CLOSE_WAIT
        self._queue.clear()
        self._queued = 0
        self._message.clear()
        # The client's own close is still looked for, behind whatever it had sent before.
        if self._raw:
            self._parse()
        self._wake()

    def _fail(self, code: int, reason: str) -> None:
        """The client broke the protocol or a limit: say so and end."""
        if self._state == _OPEN:
            self._exchange.send(self._frames.send(CloseConnection(code=code, reason=reason)))
        self._ended(code, reason)
        self._finish()

    def _is_ended(self) -> bool:
        return self._close is not None

    def _ended(self, code: int, reason: str) -> None:
        """Tell the application, behind the messages that wait for it."""
        if self._close is None:
            self._close = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._message.clear()
            self._wake()

    def _finish(self) -> None:
        """Both sides have closed: end the connection in order."""
        self._raw.clear()
        self._ended(NORMAL, "")
        if not self._exchange.done:
            self._exchange.end()
        self._connection_over()

    def _cut(self) -> None:
        self._ended(ABNORMAL, "")
        self._exchange.abort()
        self._connection_over()

    def _connection_over(self) -> None:
        """The application gets a moment to notice."""
        self._state = _CLOSED
        self._wake()
        if self.task.done():
            self._host.sweeper.unwatch(self)
            self._call.end(self._call.status or CLIENT_GONE)
        else:
            self.deadline = self._host.sweeper.now + GONE_GRACE

    def _returned(self) -> None:
        if self._state in (_CONNECTING, _DENYING) and not self._exchange.done:
            self._host.log.line("the application returned without accepting the WebSocket", self._call.call_id)
            self._give_up(500, "the application returned without accepting the WebSocket")
        elif self._state == _OPEN:
            self._start_closing(NORMAL, "")

    def _raised(self, error: BaseException) -> None:
        ours = isinstance(error, asyncio.CancelledError) and self._cancelled
        if not ours and not (self._exchange.done and caused_by(error, Disconnected)):
            log_failure(self._host.log, "the application raised an exception", error, self._call.call_id)
        if self._exchange.done:
            return
        if self._state in (_CONNECTING, _DENYING):
            self._give_up(500, "the application failed; the log has its traceback")
        elif self._state == _OPEN:
            self._call.status = 500
            self._start_closing(INTERNAL_ERROR, "")

    def _give_up(self, status: int, text: str) -> None:
        self._state = _CLOSED
        self._ended(ABNORMAL, "")
        self._call.refuse(status, text, (self._call.duration(),))

    # Messages that go

    def _send_message(self, message: Message) -> None:
        data, text = message.get("bytes"), message.get("text")
        if isinstance(text, str) and data is None:
            frame = self._frames.send(TextMessage(data=text))
        elif data is not None and text is None:
            frame = self._frames.send(BytesMessage(data=as_bytes(data)))
        else:
            raise TypeError("websocket.send needs either bytes or a text")
        self._exchange.send(frame)

    async def _drained(self) -> None:
        while not self._clear and not self._exchange.done:
            await self._wait()

    async def _wait(self) -> None:
        waiter = self._host.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


_WHEN = {
    _CONNECTING: "before the WebSocket is accepted",
    _DENYING: "while its denial is under way",
    _OPEN: "over an open WebSocket",
    _CLOSING: "after websocket.close",
    _CLOSED: "after the end of the WebSocket",
}


def _code_and_reason(message: Message) -> tuple[int, str]:
    code, reason = message.get("code", NORMAL), message.get("reason") or ""
    if not isinstance(code, int) or not 1000 <= code <= 4999 or code in _RESERVED_CODES:
        raise ValueError(f"{code!r} is not a code that a WebSocket can be closed with")
    if not isinstance(reason, str):
        raise TypeError("the reason of a close must be a text")
    return code, reason


def _is_key(key: bytes | None) -> bool:
    try:
        return key is not None and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _token(request: RequestHead) -> bytes:
    token: bytes | str = generate_accept_token(request.get(b"sec-websocket-key") or b"")
    return token.encode("ascii") if isinstance(token, str) else token
