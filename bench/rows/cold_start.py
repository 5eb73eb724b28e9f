"""The first request to a function at zero replicas, in a whole `penstock serve`, less what its program takes by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.http import timed_post
from bench.plan import Plan
from bench.processes import BenchError, Stage
from bench.report import Finding, judge
from bench.servers import Serve
from bench.spawn_loop import find, run_once
from bench.stats import percentile

LIMIT = 15.0
"""Milliseconds."""

BODY = b"hello\n"
NAME = "sleeper"


PAUSE = 0.5
"""Seconds at zero before the request; a real function has been there for minutes."""

_NOTE = (
    "`penstock serve` with the process provider, one worker; `envProcess=cat`. Before each start the function is scaled to zero "
    "and not one replica is listed any more. Clock: from the send of one POST, on a fresh connection, to the last byte of its "
    "answer. The program alone: posix_spawn, write, read, waitpid."
)


def measure(plan: Plan) -> Iterator[Finding]:
    program = find("cat")
    settled, at_once, warm, alone = [], [], [], []
    with Stage() as stage:
        serve = Serve(stage)
        serve.deploy(NAME, "cat")
        for _ in range(plan.starts):
            warm.append(_request(serve))
            serve.scale(NAME, 0)
            time.sleep(PAUSE)
            settled.append(_request(serve))
            serve.scale(NAME, 0)
            at_once.append(_request(serve))
            alone.append(_program(program))
    yield _finding(f"at zero for {PAUSE:g} s", settled, warm, alone)
    yield _finding("at zero since that moment", at_once, warm, alone)


def _finding(since: str, cold: list[float], warm: list[float], alone: list[float]) -> Finding:
    added = percentile(cold, 0.5) - percentile(alone, 0.5)
    return Finding(
        "cold-start",
        f"request to a function {since}, p50, over the program's own run time",
        "≤ 15 ms",
        f"{added:.1f} ms ({percentile(cold, 0.5):.1f} less {percentile(alone, 0.5):.1f})",
        judge(added, at_most=LIMIT),
        {
            "starts": len(cold),
            "cold, ms": cold,
            "cold p99 ms": percentile(cold, 0.99),
            "warm p50 ms": percentile(warm, 0.5),
            "program alone, ms": alone,
        },
        (_NOTE,),
    )


def _request(serve: Serve) -> float:
    """Milliseconds for one POST."""
    taken, body = timed_post(serve.address, f"/function/{NAME}", BODY)
    if body != BODY:
        raise BenchError(f"the function answered {body[:500]!r}")
    return taken


def _program(program: str) -> float:
    begun = time.perf_counter_ns()
    if run_once(program, BODY) != BODY:
        raise BenchError(f"{program} did not return what it got")
    return (time.perf_counter_ns() - begun) / 1e6
