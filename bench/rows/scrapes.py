"""Invocations while Prometheus reads the metrics of many functions every second, against none; and what one scrape costs control."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

from bench.http import exchange
from bench.plan import Plan
from bench.processes import BenchError, Stage, children, cpu_seconds
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Serve
from bench.stats import median_ratio, number, percentile, ratios
from bench.wrk import Load, run

LIMIT = 30.0
"""Milliseconds of control's processor time for one scrape."""
SLOWER = 1.2
"""p99 of invocations beside scrapes over p99 without."""

WORKERS = 4
CONNECTIONS = 16
EVERY = 1.0
"""Seconds from one scrape to the next; Prometheus' shortest usual interval is five."""
SCRAPES = 20
"""One after the other, to see what one costs."""

CALLED = "called"
HANDLER = "async def handle(event, context):\n    return 'ok'\n"
ASLEEP = "asleep"

_NOTES = (
    f"`penstock serve --workers {WORKERS}` with the process provider, without autoscaling. Every function at zero was called once and "
    "then set to zero, so that all have series in each family. "
    f"`wrk -t1 -c{CONNECTIONS}` calls one more function of mode `python`, whose handler is `async def`; a thread of the bench reads "
    f"/metrics every {EVERY:g} s, or does not. Load generator, reader and all processes of Penstock share the processors.",
)

_COST = (
    f"Processor time of the control process over {SCRAPES} scrapes, one after the other and without other load, for each; "
    "`wall` is from the request to the last byte.",
)


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        serve = Serve(stage, "--workers", str(WORKERS))
        fill(serve, plan.functions)
        handler = stage.directory("handler") / "handler.py"
        handler.write_text(HANDLER)
        environ = {"mode": "python", "handler": str(handler)}
        serve.deploy_all({"service": CALLED, "image": "", "envVars": environ})
        cost, wall, size = _cost(serve)
        sides = {"scraped": partial(_scraped, serve, plan), "alone": partial(_alone, serve, plan)}
        loads = alternate(plan.rounds, sides)
    yield invocations(loads, plan.functions)
    yield Finding(
        "scrapes",
        f"control's processor time for one scrape of {plan.functions:,} functions",
        f"≤ {LIMIT:.0f} ms",
        f"{cost:.1f} ms ({size / 1e6:.1f} MB)",
        judge(cost, at_most=LIMIT),
        {"processor time of one, ms": cost, "wall p50 ms": percentile(wall, 0.5), "wall, ms": wall, "bytes": size},
        _COST,
    )


def invocations(loads: dict[str, list[Load]], functions: int) -> Finding:
    """Latencies of both sides, by rounds."""
    p99 = {name: [load.p99 for load in found] for name, found in loads.items()}
    p50 = {name: [load.p50 for load in found] for name, found in loads.items()}
    rates = {name: [load.rate for load in found] for name, found in loads.items()}
    ratio = median_ratio(p99["scraped"], p99["alone"])
    return Finding(
        "scrapes",
        f"p99 of invocations beside a scrape of {functions:,} functions every second, over p99 without",
        f"≤ {SLOWER:g}",
        f"{ratio:.2f} ({number(median(p99['scraped']) / 1000)} / {number(median(p99['alone']) / 1000)} ms; "
        f"p50 {number(median(p50['scraped']) / 1000)} / {number(median(p50['alone']) / 1000)} ms)",
        judge(ratio, at_most=SLOWER),
        {
            "ratios of p99": ratios(p99["scraped"], p99["alone"]),
            "ratios of p50": ratios(p50["scraped"], p50["alone"]),
            **{f"{name} p99 µs": values for name, values in p99.items()},
            **{f"{name} p50 µs": values for name, values in p50.items()},
            **{f"{name} requests/s": values for name, values in rates.items()},
        },
        _NOTES,
    )


def fill(serve: Serve, functions: int) -> None:
    """Deploy so many functions, call each once and set it to zero. Raises BenchError."""
    names = [f"{ASLEEP}-{number}" for number in range(functions)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(_called_once, serve), names))


def _called_once(serve: Serve, name: str) -> None:
    labels = {"com.openfaas.scale.min": "0"}  # nothing starts before the call
    serve.call("POST", "/system/functions", {"service": name, "image": "", "envProcess": "cat", "labels": labels})
    serve.call_function(name, b"x")
    serve.ask_for(name, 0)


def _scraped(serve: Serve, plan: Plan) -> Load:
    over = threading.Event()
    failures: list[Exception] = []

    def read() -> None:
        try:
            while not over.wait(EVERY):
                _scrape(serve)
        except (BenchError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        load = _alone(serve, plan)
    finally:
        over.set()
        thread.join()
    if failures:
        raise BenchError(f"a scrape failed: {failures[0]}")
    return load


def _alone(serve: Serve, plan: Plan) -> Load:
    return run(f"http://{serve.address}/function/{CALLED}", connections=CONNECTIONS, seconds=plan.seconds)


def _cost(serve: Serve) -> tuple[float, list[float], int]:
    """Milliseconds of control's processor time for one scrape, of the clock for each, and the bytes of one."""
    control = _control(serve)
    _scrape(serve)
    wall, size, before = [], 0, cpu_seconds(control)
    for _ in range(SCRAPES):
        begun = time.perf_counter()
        size = _scrape(serve)
        wall.append((time.perf_counter() - begun) * 1000)
    return (cpu_seconds(control) - before) / SCRAPES * 1000, wall, size


def _control(serve: Serve) -> int:
    """The process id of control, a child of `penstock serve`."""
    for child in children(serve.process.pid):
        if b"penstock.control.process" in Path(f"/proc/{child}/cmdline").read_bytes():
            return child
    raise BenchError("penstock serve has no control process")


def _scrape(serve: Serve) -> int:
    """Bytes of the page."""
    status, body = exchange(serve.metrics, "GET", "/metrics")
    if status != 200:
        raise BenchError(f"/metrics answered {status}")
    return len(body)
