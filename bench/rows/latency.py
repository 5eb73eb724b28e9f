"""Time that the gateway, and nginx, add to a request when there is only one at a time.

One kept connection to each of: the upstream itself, a gateway worker before it, nginx before it. They take turns in blocks
of requests, so that all meet the same machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.http import KeptAlive
from bench.plan import Plan
from bench.processes import Stage
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import fixed_upstream, gateway_worker, nginx_proxy
from bench.stats import percentile

BLOCK = 50
"""Requests in a row to the same server."""

LIMIT = 100.0
"""Microseconds."""


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        unix, tcp = fixed_upstream(stage)
        ours, theirs = gateway_worker(stage, [unix]), nginx_proxy(stage, unix)
        clients = {
            "direct": KeptAlive(unix, "/"),
            "direct over TCP": KeptAlive(tcp, "/"),
            "penstock": KeptAlive(ours.address, ours.target),
            "nginx": KeptAlive(theirs.address, "/"),
        }
        for client in clients.values():
            client.times(BLOCK * 10)
        blocks = alternate(plan.requests // BLOCK, {name: lambda c=c: c.times(BLOCK) for name, c in clients.items()})  # type: ignore[misc]
        for client in clients.values():
            client.close()
    taken = {name: [time for block in found for time in block] for name, found in blocks.items()}
    middle = {name: percentile(times, 0.5) for name, times in taken.items()}
    ours_added, theirs_added = middle["penstock"] - middle["direct"], middle["nginx"] - middle["direct"]
    numbers: dict[str, object] = {f"{name} p50 µs": value for name, value in middle.items()}
    numbers |= {f"{name} p99 µs": percentile(times, 0.99) for name, times in taken.items()}
    numbers |= {
        "requests to each": len(taken["direct"]),
        "penstock added over TCP direct, p50 µs": middle["penstock"] - middle["direct over TCP"],
        "nginx added over TCP direct, p50 µs": middle["nginx"] - middle["direct over TCP"],
    }
    yield Finding(
        "latency",
        "added at c=1, p50, over calling the upstream directly",
        "≤ 100 µs",
        f"{ours_added:.0f} µs (nginx: {theirs_added:.0f} µs)",
        judge(ours_added, at_most=LIMIT),
        numbers,
        (
            "Upstream: nginx `return 200`, called directly on the unix socket that both proxies use; the client reaches the "
            "proxies over TCP, so the difference of TCP and unix is charged to them. The numbers over TCP are given as well.",
            f"Client: one kept connection each on a raw blocking socket, {BLOCK} requests in turn.",
        ),
    )
