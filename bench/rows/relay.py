"""Requests per second and p99 of one gateway worker, `wrk -t1 -c32`, against nginx with the same upstream.

Two upstreams: nginx answering by itself, which leaves the most to see of the proxy and decides the verdict, and a small
echo server in Python. A third pair lets every request have another head, because wrk repeats itself to the byte and a
gateway worker remembers a head that a connection repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench.plan import Plan
from bench.processes import Stage, cpu_seconds
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Server, echo_upstream, fixed_upstream, gateway_worker, nginx_proxy
from bench.stats import median_ratio, number, ratios, spread
from bench.wrk import Load, run

CONNECTIONS = 32
DIFFERENT = Path(__file__).with_name("different_heads.lua")

_NOTE = (
    "Load: `wrk -t1 -c32 --latency`, GET without a body. Gateway: one worker process as `penstock serve` starts it, default "
    "settings (call ids, counters, forwarded fields, timeouts). nginx: `worker_processes 1`, `keepalive 64` to the upstream, "
    "HTTP/1.1 both ways, access log off, no request limit per connection, no fields added. The upstream is a unix socket."
)
_WHOSE_CPU = (
    "wrk, the proxy and the upstream share the processors, so a proxy's own cost weighs less than alone on its core."
)


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        address, _ = fixed_upstream(stage)
        ours, theirs = gateway_worker(stage, [address]), nginx_proxy(stage, address)
        yield from _compare(plan, ours, theirs, "upstream nginx `return 200`", judged=True)
        yield from _compare(plan, ours, theirs, "upstream nginx, no two heads alike", script=DIFFERENT)
    with Stage() as stage:
        address, _ = echo_upstream(stage)
        ours, theirs = gateway_worker(stage, [address]), nginx_proxy(stage, address)
        yield from _compare(plan, ours, theirs, "upstream echo in Python on uvloop")


def _compare(
    plan: Plan, ours: Server, theirs: Server, against: str, *, judged: bool = False, script: Path | None = None
) -> Iterator[Finding]:
    work = {"penstock": Work(), "nginx": Work()}

    def load(name: str, server: Server) -> Load:
        before = cpu_seconds(server.pid)
        load = run(server.url, connections=CONNECTIONS, seconds=plan.seconds, script=script)
        work[name].add(load.requests, cpu_seconds(server.pid) - before)
        return load

    sides = {"penstock": ours, "nginx": theirs}
    results = alternate(plan.rounds, {name: partial(load, name, server) for name, server in sides.items()})
    rates = {name: [load.rate for load in loads] for name, loads in results.items()}
    tails = {name: [load.p99 for load in loads] for name, loads in results.items()}
    rate = median_ratio(rates["penstock"], rates["nginx"])
    tail = median_ratio(tails["penstock"], tails["nginx"])
    yield Finding(
        "relay",
        f"requests/s over nginx's, {against}",
        "≥ 0.6 (aim 1.0)" if judged else "",
        f"{rate:.2f} ({_middle(rates['penstock'])} / {_middle(rates['nginx'])})",
        judge(rate, at_least=0.6) if judged else "info",
        {**{f"{name} requests/s": values for name, values in rates.items()}, "ratios": ratios(*rates.values())}
        | {f"{name} processor time, µs a request": done.each for name, done in work.items()},
        (_NOTE, _WHOSE_CPU),
    )
    yield Finding(
        "relay",
        f"p99 over nginx's, {against}",
        "≤ 2" if judged else "",
        f"{tail:.2f} ({_middle(tails['penstock'])} µs / {_middle(tails['nginx'])} µs)",
        judge(tail, at_most=2.0) if judged else "info",
        {**{f"{name} p99 µs": values for name, values in tails.items()}, "spread": spread(ratios(*tails.values()))},
        ("Taken from the same runs as requests/s, each proxy at its own full speed.",),
    )


@dataclass
class Work:
    """Processor time that requests took in a proxy."""

    requests: int = 0
    seconds: float = 0.0

    def add(self, requests: int, seconds: float) -> None:
        self.requests += requests
        self.seconds += seconds

    @property
    def each(self) -> float:
        """Microseconds a request."""
        return self.seconds / self.requests * 1e6


def _middle(values: list[float]) -> str:
    return number(median(values))
