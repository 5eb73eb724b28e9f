"""Requests per second of a Python handler through the gateway, `wrk -t1 -c16`, against Flask on waitress behind nginx."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.http import exchange
from bench.plan import Plan
from bench.processes import BenchError, Stage
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Server, flask_upstream, gateway_worker, nginx_proxy, socket_path, watchdog
from bench.stats import median_ratio, number, ratios
from bench.wrk import Load, run

CONNECTIONS = 16
BODY = b"hello\n"
HANDLER = 'def handle(event, context):\n    return "hello\\n"\n'
ASYNCHRONOUS = f"async {HANDLER}"

_NOTES = (
    f"Load: `wrk -t1 -c{CONNECTIONS} --latency`, GET without a body; every answer is `hello`. Penstock: one gateway worker with "
    "default settings before one watchdog with `mode=python` and default settings (one worker process, 16 threads) on a unix "
    "socket. The handler is `def handle(event, context)`, not asynchronous.",
    "Peer: a Flask application with one route on waitress with its defaults (4 threads), or with as many threads as Penstock has, "
    "on a unix socket behind nginx with one worker, `keepalive 64`, HTTP/1.1, access log off. Each side thus has one process "
    "that proxies and one that runs the function.",
    "The load generator, both proxies and both functions share the processors.",
)


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        sides = {
            "penstock": _penstock(stage, HANDLER),
            "flask": nginx_proxy(stage, flask_upstream(stage)),
            "flask, 16 threads": nginx_proxy(stage, flask_upstream(stage, "--threads=16")),
            "penstock, async def": _penstock(stage, ASYNCHRONOUS),
        }
        for name, server in sides.items():
            if exchange(server.address, "GET", server.target) != (200, BODY):
                raise BenchError(f"{name} does not answer hello")
        loads = alternate(plan.rounds, {name: partial(_load, plan, server) for name, server in sides.items()})
    yield finding(loads, "penstock", "flask", "of Flask's on waitress behind nginx", judged=True)
    yield finding(loads, "penstock", "flask, 16 threads", "of the same with 16 threads")
    yield finding(loads, "penstock, async def", "flask", "of Flask's, with a handler that is `async def`")


def _penstock(stage: Stage, handler: str) -> Server:
    path = stage.directory("handler") / "handler.py"
    path.write_text(handler)
    address = socket_path(stage, "watchdog")
    watchdog(stage, address, mode="python", handler=str(path))
    return gateway_worker(stage, [address])


def _load(plan: Plan, server: Server) -> Load:
    return run(server.url, connections=CONNECTIONS, seconds=plan.seconds)


def finding(loads: dict[str, list[Load]], ours: str, theirs: str, what: str, *, judged: bool = False) -> Finding:
    """One comparison of two sides, by rounds."""
    rates = {name: [load.rate for load in loads[name]] for name in (ours, theirs)}
    ratio = median_ratio(*rates.values())
    return Finding(
        "python",
        f"requests/s of a Python handler over those {what}",
        "≥ 5" if judged else "",
        f"{ratio:.1f} ({number(median(rates[ours]))} / {number(median(rates[theirs]))})",
        judge(ratio, at_least=5.0) if judged else "info",
        {
            **{f"{name} requests/s": values for name, values in rates.items()},
            "ratios": ratios(*rates.values()),
            **{f"{name} p99 µs": [load.p99 for load in loads[name]] for name in (ours, theirs)},
        },
        _NOTES if judged else (),
    )
