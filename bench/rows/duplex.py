"""A large body in and out of a `streaming` `cat` at the same time, through a gateway worker and to the watchdog directly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.bodies import MIB, Passage, Room, Source, through
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


@dataclass(frozen=True)
class Measured:
    """What the passages of one run showed."""

    passages: dict[str, list[Passage]]
    sent: str
    """SHA-256 of what was sent."""
    work: float
    """Processor seconds of the worker for a passage."""
    growth: float
    """MiB that the worker's resident memory grew by at its highest."""

    @property
    def rates(self) -> dict[str, list[float]]:
        return {name: [passage.rate for passage in passages] for name, passages in self.passages.items()}

    @property
    def received(self) -> list[str]:
        """SHA-256 of what each passage gave back."""
        return [passage.sha256 for passages in self.passages.values() for passage in passages]


def measure(plan: Plan) -> Iterator[Finding]:
    source, room = Source(plan.body), Room(plan.body)
    try:
        measured = _run(plan, source, room)
    finally:
        room.close()
        source.close()
    size = f"{number(plan.body / MIB)} MiB in and out at once (`cat`)"
    identical = set(measured.received) == {measured.sent}
    yield Finding(
        "duplex",
        f"{size}, byte-identical",
        "yes",
        "yes" if identical else "no",
        "met" if identical else "missed",
        {"sha256 sent": measured.sent, "sha256 received": measured.received},
        ("Every passage is kept whole in memory and hashed after its clock has stopped.",),
    )
    for direct, note in _DIRECT.items():
        yield _throughput(size, direct, note, measured)


def _run(plan: Plan, source: Source, room: Room) -> Measured:
    with Stage() as stage:
        address = socket_path(stage, "function")
        on_unix = watchdog(stage, address, fprocess="cat", mode="streaming")
        over_tcp = watchdog(stage, fprocess="cat", mode="streaming")
        ours = gateway_worker_for(stage, address)
        work, before = cpu_seconds(ours.pid), memory(ours.pid, "VmRSS")["VmRSS"]
        reset_peak(ours.pid)
        servers = {"penstock": ours, TCP: over_tcp, UNIX: on_unix}
        passages = alternate(
            plan.body_rounds,
            {name: partial(through, at.address, at.target, source, room) for name, at in servers.items()},
        )
        work = (cpu_seconds(ours.pid) - work) / plan.body_rounds
        growth = (memory(ours.pid, "VmHWM")["VmHWM"] - before) / MIB
    return Measured(passages, source.sha256, work, growth)


def _throughput(size: str, direct: str, note: str, measured: Measured) -> Finding:
    ours, theirs = measured.rates["penstock"], measured.rates[direct]
    ratio = median_ratio(ours, theirs)
    return Finding(
        "duplex",
        f"{size}, throughput over calling the watchdog {direct}",
        "≥ 0.7",
        f"{ratio:.2f} ({number(median(ours))} / {number(median(theirs))} MiB/s)",
        judge(ratio, at_least=0.7),
        {
            "penstock, MiB/s": ours,
            f"{direct}, MiB/s": theirs,
            "ratios": ratios(ours, theirs),
            "seconds of a passage through the gateway": [passage.seconds for passage in measured.passages["penstock"]],
            "processor seconds of the worker in each": measured.work,
            "growth of the worker's resident memory, MiB": measured.growth,
        },
        (note, _SHARED),
    )
