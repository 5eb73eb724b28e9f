"""A large body in and out of a `streaming` `cat` at the same time, through a gateway worker and to the watchdog directly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.bodies import MIB, Room, Source, through
from bench.plan import Plan
from bench.processes import Stage, memory, reset_peak
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.rows.bulk import gateway_worker_for
from bench.servers import socket_path, watchdog
from bench.stats import median_ratio, number, ratios


def measure(plan: Plan) -> Iterator[Finding]:
    source, room = Source(plan.body), Room(plan.body)
    try:
        with Stage() as stage:
            address = socket_path(stage, "function")
            direct = watchdog(stage, address, fprocess="cat", mode="streaming")
            over_tcp = watchdog(stage, fprocess="cat", mode="streaming")
            ours = gateway_worker_for(stage, address)
            before = memory(ours.pid, "VmRSS")["VmRSS"]
            reset_peak(ours.pid)
            results = alternate(
                plan.body_rounds,
                {
                    name: partial(through, server.address, server.target, source, room)
                    for name, server in (("penstock", ours), ("direct", direct), ("direct over TCP", over_tcp))
                },
            )
            growth = (memory(ours.pid, "VmHWM")["VmHWM"] - before) / MIB
    finally:
        room.close()
        source.close()
    rates = {name: [passage.rate for passage in passages] for name, passages in results.items()}
    sums = [passage.sha256 for passages in results.values() for passage in passages]
    identical = all(found == source.sha256 for found in sums)
    ratio = median_ratio(rates["penstock"], rates["direct"])
    like = median_ratio(rates["penstock"], rates["direct over TCP"])
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
    yield Finding(
        "duplex",
        f"{size}, throughput over calling the watchdog directly",
        "≥ 0.7",
        f"{ratio:.2f} ({number(median(rates['penstock']))} / {number(median(rates['direct']))} MiB/s); "
        f"{like:.2f} of a direct call over TCP",
        judge(ratio, at_least=0.7),
        {
            **{f"{name}, MiB/s": values for name, values in rates.items()},
            "ratios": ratios(rates["penstock"], rates["direct"]),
            "ratios over TCP": ratios(rates["penstock"], rates["direct over TCP"]),
            "growth of the worker's resident memory, MiB": growth,
        },
        (
            "The direct call of the verdict goes to the watchdog's unix socket, the gateway's goes over TCP to a worker and on by "
            "that socket; a direct call over TCP to a second watchdog is given too. "
            "Client, worker, watchdog and `cat` share the processors; one thread sends (sendfile), one receives.",
        ),
    )
