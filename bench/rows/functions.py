"""Requests per second of a worker that knows many functions at zero replicas, against one that knows only the one called."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.plan import Plan
from bench.processes import Stage, memory
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Server, fixed_upstream, gateway_worker
from bench.stats import median_ratio, number, ratios
from bench.wrk import Load, run
from penstock.gateway.messages import Route
from penstock.model import DEFAULT_NAMESPACE

CONNECTIONS = 32


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        address, _ = fixed_upstream(stage)
        asleep = [Route(key=f"asleep-{number}.{DEFAULT_NAMESPACE}") for number in range(plan.functions)]
        empty, full = gateway_worker(stage, [address]), gateway_worker(stage, [address], asleep)
        size = memory(full.pid, "VmRSS")["VmRSS"] - memory(empty.pid, "VmRSS")["VmRSS"]
        results = alternate(plan.rounds, {"full": partial(_load, full, plan), "empty": partial(_load, empty, plan)})
    rates = {name: [load.rate for load in loads] for name, loads in results.items()}
    ratio = median_ratio(rates["full"], rates["empty"])
    yield Finding(
        "functions",
        f"requests/s with {plan.functions:,} functions at zero over the empty case",
        "≥ 0.8",
        f"{ratio:.2f} ({number(median(rates['full']))} / {number(median(rates['empty']))})",
        judge(ratio, at_least=0.8),
        {
            "requests/s, full": rates["full"],
            "requests/s, empty": rates["empty"],
            "ratios": ratios(rates["full"], rates["empty"]),
            "resident bytes per function": size / plan.functions,
        },
        (
            "Two workers side by side, each with its own route feed; `wrk -t1 -c32` calls the one function that has a replica.",
        ),
    )


def _load(server: Server, plan: Plan) -> Load:
    return run(server.url, connections=CONNECTIONS, seconds=plan.seconds)
