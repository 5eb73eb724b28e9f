"""A large body in and out of a `streaming` `cat` at the same time, through a gateway worker and to the watchdog directly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.bodies import MIB, Room, Source, through
from bench.plan import Plan
from bench.processes import Stage, cpu_seconds, memory, reset_peak
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.rows.bulk import gateway_worker_for
from bench.servers import socket_path, watchdog
from bench.stats import median_ratio, number, ratios

TCP, UNIX = "directly over TCP", "directly on its unix socket"
_DIRECT = {
    TCP: "Like for like: the client speaks TCP to the gateway, and TCP to a watchdog of its own.",
    UNIX: "The client speaks TCP to the gateway, but to the watchdog on the unix socket that the gateway uses, which by itself is "
    "much cheaper than TCP.",
}
_SHARED = "Client, worker, watchdog and `cat` share the processors; one thread sends (sendfile), one receives."


def measure(plan: Plan) -> Iterator[Finding]:
    source, room = Source(plan.body), Room(plan.body)
    try:
        with Stage() as stage:
            address = socket_path(stage, "function")
            on_unix = watchdog(stage, address, fprocess="cat", mode="streaming")
            over_tcp = watchdog(stage, fprocess="cat", mode="streaming")
            ours = gateway_worker_for(stage, address)
            work_before = cpu_seconds(ours.pid)
            before = memory(ours.pid, "VmRSS")["VmRSS"]
            reset_peak(ours.pid)
            results = alternate(
                plan.body_rounds,
                {
                    name: partial(through, server.address, server.target, source, room)
                    for name, server in (("penstock", ours), (TCP, over_tcp), (UNIX, on_unix))
                },
            )
            work = (cpu_seconds(ours.pid) - work_before) / plan.body_rounds
            growth = (memory(ours.pid, "VmHWM")["VmHWM"] - before) / MIB
    finally:
        room.close()
        source.close()
    rates = {name: [passage.rate for passage in passages] for name, passages in results.items()}
    sums = [passage.sha256 for passages in results.values() for passage in passages]
    identical = all(found == source.sha256 for found in sums)
    size = f"{number(plan.body / MIB)} MiB in and out at once (`cat`)"
    yield Finding(
        "duplex",
        f"{size}, byte-identical",
        "yes",
        "yes" if identical else "no",
        "met" if identical else "missed",
        {"sha256 sent": source.sha256, "sha256 received": sums},
        ("Every passage is kept whole in memory and hashed after its clock has stopped.",),
    )
    for direct, note in _DIRECT.items():
        ratio = median_ratio(rates["penstock"], rates[direct])
        yield Finding(
            "duplex",
            f"{size}, throughput over calling the watchdog {direct}",
            "≥ 0.7",
            f"{ratio:.2f} ({number(median(rates['penstock']))} / {number(median(rates[direct]))} MiB/s)",
            judge(ratio, at_least=0.7),
            {
                "penstock, MiB/s": rates["penstock"],
                f"{direct}, MiB/s": rates[direct],
                "ratios": ratios(rates["penstock"], rates[direct]),
                "seconds of a passage through the gateway": [passage.seconds for passage in results["penstock"]],
                "processor seconds of the worker in each": work,
                "growth of the worker's resident memory, MiB": growth,
            },
            (note, _SHARED),
        )
