"""Where one request ends and the next begins, for whole connections and not only for single messages.

The server's connection is driven without a network: whatever bytes arrive, in whatever pieces, and however the application
treats the bodies, its requests must be those that h11 finds in the same bytes.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.wire.connection import Connection
from penstock.wire.exchange import Exchange
from penstock.wire.server import Server
from tests.unit.wire import oracle


class Wire:
    """A transport without a network, which holds back what arrives while reading is paused."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.written: list[bytes] = []
        self.closing = False
        self.paused = False
        self.held: list[bytes] = []

    def arrive(self, data: bytes) -> None:
        self.held.append(data)
        while self.held and not self.paused and not self.closing:
            self.connection.data_received(self.held.pop(0))

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written.append(data)

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def close(self) -> None:
        self.closing = True

    abort = close

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        pass

    def get_extra_info(self, name: str) -> None:
        return None


class Application:
    """Answers in one of several ways, and remembers what it was asked."""

    def __init__(self, ways: list[str]) -> None:
        self.ways = ways
        self.begun: list[tuple[bytes, bytes]] = []
        self.bodies: list[bytes | None] = []
        self.later: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> None:
        way = self.ways[len(self.begun) % len(self.ways)]
        self.begun.append((exchange.request.method, exchange.request.target))
        if way == "unread":
            self.bodies.append(None)
            exchange.respond(200)
        elif way == "streamed unread":
            self.bodies.append(None)
            exchange.start(200, content_length=0)
            exchange.finish()
        elif way == "later":
            self.later.append(exchange)
        else:
            Reader(self, exchange)

    def catch_up(self) -> None:
        while self.later:
            Reader(self, self.later.pop(0))


class Reader:
    """Reads a body to its end, then answers."""

    def __init__(self, application: Application, exchange: Exchange) -> None:
        self.application = application
        self.exchange = exchange
        self.data = b""
        exchange.attach(self)

    def body(self, data: bytes) -> None:
        self.data += data

    def body_end(self) -> None:
        self.application.bodies.append(self.data)
        self.exchange.respond(200)

    def client_gone(self) -> None:
        pass

    def writable(self, ready: bool) -> None:
        pass


HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
REQUESTS = st.sampled_from(
    [
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nHEAD /%d HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /%%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(HIDDEN), HIDDEN),
        b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        b"PUT /%%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nX: y\r\n\r\n"
        % (len(HIDDEN), HIDDEN),
        b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /%d HTTP/1.0\r\n\r\n",
    ]
)
WAYS = st.lists(st.sampled_from(["unread", "streamed unread", "read", "later"]), min_size=1, max_size=4)
CUTS = st.lists(st.integers(0, 700), max_size=10)
DAMAGE = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 1), st.sampled_from(list(b"\r\n 05:\0;x"))), max_size=1)


async def test_whatever_arrives_requests_begin_and_end_where_h11_says() -> None:
    @settings(max_examples=80)
    @given(st.lists(REQUESTS, min_size=1, max_size=6), WAYS, CUTS, DAMAGE)
    def check(requests: list[bytes], ways: list[str], cuts: list[int], damage: list[tuple[int, int, int]]) -> None:
        data = b"".join(request % number for number, request in enumerate(requests))
        for position, keep, byte in damage:
            place = position % (len(data) + 1)
            data = data[:place] + bytes([byte]) + data[place + 1 - keep :]
        application = Application(ways)
        connection = Connection(Server(application))
        wire = Wire(connection)
        connection.connection_made(wire)  # type: ignore[arg-type]
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        for start, end in zip(places, [*places[1:], len(data)], strict=True):
            if start < end:
                wire.arrive(data[start:end])
                application.catch_up()
        while wire.held and not wire.paused and not wire.closing:
            wire.arrive(b"\r\n")
            application.catch_up()
        connection.connection_lost(None)
        begun, bodies = oracle.read_requests(data)
        assert application.begun == begun[: len(application.begun)]
        complete = zip(application.bodies, bodies, strict=False)
        assert all(ours is None or ours == theirs for ours, theirs in complete)
        if not damage and b"Content-Length: 4" not in data:
            assert len(application.begun) == len(begun)  # nothing is lost either
            assert len(application.bodies) == len(bodies)
        answers = sum(piece.startswith(b"HTTP/1.1 ") for piece in wire.written)
        assert len(application.bodies) <= answers <= len(application.begun) + 1

    check()
