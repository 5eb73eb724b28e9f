"""A second replica of a Python function whose imports take half a second, in a whole `penstock serve`: time until it is ready."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.plan import Plan
from bench.processes import BenchError, Stage
from bench.report import Finding, judge
from bench.servers import Serve, Watch
from bench.stats import percentile

LIMIT = 20.0
"""Milliseconds."""
IMPORT = 500.0
"""Milliseconds that the import takes."""
PAUSE = 0.3
"""Seconds between two measurements, so that nothing of the last one is still on its way out."""

NAME, ANEW = "second", "anew"
HANDLER = f"""\
import time
began = time.monotonic()
import flask
time.sleep(max(0.0, {IMPORT / 1000} - (time.monotonic() - began)))

def handle(event, context):
    return "hello\\n"
"""

_NOTES = (
    "`penstock serve` with the process provider. The handler imports Flask and sleeps until its import has taken 500 ms. Each time "
    "the function is scaled from one replica to two by the REST API. Clock: from the send of that POST to the first answer of "
    "`GET /system/function/NAME` that has two ready replicas, asked every millisecond on one kept connection; so the write of the "
    "desired state and the pace of the questions are part of it.",
    "Each replica importing for itself: the same with `python_reload=true`, which does without the warmed parent.",
)


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        handler = stage.directory("handler") / "handler.py"
        handler.write_text(HANDLER)
        serve = Serve(stage)
        times = {NAME: _starts(serve, NAME, plan.starts, handler)}
        times[ANEW] = _starts(serve, ANEW, max(3, plan.starts // 10), handler, python_reload="true")
    yield finding(times[NAME], times[ANEW])


def finding(second: list[float], anew: list[float]) -> Finding:
    """Of the milliseconds of each start, from the warmed parent and with an import of its own."""
    middle = percentile(second, 0.5)
    return Finding(
        "second-replica",
        "second replica of a Python function with imports of 500 ms, p50 until it is ready",
        "≤ 20 ms",
        f"{middle:.1f} ms ({percentile(anew, 0.5):,.0f} ms where each imports)",
        judge(middle, at_most=LIMIT),
        {
            "starts": len(second),
            "second replica, ms": second,
            "p99 ms": percentile(second, 0.99),
            "each importing, ms": anew,
        },
        _NOTES,
    )


def _starts(serve: Serve, name: str, count: int, handler: Path, **environ: str) -> list[float]:
    """Milliseconds of so many scalings to two. Raises BenchError when the function does not import as it should."""
    serve.deploy(name, "", mode="python", handler=str(handler), **environ)
    watch = Watch(serve, name)
    taken = []
    for _ in range(count):
        time.sleep(PAUSE)
        begun = time.perf_counter_ns()
        serve.ask_for(name, 2)
        watch.until_ready(2)
        taken.append((time.perf_counter_ns() - begun) / 1e6)
        serve.scale(name, 1)
    watch.close()
    if environ and min(taken) < IMPORT:
        raise BenchError(f"a replica of {name} was ready before its import could end")
    return taken
