"""A way to the store with faults: a proxy that passes requests on, or does to them what a test says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_PIECE = 1 << 16


@dataclass(frozen=True)
class Pass:
    """The request goes to the store; after `cut` bytes of its answer, head and all, the connection is cut."""

    cut: int | None = None


@dataclass(frozen=True)
class Say:
    """The store is not asked; this is the answer."""

    status: int
    code: str = "InternalError"

    @property
    def answer(self) -> bytes:
        body = f"<?xml version='1.0'?><Error><Code>{self.code}</Code></Error>".encode()
        return b"HTTP/1.1 %d Fault\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
            self.status,
            len(body),
            body,
        )


@dataclass(frozen=True)
class Hang:
    """Nothing is ever answered."""


Deed = Pass | Say | Hang
Decide = Callable[[str, str], Deed]
"""What is done to a request, by its method and target."""


class FaultyWay:
    """What was asked so far, and where the proxy is."""

    def __init__(self, endpoint: str, decide: Decide) -> None:
        self._store, self._decide = urlsplit(endpoint), decide
        self.asked: list[str] = []
        self.endpoint = ""

    def count(self, pattern: str) -> int:
        """How many requests, as `METHOD TARGET`, this has matched."""
        return sum(bool(re.search(pattern, line)) for line in self.asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length.group(1))) if length else b""
            method, target = head.split(b" ", 2)[:2]
            self.asked.append(f"{method.decode()} {target.decode()}")
            deed = self._decide(method.decode(), target.decode())
            if isinstance(deed, Hang):
                await reader.read()  # until the client gives up
            elif isinstance(deed, Say):
                writer.write(deed.answer)
            else:
                await self._pass(head, body, writer, deed.cut)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone, as clients may
        finally:
            writer.close()

    async def _pass(self, head: bytes, body: bytes, writer: asyncio.StreamWriter, cut: int | None) -> None:
        there, store = await asyncio.open_connection(self._store.hostname, self._store.port)
        try:
            # One request for a connection, so that the end of the answer is the end of the connection.
            store.write(head[:-2] + b"Connection: close\r\n\r\n" + body)
            left = cut if cut is not None else 1 << 62
            while left and (data := await there.read(min(_PIECE, left))):
                writer.write(data)
                await writer.drain()
                left -= len(data)
        finally:
            store.close()


@asynccontextmanager
async def faulty_way(endpoint: str, decide: Decide) -> AsyncIterator[FaultyWay]:
    way = FaultyWay(endpoint, decide)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0, limit=1 << 20)
    way.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield way
    finally:
        server.close()


def first(times: int, deed: Deed, pattern: str = "") -> Decide:
    """Do this to the first requests of those that match, and pass the others."""
    left = times

    def decide(method: str, target: str) -> Deed:
        nonlocal left
        if left and re.search(pattern, f"{method} {target}"):
            left -= 1
            return deed
        return Pass()

    return decide


def always(deed: Deed, pattern: str = "") -> Decide:
    """Do this to all requests that match, and pass the others."""
    return lambda method, target: deed if re.search(pattern, f"{method} {target}") else Pass()
