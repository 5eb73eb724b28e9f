"""Serializing `cat` in a watchdog, called by `wrk -c4`, against a bare posix_spawn and wait loop that does the same work."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.http import exchange
from bench.plan import Plan
from bench.processes import PYTHON, BenchError, Stage
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import watchdog
from bench.stats import median_ratio, number, ratios
from bench.wrk import run

BODY = b"x" * 100
"""`post_body.lua` sends the same."""

CONNECTIONS = 4
SCRIPT = Path(__file__).with_name("post_body.lua")


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        server = watchdog(stage, fprocess="cat", mode="serializing")
        if exchange(server.address, "POST", "/", BODY) != (200, BODY):
            raise BenchError("the function does not return what it gets")
        rates = alternate(
            plan.rounds,
            {
                "penstock": lambda: run(server.url, connections=CONNECTIONS, seconds=plan.seconds, script=SCRIPT).rate,
                "one loop": lambda: _loops(1, plan.seconds),
                "two loops": lambda: _loops(2, plan.seconds),
            },
        )
    ratio = median_ratio(rates["penstock"], rates["one loop"])
    twice = median_ratio(rates["penstock"], rates["two loops"])
    yield Finding(
        "serializing",
        "`cat` requests/s over a bare posix_spawn+wait loop",
        "≥ 0.7",
        f"{ratio:.2f} ({number(median(rates['penstock']))} / {number(median(rates['one loop']))}); "
        f"{twice:.2f} of two loops at once",
        judge(ratio, at_least=0.7),
        {
            **{f"{name}, runs/s": values for name, values in rates.items()},
            "ratios": ratios(rates["penstock"], rates["one loop"]),
            "ratios to two loops": ratios(rates["penstock"], rates["two loops"]),
        },
        (
            f"Load: `wrk -t1 -c4`, POST of {len(BODY)} bytes straight to `penstock watchdog` over TCP. The watchdog is one "
            "process that runs up to four programs at once.",
            "Peer: one Python process that does posix_spawn, write, read to the end and waitpid, one program after another, "
            "without HTTP; the verdict is against it. Two such processes use a second processor as the watchdog's programs do.",
        ),
    )


def _loops(count: int, seconds: float) -> float:
    """Runs per second of so many bare loops together."""
    command = [PYTHON, "-m", "bench.spawn_loop", str(seconds), str(len(BODY))]
    loops = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    printed = [loop.communicate(timeout=seconds + 60)[0] for loop in loops]
    if any(loop.returncode for loop in loops):
        raise BenchError("the bare loop failed")
    return sum(float(text) for text in printed)
