"""A program that starts slowly, called twenty times a second: processes that wait for requests against one started for each."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.http import timed_post
from bench.plan import Plan
from bench.processes import BenchError, Stage
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Server, watchdog
from bench.stats import percentile

INTERPRETER = "/usr/bin/python3"
"""The machine's own: a program that users run is not started from an environment of ours."""
PROGRAM = "import sys,json;json.dump(json.load(sys.stdin),sys.stdout)"
BODY = b'{"name": "gate", "sizes": [1, 2, 3]}'
RATE = 20.0
"""Requests per second."""
LIMIT = 0.25


def measure(plan: Plan) -> Iterator[Finding]:
    fprocess = f"{INTERPRETER} -c {PROGRAM}".replace(
        "import ", "import\t"
    )  # fprocess is split at spaces, Python takes tabs
    with Stage() as stage:
        servers = {
            mode: watchdog(stage, fprocess=fprocess, mode=mode, cgi_headers="false")
            for mode in ("prefork", "serializing")
        }
        for server in servers.values():
            _paced(server, plan.seconds)  # the pool learns the rate
        rounds = alternate(
            plan.rounds,
            {mode: lambda s=server: _paced(s, plan.seconds) for mode, server in servers.items()},  # type: ignore[misc]
        )
    taken = {mode: [time for round_ in found for time in round_] for mode, found in rounds.items()}
    middle = {mode: percentile(times, 0.5) for mode, times in taken.items()}
    ratio = middle["prefork"] / middle["serializing"]
    yield Finding(
        "prefork",
        "`python3 -c 'import sys,json; …'` at 20 requests/s, p50 over the same in serializing",
        "≤ 0.25",
        f"{ratio:.2f} ({middle['prefork']:.1f} ms / {middle['serializing']:.1f} ms)",
        judge(ratio, at_most=LIMIT),
        {
            "requests to each": len(taken["prefork"]),
            **{
                f"{mode} p50 ms, by round": [percentile(times, 0.5) for times in found]
                for mode, found in rounds.items()
            },
            **{f"{mode} p99 ms": percentile(times, 0.99) for mode, times in taken.items()},
        },
        (
            f"Straight to `penstock watchdog` over TCP, a POST of {len(BODY)} bytes on a fresh connection every "
            f"{1000 / RATE:g} ms. The pool is automatic. The interpreter is {INTERPRETER}; both modes wait for its end, "
            "since only the exit code tells whether the output is an answer.",
        ),
    )


def _paced(server: Server, seconds: float) -> list[float]:
    """Milliseconds of each of the requests of so many seconds. One that takes longer than the pause delays those after it."""
    taken = []
    begun = time.monotonic()
    for number in range(int(seconds * RATE)):
        time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        milliseconds, answer = timed_post(server.address, "/", BODY)
        if answer != BODY:
            raise BenchError(f"the function answered {answer[:200]!r}")
        taken.append(milliseconds)
    return taken
