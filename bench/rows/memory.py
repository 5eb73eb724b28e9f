"""Private memory of an idle replica: what each further function costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from bench.plan import Plan
from bench.processes import BenchError, Stage, children, private_memory
from bench.report import Finding, judge
from bench.servers import Serve
from penstock.providers.runtimes.records import read_record
from penstock.settings import Home

FUNCTIONS = 20

LIMIT = 5.0
"""MiB."""

ZYGOTE = b"penstock.providers.runtimes.zygote"
MIB = 1 << 20


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        serve = Serve(stage)
        for index in range(FUNCTIONS):
            serve.deploy(f"idle-{index}", "cat")
        zygote = _zygote(serve.process.pid)
        before = [_tree(pid) / MIB for pid in _replicas(serve.home)]
        for index in range(FUNCTIONS):
            for _ in range(5):
                serve.call_function(f"idle-{index}", b"hello\n")
        after = [_tree(pid) / MIB for pid in _replicas(serve.home)]
        shared = [
            private_memory(pid) / MIB for pid in (zygote, *sorted({*children(zygote)} - {*_replicas(serve.home)}))
        ]
    if len(before) != FUNCTIONS or len(after) != FUNCTIONS:
        raise BenchError(f"{len(before)} replicas of {FUNCTIONS} functions, then {len(after)}")
    worst = max(mean(before), mean(after))
    yield Finding(
        "memory",
        "private memory of an idle replica, mean",
        "≤ 5 MiB",
        f"{mean(before):.1f} MiB fresh, {mean(after):.1f} MiB after five requests",
        judge(worst, at_most=LIMIT),
        {"fresh, MiB": before, "after five requests, MiB": after, "zygote and who stands by, MiB": shared},
        (
            f"{FUNCTIONS} functions (`cat`, serializing) with one replica each in a whole `penstock serve`. A replica is the process "
            "that its record names, with its descendants; Private_Clean and Private_Dirty of smaps_rollup. The larger mean decides.",
        ),
    )


def _zygote(supervisor: int) -> int:
    """The zygote among the supervisor's children. Raises BenchError when there is none."""
    for pid in children(supervisor):
        if ZYGOTE in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise BenchError("penstock serve has no zygote")


def _replicas(home: Path) -> list[int]:
    """Process ids of all replicas, as their records have them."""
    records = [read_record(directory) for directory in Home(home).replicas.iterdir()]
    return sorted(record.pid for record in records if record is not None)


def _tree(pid: int) -> int:
    """Private memory of a process and its descendants, in bytes."""
    return private_memory(pid) + sum(_tree(child) for child in children(pid))
