"""What a pipeline of three functions costs the gateway in Python alone: `python -m bench.profile_pipeline [--profile]`.

As `bench.profile_relay`, with three upstreams that answer as the watchdog does; three single calls in a row beside it. Not part
of the table.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.profile_relay import NoTransport, best, no_store
from penstock.core.policy import Policy
from penstock.gateway.byreference import ByReference
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

NAMES = ("first", "second", "third")
BODY = b"hello\n"
ANSWERS = [
    (
        "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\nContent-Length: 6\r\n"
        f"Content-Type: application/octet-stream\r\nX-Duration-Seconds: 0.000{index:03}\r\n\r\n"
    ).encode()
    + BODY
    for index in range(199)  # a number without a factor of three, so that each function's answers differ
]


class Stringing:
    """A client connection and one to each of three functions, with a gateway between them. Needs a running loop."""

    def __init__(self) -> None:
        timers = Timers(asyncio.get_running_loop())
        settings = WireSettings(upstream_idle_timeout=0)  # no connection is closed behind the measurement

        def open_pool(address: str) -> Pool:
            return Pool(address, settings, timers)

        routes = RouteTable(open_pool, WorkerCounters(), DEFAULT_NAMESPACE)
        self.upstreams = {name: self._upstream(routes, name) for name in NAMES}
        whole = Route(key=f"whole.{DEFAULT_NAMESPACE}", stages=NAMES, policy=Policy())
        routes.apply(whole)
        by_reference = ByReference(routes, Callers(Home(Path("/nowhere")), {}, no_auth=True), frozenset(), no_store)
        invoker = Invoker(routes, Wakeup(lambda key: None), timers, by_reference)
        self.client, self.to_client = Connection(Server(invoker.invoke, settings)), NoTransport()
        self.client.connection_made(self.to_client)
        self._answer = 0

    def _upstream(self, routes: RouteTable, name: str) -> ClientConnection:
        routes.apply(Route(key=f"{name}.{DEFAULT_NAMESPACE}", endpoints=(f"unix:/{name}",), policy=Policy()))
        function = routes.find(name.encode())
        if function is None:
            raise RuntimeError(f"the route table lost {name}")
        pool = function.replicas[0].pool
        upstream = ClientConnection(pool)
        upstream.connection_made(NoTransport())
        pool.put(upstream)
        return upstream

    def pipeline(self, data: bytes) -> None:
        """One request through all three functions."""
        self.client.data_received(data)
        for upstream in self.upstreams.values():
            self._answer = (self._answer + 1) % len(ANSWERS)
            upstream.data_received(ANSWERS[self._answer])

    def single(self, data: bytes) -> None:
        """A request to one function after the other."""
        for name, upstream in self.upstreams.items():
            self.client.data_received(data.replace(b"NAME", name.encode(), 1))
            self._answer = (self._answer + 1) % len(ANSWERS)
            upstream.data_received(ANSWERS[self._answer])

    def check(self, relay: Callable[[bytes], None], data: bytes, told: bytes) -> None:
        """Raises RuntimeError unless an answer comes back whose head has the field line beginning `told`."""
        relay(data)
        head, _, body = b"".join(self.to_client.written).partition(b"\r\n\r\n")
        if body != BODY or told not in head:
            raise RuntimeError(f"the gateway answered {head!r} {body!r}")


def post(target: str) -> bytes:
    """A small request as the row `pipeline` sends it."""
    return f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY


SINGLE = [post("/function/NAME")]
CASES: dict[str, list[bytes]] = {
    "a pipeline, the same head each time": [post("/function/" + "|".join(NAMES))],
    "a named pipeline, the same head each time": [post("/function/whole")],
    "a pipeline, no two heads alike": [post(f"/function/{'|'.join(NAMES)}/{index}") for index in range(5000)],
}


async def report(rounds: int, count: int, profile: bool) -> None:
    """Print each case's cost, and where the first one's goes."""
    stringing = Stringing()
    stringing.check(stringing.single, SINGLE[0], b"X-Served-By:")
    print(f"{best(stringing.single, SINGLE, count, rounds):7.2f} µs  three calls in a row")
    for name, requests in CASES.items():
        print(f"{_cost(requests, count, rounds):7.2f} µs  {name}")
    if profile:
        stringing = Stringing()
        profiler = cProfile.Profile()
        profiler.runcall(best, stringing.pipeline, next(iter(CASES.values())), count, 1)
        pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(45)


def _cost(requests: Sequence[bytes], count: int, rounds: int) -> float:
    stringing = Stringing()
    stringing.check(stringing.pipeline, requests[0], b"X-Pipeline-Timings: first;dur=")
    return best(stringing.pipeline, requests, count, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile_pipeline", description="Cost of one pipeline of three."
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="best of N (default: 7)")
    parser.add_argument("--count", type=int, default=10000, metavar="N", help="requests a round (default: 10000)")
    parser.add_argument("--profile", action="store_true", help="print cProfile's table of the first case as well")
    options = parser.parse_args()
    run(report(options.rounds, options.count, options.profile))


if __name__ == "__main__":
    main()
