"""Requests per second of a worker that holds many idle kept connections, against one that holds none."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.limits import raise_open_files
from bench.plan import Plan
from bench.processes import PYTHON, BenchError, Stage, memory
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Server, fixed_upstream, gateway_worker
from bench.stats import median_ratio, number, ratios
from bench.wrk import Load, run

CONNECTIONS = 32

BUDGET = 90.0
"""Seconds of load at most: idle connections are closed by the worker after 120."""


def measure(plan: Plan) -> Iterator[Finding]:
    raise_open_files(plan.idle + 1000)
    with Stage() as stage:
        address, _ = fixed_upstream(stage)
        empty, full = gateway_worker(stage, [address]), gateway_worker(stage, [address])
        run(full.url, connections=CONNECTIONS, seconds=1)  # settle its memory before it is weighed
        before = memory(full.pid, "VmRSS")["VmRSS"]
        holder = Holder(full, plan.idle)
        stage.at_end(holder.stop)
        grown = memory(full.pid, "VmRSS")["VmRSS"] - before
        rounds = min(plan.rounds, int(BUDGET / (2 * plan.seconds)))
        results = alternate(rounds, {"full": partial(_load, full, plan), "empty": partial(_load, empty, plan)})
        kept = holder.count()
    if kept < plan.idle:
        raise BenchError(f"only {kept} of {plan.idle} idle connections lasted until the end")
    rates = {name: [load.rate for load in loads] for name, loads in results.items()}
    ratio = median_ratio(rates["full"], rates["empty"])
    yield Finding(
        "idle",
        f"requests/s beside {plan.idle:,} idle connections over the empty case",
        "≥ 0.8",
        f"{ratio:.2f} ({number(median(rates['full']))} / {number(median(rates['empty']))}), "
        f"{grown / plan.idle / 1024:.1f} KiB per connection",
        judge(ratio, at_least=0.8),
        {
            "requests/s, full": rates["full"],
            "requests/s, empty": rates["empty"],
            "ratios": ratios(rates["full"], rates["empty"]),
            "resident bytes per connection": grown / plan.idle,
            "connections still open at the end": kept,
        },
        (
            "Two workers side by side with the same upstream; the idle connections come from a process of their own and "
            "each has had one request answered. Memory is the worker's VmRSS; the kernel's socket memory is not in it.",
        ),
    )


class Holder:
    """The process that holds the connections."""

    def __init__(self, server: Server, count: int) -> None:
        command = [PYTHON, "-m", "bench.hold", server.address, server.target, str(count)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            held = self._answer()
            if held != count:
                raise BenchError(f"{held} of {count} connections could be opened")
        except BaseException:
            self.stop()
            raise
        time.sleep(0.5)

    def count(self) -> int:
        """Connections that the server still keeps."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("held "):
            raise BenchError("the process that holds idle connections has ended")
        return int(line.split()[1])


def _load(server: Server, plan: Plan) -> Load:
    return run(server.url, connections=CONNECTIONS, seconds=plan.seconds)
