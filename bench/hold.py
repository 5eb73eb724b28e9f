"""Holds many idle kept connections open: `python -m bench.hold ADDRESS TARGET COUNT`.

Each has had one request answered. Prints `held COUNT` when all are there; on a line from stdin it prints how many the
server still keeps, and at the end of stdin it ends.
"""

from __future__ import annotations

import select
import socket
import sys

from bench.http import connect, request_head
from bench.limits import raise_open_files

PER_SOURCE = 5000
"""Connections from one loopback address, well below its ephemeral ports."""


def hold(address: str, target: str, count: int) -> list[socket.socket]:
    """Open them one after another."""
    request = request_head("GET", target)
    connections = []
    for index in range(count):
        connection = connect(address, f"127.0.0.{2 + index // PER_SOURCE}")
        connection.sendall(request)
        if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"connection {index} got no answer")
        connections.append(connection)
    return connections


def still_open(connections: list[socket.socket]) -> int:
    """How many show neither an end nor bytes that nobody asked for."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN | select.POLLRDHUP)
    return len(connections) - len(poll.poll(0))


def main() -> None:
    address, target, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    raise_open_files(count + 100)
    connections = hold(address, target, count)
    print(f"held {len(connections)}", flush=True)
    for _ in sys.stdin:
        print(f"held {still_open(connections)}", flush=True)


if __name__ == "__main__":
    main()
