"""A large upload to a function that discards it and a large download from one that makes it, `streaming`, each against nginx
before the same watchdog; and what a gateway worker's memory does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median

from bench.bodies import MIB, Passage, Source, download, upload
from bench.plan import Plan
from bench.processes import Stage, cpu_seconds, memory, reset_peak
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Server, gateway_worker, nginx_options, nginx_proxy, socket_path, watchdog
from bench.stats import median_ratio, number, ratios

GROWTH = 16.0
"""MiB."""

_NOTE = (
    "The function's watchdog listens on a unix socket; gateway worker and nginx proxy to the same one, the client calls them "
    "over TCP. nginx is measured twice, both with `proxy_request_buffering off`: with `proxy_buffering off` and a 64 KiB buffer, and with "
    "`proxy_buffering on`, sixteen buffers of 64 KiB and no temporary file. The verdict is against the faster one."
)
_CLIENT = "Client: a raw socket, sendfile out of memory for the upload, recv_into one buffer for the download."


def measure(plan: Plan) -> Iterator[Finding]:
    source = Source(plan.body)
    try:
        yield from _compare(plan, "upload", "wc -c", lambda server: upload(server.address, server.target, source))
    finally:
        source.close()
    make = f"head -c {plan.body} /dev/zero"
    yield from _compare(plan, "download", make, lambda server: download(server.address, server.target, plan.body))


def _compare(plan: Plan, what: str, program: str, passage: Callable[[Server], Passage]) -> Iterator[Finding]:
    with Stage() as stage:
        address = socket_path(stage, "function")
        function = watchdog(stage, address, fprocess=program, mode="streaming")
        ours = gateway_worker_for(stage, address)
        sides = {
            "penstock": ours,
            "nginx unbuffered": nginx_proxy(stage, address, *nginx_options(buffered=False)),
            "nginx buffered": nginx_proxy(stage, address, *nginx_options(buffered=True)),
            "direct": function,
        }
        work_before = {name: cpu_seconds(server.pid) for name, server in sides.items()}
        before = memory(ours.pid, "VmRSS")["VmRSS"]
        reset_peak(ours.pid)
        results = alternate(plan.body_rounds, {name: partial(passage, server) for name, server in sides.items()})
        work = {n: (cpu_seconds(s.pid) - work_before[n]) / plan.body_rounds for n, s in sides.items() if n != "direct"}
        after = memory(ours.pid, "VmRSS", "VmHWM")
    rates = {name: [passage.rate for passage in passages] for name, passages in results.items()}
    yield _throughput(what, program, plan.body, rates, work)
    growth = (after["VmHWM"] - before) / MIB
    yield Finding(
        "bulk",
        f"growth of the gateway worker's resident memory, {what}",
        "< 16 MiB",
        f"{growth:.1f} MiB at its highest",
        judge(growth, at_most=GROWTH),
        {"before, MiB": before / MIB, "highest, MiB": after["VmHWM"] / MIB, "after, MiB": after["VmRSS"] / MIB},
        (f"VmHWM over {plan.body_rounds} passages less VmRSS before the first.",),
    )


def gateway_worker_for(stage: Stage, address: str) -> Server:
    """A worker that has had no large body yet, with a limit on time that a slow machine does not reach."""
    return gateway_worker(stage, [address], timeout=600.0)


def _throughput(
    what: str, program: str, size: int, rates: Mapping[str, list[float]], work: Mapping[str, float]
) -> Finding:
    best = max(("nginx unbuffered", "nginx buffered"), key=lambda name: median(rates[name]))
    ratio = median_ratio(rates["penstock"], rates[best])
    return Finding(
        "bulk",
        f"{number(size / MIB)} MiB {what} (`{program}`), throughput over {best.replace(' ', ', ')}",
        "≥ 0.7",
        f"{ratio:.2f} ({number(median(rates['penstock']))} / {number(median(rates[best]))} MiB/s)",
        judge(ratio, at_least=0.7),
        {
            **{f"{name}, MiB/s": values for name, values in rates.items()},
            "ratios": ratios(rates["penstock"], rates[best]),
            "processor seconds of each proxy for one body": work,
        },
        (_NOTE, _CLIENT),
    )
