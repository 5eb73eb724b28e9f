"""A Java function that is started once and kept, against the same function started for every request."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.http import timed_post
from bench.machine import ROOT
from bench.plan import Plan
from bench.processes import BenchError, Stage, wait_until
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Server, answers, watchdog
from bench.stats import percentile

SOURCES = (ROOT / "examples" / "afterburn" / "java" / "Afterburn.java", Path(__file__).with_name("Upper.java"))
OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"
"""For both sides: what makes a short life quick."""
BODY = b"a penstock carries water"
COLD, WARM = 5, 200
"""Requests to each in a round."""
LIMIT = 0.02


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        classes = _compile(stage.directory("classes"))
        command = f"java {OPTIONS} -cp {classes} Upper"
        cold = watchdog(stage, fprocess=command, mode="serializing")
        warm = watchdog(stage, fprocess=f"{command} serve", mode="afterburn", pool_size="1")
        wait_until(lambda: answers(warm.address, "/_/ready"), "the pool's program", process=warm.process)
        _calls(warm, WARM)
        rounds = alternate(
            plan.rounds, {"afterburn": lambda: _calls(warm, WARM), "serializing": lambda: _calls(cold, COLD)}
        )
    taken = {mode: [time for round_ in found for time in round_] for mode, found in rounds.items()}
    middle = {mode: percentile(times, 0.5) for mode, times in taken.items()}
    ratio = middle["afterburn"] / middle["serializing"]
    yield Finding(
        "afterburn",
        "a Java function, p50 at c=1, over starting `java` for each request",
        "≤ 0.02",
        f"{ratio:.4f} ({middle['afterburn']:.2f} ms / {middle['serializing']:.0f} ms: {1 / ratio:.0f} times faster)",
        judge(ratio, at_most=LIMIT),
        {
            **{f"{mode}, requests": len(times) for mode, times in taken.items()},
            **{
                f"{mode} p50 ms, by round": [percentile(times, 0.5) for times in found]
                for mode, found in rounds.items()
            },
            **{f"{mode} p99 ms": percentile(times, 0.99) for mode, times in taken.items()},
        },
        (
            f"Straight to `penstock watchdog` over TCP, a POST of {len(BODY)} bytes on a fresh connection, one at a time. Both "
            f"sides run the same compiled class ({SOURCES[1].name}) with {OPTIONS}.",
        ),
    )


def _compile(directory: Path) -> Path:
    done = subprocess.run(["javac", "-nowarn", "-d", directory, *SOURCES], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"javac failed: {done.stderr}")
    return directory


def _calls(server: Server, count: int) -> list[float]:
    """Milliseconds of each of so many requests, one after the other."""
    taken = []
    for _ in range(count):
        milliseconds, answer = timed_post(server.address, "/", BODY)
        if answer != BODY.upper():
            raise BenchError(f"the function answered {answer[:200]!r}")
        taken.append(milliseconds)
    return taken
