"""A plain small HTTP server, the second upstream of the relay row: answers each request with its own body.

Started as `python -m bench.echo ADDRESS...`; understands only what the measurements send.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class Echo(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n") + 4) > 3:
            size = content_length(self._buffer[:end])
            if len(self._buffer) < end + size:
                return
            body, self._buffer = self._buffer[end : end + size], self._buffer[end + size :]
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % size + body)


def content_length(head: bytes) -> int:
    """The length that a request head announces; 0 when it announces none."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def serve(addresses: list[str]) -> None:
    """Listen on `unix:/path` and `host:port` addresses for ever."""
    loop = asyncio.get_running_loop()
    servers = []
    for address in addresses:
        if address.startswith("unix:"):
            servers.append(await loop.create_unix_server(Echo, address.removeprefix("unix:")))
        else:
            host, _, port = address.rpartition(":")
            servers.append(await loop.create_server(Echo, host, int(port)))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # older uvloops have no run()
        runner.run(serve(sys.argv[1:]))
