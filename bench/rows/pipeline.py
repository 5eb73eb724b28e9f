"""Three functions as one pipeline: a large body against three chained `curl`s, and small calls against three calls in a row."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from io import FileIO
from pathlib import Path
from statistics import median
from typing import cast

from bench.bodies import MIB
from bench.http import connect, request_head
from bench.plan import Plan
from bench.processes import BenchError, Stage
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Server, gateway_worker, socket_path, watchdog
from bench.stats import median_ratio, number, percentile, ratios
from penstock.core.policy import Policy
from penstock.gateway.messages import Route
from penstock.model import DEFAULT_NAMESPACE

NAMES = ("first", "second", "third")
BLOCK = 50
"""Calls in a row to the same side."""
BODY = b"hello\n"
HANDLER = "def handle(event, context):\n    return event.body\n"


def measure(plan: Plan) -> Iterator[Finding]:
    yield _large(plan)
    yield _small(plan)


def _large(plan: Plan) -> Finding:
    with Stage() as stage:
        server = _three(stage, fprocess="cat", mode="streaming")
        body = stage.directory("body") / "zeros"
        with body.open("wb") as file:
            file.truncate(plan.body)
        sides = {
            "pipeline": partial(_chained, server, body, plan.body, ["|".join(NAMES)]),
            "curl | curl | curl": partial(_chained, server, body, plan.body, NAMES),
        }
        rates = alternate(plan.body_rounds, sides)
    ratio = median_ratio(rates["pipeline"], rates["curl | curl | curl"])
    rated = " / ".join(number(median(values)) for values in rates.values())
    return Finding(
        "pipeline",
        f"{number(plan.body / MIB)} MiB through three `streaming` `cat`s, throughput over three chained `curl`s",
        "≥ 3",
        f"{ratio:.2f} ({rated} MiB/s)",
        judge(ratio, at_least=3.0),
        {**{f"{name}, MiB/s": values for name, values in rates.items()}, "ratios": ratios(*rates.values())},
        (
            "One gateway worker and three watchdogs on unix sockets for both. `curl -T FILE` to `/function/first|second|third` and "
            "away, against one `curl -T FILE` to the first function and two `curl -T -` in a shell's pipe to the others.",
        ),
    )


def _three(stage: Stage, **environ: str) -> Server:
    """A worker before three functions that do the same."""
    routes = []
    for name in NAMES:
        address = socket_path(stage, name)
        watchdog(stage, address, **environ)
        policy = Policy(timeout=600.0)
        routes.append(Route(key=f"{name}.{DEFAULT_NAMESPACE}", endpoints=(address,), policy=policy))
    return gateway_worker(stage, [], routes)


def _chained(server: Server, body: Path, size: int, functions: Sequence[str]) -> float:
    """MiB/s of a file through these functions, a `curl` for each."""
    begun = time.perf_counter()
    with ExitStack() as running:
        source: int | None = None
        output: FileIO | None = None
        for index, function in enumerate(functions):
            command = ["curl", "-sSfgN", "-H", "Expect:", "-T", "-" if index else str(body)]
            command.append(f"http://{server.address}/function/{function.replace('|', '%7C')}")
            process = subprocess.Popen(command, stdin=source or subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0)
            running.enter_context(process)
            output = cast(FileIO, process.stdout)
            source = output.fileno()
        got, buffer = 0, bytearray(MIB)
        while output is not None and (count := output.readinto(buffer)):
            got += count
    if got != size:
        raise BenchError(f"{got} bytes came out of {functions}, {size} went in")
    return size / MIB / (time.perf_counter() - begun)


def _small(plan: Plan) -> Finding:
    with Stage() as stage:
        handler = stage.directory("handler") / "handler.py"
        handler.write_text(HANDLER)
        server = _three(stage, mode="python", handler=str(handler))
        client = _Client(server.address)
        sides = {"pipeline": ["|".join(NAMES)], "three calls": list(NAMES)}
        for functions in sides.values():
            client.times(functions, BLOCK * 10)
        blocks = alternate(plan.requests // BLOCK // 3, {n: partial(client.times, f, BLOCK) for n, f in sides.items()})
        client.close()
    taken = {name: [time for block in found for time in block] for name, found in blocks.items()}
    middle = {name: percentile(times, 0.5) for name, times in taken.items()}
    ratio = middle["pipeline"] / middle["three calls"]
    return Finding(
        "pipeline",
        "p50 of three small Python functions in a pipeline over three calls in a row",
        "≤ 0.8",
        f"{ratio:.2f} ({middle['pipeline']:.0f} / {middle['three calls']:.0f} µs)",
        judge(ratio, at_most=0.8),
        {f"{name} {what} µs": percentile(times, share) for name, times in taken.items() for what, share in _SHARES},
        (
            f"One kept connection, {len(BODY)} bytes, `mode=python` with default settings; each function answers with its body. {BLOCK} "
            "calls in turn; what one call answered is the next one's body.",
        ),
    )


_SHARES = (("p50", 0.5), ("p99", 0.99))


class _Client:
    """One kept connection that posts what it was answered to the next function."""

    def __init__(self, address: str) -> None:
        self._connection = connect(address)

    def close(self) -> None:
        self._connection.close()

    def times(self, functions: Sequence[str], count: int) -> list[float]:
        """Microseconds from the first send to the last answer, of `count` times through all functions."""
        requests = [request_head("POST", f"/function/{function}", len(BODY)) for function in functions]
        taken = []
        for _ in range(count):
            begun = time.perf_counter_ns()
            body = BODY
            for request in requests:
                self._connection.sendall(request + body)
                body = _answer(self._connection)
            taken.append((time.perf_counter_ns() - begun) / 1000)
            if body != BODY:
                raise BenchError(f"an answer differs from what was sent: {body[:200]!r}")
        return taken


def _answer(connection: socket.socket) -> bytes:
    """The body of an answer as long as `BODY`."""
    data = b""
    while True:
        more = connection.recv(65536)
        data += more
        if data.endswith(b"\r\n\r\n" + BODY):
            break
        if not more or not data.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"the server answered {data[:200]!r}")
    return data[-len(BODY) :]
