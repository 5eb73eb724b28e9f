"""What one relayed request costs in Python alone: `python -m bench.profile_relay [--profile]`.

Feeds a server connection and an upstream connection with bytes through transports that only note what is written, with the
gateway's own invoker between them: no kernel, no load generator, hardly any noise. Not part of the table.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import itertools
import pstats
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.core.policy import Policy
from penstock.gateway.byreference import ByReference, Objects
from penstock.gateway.callers import Callers
from penstock.gateway.counters import WorkerCounters
from penstock.gateway.invoke import Invoker
from penstock.gateway.messages import Route
from penstock.gateway.routes import RouteTable
from penstock.gateway.wakeup import Wakeup
from penstock.model import DEFAULT_NAMESPACE
from penstock.settings import Home, WireSettings
from penstock.wire.client import ClientConnection, Pool
from penstock.wire.connection import Connection
from penstock.wire.loop import run
from penstock.wire.server import Server
from penstock.wire.timeouts import Timers

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 3\r\nConnection: keep-alive\r\n\r\nok\n"
)


def no_store() -> Objects:
    raise RuntimeError("no request names an object")


class NoTransport(asyncio.Transport):
    """Notes what is written and does nothing else."""

    def __init__(self) -> None:
        self._ends = socket.socketpair()  # a real one, which nothing is sent over: the pool asks the kernel about it
        super().__init__({"peername": ("127.0.0.1", 50000), "socket": self._ends[0]})
        self.written: Sequence[bytes] = ()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written = (bytes(data),)

    def writelines(self, list_of_data: object) -> None:
        self.written = tuple(list_of_data)  # type: ignore[arg-type]

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        raise RuntimeError("the relay closed a connection that it should keep")

    abort = close


class Relaying:
    """A client connection and an upstream connection with a gateway between them. Needs a running loop."""

    def __init__(self) -> None:
        timers = Timers(asyncio.get_running_loop())
        settings = WireSettings()

        def open_pool(address: str) -> Pool:
            return Pool(address, settings, timers)

        routes = RouteTable(open_pool, WorkerCounters(), DEFAULT_NAMESPACE)
        routes.apply(Route(key=f"echo.{DEFAULT_NAMESPACE}", endpoints=("unix:/nowhere",), policy=Policy()))
        function = routes.find(b"echo")
        if function is None:
            raise RuntimeError("the route table lost its only function")
        pool = function.replicas[0].pool
        self.upstream, self.to_upstream = ClientConnection(pool), NoTransport()
        self.upstream.connection_made(self.to_upstream)
        pool.put(self.upstream)
        by_reference = ByReference(routes, Callers(Home(Path("/nowhere")), {}, no_auth=True), frozenset(), no_store)
        invoker = Invoker(routes, Wakeup(lambda key: None), timers, by_reference)
        self.client, self.to_client = Connection(Server(invoker.invoke, settings)), NoTransport()
        self.client.connection_made(self.to_client)

    def request(self, data: bytes) -> None:
        """One request and its answer."""
        self.client.data_received(data)
        self.upstream.data_received(ANSWER)

    def check(self, data: bytes) -> None:
        """Raises RuntimeError unless a request goes through and its answer comes back."""
        self.request(data)
        head, _, body = b"".join(self.to_client.written).partition(b"\r\n\r\n")
        passed = b"".join(self.to_upstream.written)
        if body != b"ok\n" or b"X-Call-Id:" not in head or b"X-Forwarded-For:" not in passed:
            raise RuntimeError(f"the relay answered {head!r} {body!r} after sending {passed!r}")


def small(path: str = "", body: bytes = b"") -> bytes:
    """A request such as wrk sends."""
    method, length = ("POST", f"Content-Length: {len(body)}\r\n") if body else ("GET", "")
    return f"{method} /function/echo{path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n{length}\r\n".encode() + body


CASES: dict[str, list[bytes]] = {
    "GET, the same head each time": [small()],
    "GET, no two heads alike": [small(f"/{index}") for index in range(5000)],
    "POST of 100 bytes, the same head": [small(body=b"x" * 100)],
    "POST of 16 KiB, the same head": [small(body=b"x" * 16384)],
}


def best(relay: Callable[[bytes], None], requests: Sequence[bytes], count: int, rounds: int) -> float:
    """Microseconds per request in the best of so many rounds of `count` requests."""
    fastest = float("inf")
    for _ in range(rounds):
        turn = itertools.islice(itertools.cycle(requests), count)
        begun = time.perf_counter_ns()
        for data in turn:
            relay(data)
        fastest = min(fastest, (time.perf_counter_ns() - begun) / count / 1000)
    return fastest


async def report(rounds: int, count: int, profile: bool) -> None:
    """Print each case's cost, and where the first one's goes."""
    for name, requests in CASES.items():
        relaying = Relaying()
        relaying.check(requests[0])
        print(f"{best(relaying.request, requests, count, rounds):7.2f} µs  {name}")
    if profile:
        relaying = Relaying()
        profiler = cProfile.Profile()
        profiler.runcall(best, relaying.request, CASES["GET, the same head each time"], count, 1)
        pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile_relay", description="Cost of one relayed request.")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="best of N (default: 7)")
    parser.add_argument("--count", type=int, default=20000, metavar="N", help="requests a round (default: 20000)")
    parser.add_argument("--profile", action="store_true", help="print cProfile's table of the first case as well")
    options = parser.parse_args()
    run(report(options.rounds, options.count, options.profile))


if __name__ == "__main__":
    main()
