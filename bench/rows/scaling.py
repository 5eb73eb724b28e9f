"""A step from 1 to 200 requests/s on a function of 50 ms: time until the right number of replicas is ready, by load and by alerts;
and the processor time of one decision about 1,000 functions."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from bench.http import exchange, request_head
from bench.inflight import InFlight
from bench.machine import ROOT
from bench.plan import Plan
from bench.processes import BenchError, Process, Stage, free_port, wait_until
from bench.report import Finding, judge
from bench.servers import Serve, accepts
from bench.stats import percentile
from penstock.autoscaler.journal import Journal
from penstock.autoscaler.loads import Loads
from penstock.autoscaler.meter import Meter
from penstock.autoscaler.scaler import Scaler
from penstock.autoscaler.sources import Sources
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec
from penstock.providers.base import Provider
from penstock.testing.clock import FakeClock

LIMIT = 3.0
"""Seconds."""
TICK_LIMIT = 50.0
"""Milliseconds of processor time."""

RATE = 200
BEFORE = 1
"""Requests a second after and before the step."""
CALL = 0.05
RIGHT = math.ceil(RATE * CALL)
"""Requests in flight, of which each replica is given one."""
AFTER = 15.0
"""Seconds that the load stays after the step, to see whether there are too many."""
ALERTED = 330.0
"""Seconds until alerts must have brought as many."""
PAUSE = 0.01
"""Seconds between two looks."""

NAME = "stepped"
BODY = "ok"
HANDLER = f"import asyncio\n\nasync def handle(event, context):\n    await asyncio.sleep({CALL})\n    return {BODY!r}\n"
LABELS = {
    "com.openfaas.scale.type": "capacity",
    "com.openfaas.scale.target": "1",
    "com.openfaas.scale.target-proportion": "1",
}
SHIPPED = ROOT / "deploy" / "prometheus"

SETTLED = 2.0
"""Seconds after the step from which on the requests in flight are those of the load that stays."""

_NOTES = (
    "`penstock serve` with the process provider; mode `python`, a handler that sleeps 50 ms; type `capacity`, target 1. Requests begin "
    "at a fixed pace, whether or not earlier ones were answered. Clock: from the first request at the new pace to the first answer of "
    f"`GET /system/function/NAME` with {RIGHT} ready replicas, asked every {PAUSE * 1000:.0f} ms.",
    "By alerts: the same load with `penstock serve --no-autoscaling`, Prometheus and Alertmanager of the machine with the files of "
    "deploy/prometheus, whose rule is evaluated every 5 s, three times as often as OpenFaaS ships it. Alerts go on to the maximum "
    "when there are enough.",
)

_BEYOND = (
    "Need is measured: calls take longer than the 50 ms that the handler sleeps, by the way there and back and the more so on a busy "
    "machine, so more than 200 x 50 ms are in flight. The load generator notes when each request is sent and when its answer is "
    "complete, and takes the mean number in flight of one second, which is what the autoscaler measures a load in. Need is the highest "
    "such mean from the step to the end of the run (the second is moved on by 10 ms at a time), over the target and rounded up. Beyond "
    "it: the highest number wanted in the run less that. A second in which the machine stands still counts as need, so this is strict "
    "on a quiet machine only; the mean of the whole time is given too. "
    f"`beyond {RIGHT}` is what it would be if calls took 50 ms. By the gateway's account: the growth of the seconds that it counts "
    "requests in flight (`/loads` on the metrics port) over the same time.",
)


@dataclass
class Step:
    """What one step brought."""

    seconds: float
    """Until the right number was ready."""
    highest: int
    """Replicas wanted at most."""
    peak: float
    """Requests in flight, as the highest mean of a second since the step."""
    settled: float = 0.0
    """Requests in flight, as the mean of all the time since the load has settled."""
    counted: float = 0.0
    """The same as the gateway counts it."""
    late: float = 0.0
    """Seconds that the load generator was behind at worst."""

    @property
    def beyond(self) -> int:
        """Replicas wanted beyond need, of which each is given one request; less than 0 when there were never enough."""
        return self.highest - math.ceil(self.peak)


def measure(plan: Plan) -> Iterator[Finding]:
    steps = []
    for _ in range(plan.rounds):
        with Stage() as stage:
            steps.append(_step(stage, Serve(stage, "--autoscaling"), LIMIT * 10, AFTER))
    with Stage() as stage:
        serve = Serve(stage)
        _monitor(stage, serve)
        alerted = _step(stage, serve, ALERTED, SETTLED)
    yield from step_findings(steps, alerted)
    yield tick_finding(asyncio.run(tick_times(plan.functions, 20)), plan.functions)


def step_findings(steps: list[Step], alerted: Step) -> Iterator[Finding]:
    """Of the steps by load, and of the one by alerts."""
    seconds, beyond = [one.seconds for one in steps], [one.beyond for one in steps]
    numbers: dict[str, Any] = {
        "by load, s": seconds,
        "by alerts in the same run, s": alerted.seconds,
        "load generator late, s": max(one.late for one in steps),
    }
    yield Finding(
        "scaling",
        f"step from {BEFORE} to {RATE} requests/s of 50 ms: {RIGHT} ready replicas after, p50",
        "≤ 3 s",
        f"{percentile(seconds, 0.5):.2f} s, at most {max(seconds):.2f} s (by alerts in the same run {alerted.seconds:,.0f} s)",
        judge(percentile(seconds, 0.5), at_most=LIMIT),
        numbers,
        _NOTES,
    )
    yield Finding(
        "scaling",
        "replicas wanted beyond the measured need under that step, the most of all runs",
        "≤ 1",
        f"{max(beyond)} (at most {max(one.highest for one in steps)} wanted, {max(one.peak for one in steps):.1f} requests in flight)",
        judge(max(beyond), at_most=1),
        {
            "beyond need, by run": beyond,
            "wanted at most, by run": [one.highest for one in steps],
            "in flight, highest mean of a second, by run": [one.peak for one in steps],
            f"in flight, mean from {SETTLED:.0f} s after the step on, by run": [one.settled for one in steps],
            "beyond what that mean needs, by run": [one.highest - math.ceil(one.settled) for one in steps],
            "that mean by the gateway's account, by run": [one.counted for one in steps],
            f"beyond {RIGHT}, by run": [one.highest - RIGHT for one in steps],
        },
        _BEYOND,
    )


def tick_finding(milliseconds: list[float], functions: int) -> Finding:
    middle = percentile(milliseconds, 0.5)
    return Finding(
        "scaling",
        f"processor time of a tick with {functions:,} functions under load, p50",
        "≤ 50 ms",
        f"{middle:.1f} ms",
        judge(middle, at_most=TICK_LIMIT),
        {"ticks, ms": milliseconds},
        (
            "The scaler alone, with counters that grow for every function in each tick, and a provider that changes nothing.",
        ),
    )


# The step


def _step(stage: Stage, serve: Serve, patience: float, after: float) -> Step:
    handler = stage.directory("handler") / "handler.py"
    handler.write_text(HANDLER)
    environ = {"mode": "python", "handler": str(handler)}
    serve.deploy_all({"service": NAME, "image": "", "envVars": environ, "labels": LABELS})
    pace = Pace(serve.address, f"/function/{NAME}")
    stage.at_end(pace.stop)
    pace.go(BEFORE)
    time.sleep(5.0)
    begun = pace.go(RATE)
    taken, highest = math.inf, 0
    settled, spent = math.inf, 0.0
    while time.monotonic() < begun + (patience if taken == math.inf else taken + after):
        status = serve.call("GET", f"/system/function/{NAME}")
        highest = max(highest, int(status["replicas"]))
        if taken == math.inf and int(status.get("availableReplicas", 0)) >= RIGHT:
            taken = time.monotonic() - begun
        if settled == math.inf and time.monotonic() >= begun + SETTLED:
            settled, spent = time.monotonic(), _spent(serve)
        time.sleep(PAUSE)
    ended, spent = time.monotonic(), _spent(serve) - spent
    pace.stop()
    if taken == math.inf:
        raise BenchError(f"{RIGHT} replicas were not ready within {patience:.0f} s:\n{serve.process.printed()[-2000:]}")
    if pace.failures:
        raise BenchError(f"{len(pace.failures)} requests failed, such as: {pace.failures[0]!r}")
    peak, mean = pace.inflight.highest(begun, ended), pace.inflight.mean(settled, ended)
    return Step(taken, highest, peak, mean, spent / (ended - settled), pace.late)


def _spent(serve: Serve) -> float:
    """Seconds that all requests together were in flight so far, as the gateway counts them."""
    status, answer = exchange(serve.metrics, "GET", "/loads")
    if status != 200:
        raise BenchError(f"/loads answered {status}")
    return float(json.loads(answer)["busy"].get(f"{NAME}.{DEFAULT_NAMESPACE}", 0.0))


@dataclass
class Pace:
    """Sends requests at a fixed pace from a thread of its own, on connections that are kept."""

    address: str
    target: str
    late: float = 0.0
    failures: list[bytes] = field(default_factory=list)
    inflight: InFlight = field(default_factory=InFlight)
    """To be read once it has stopped."""

    def __post_init__(self) -> None:
        self._rate = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._next = 0.0

    def go(self, rate: float) -> float:
        """From now on so many requests a second; the moment of the first."""
        now = time.monotonic()
        self._next, self._rate = now, rate
        if not self._thread.is_alive():
            self._thread.start()
        return now

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    async def _run(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        while not self._over.is_set():
            now = time.monotonic()
            if now < self._next:
                await asyncio.sleep(min(0.005, self._next - now))
                continue
            self.late = max(self.late, now - self._next)
            self._next += 1 / self._rate
            task = asyncio.create_task(self._call(free))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        for _, writer in free:
            writer.close()

    async def _call(self, free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self.inflight.begin(time.monotonic())
        try:
            if free:
                reader, writer = free.pop()
            else:
                host, _, port = self.address.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request_head("GET", self.target))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                self.failures.append(head[:300])
                writer.close()
                return
            chunked = b"transfer-encoding: chunked" in head
            await (reader.readuntil(b"\r\n0\r\n\r\n") if chunked else reader.readexactly(len(BODY)))
            free.append((reader, writer))
        finally:
            self.inflight.end(time.monotonic())


# Alerts


def _monitor(stage: Stage, serve: Serve) -> None:
    """Prometheus and Alertmanager as we ship them, beside this gateway."""
    folder = stage.directory("monitoring")
    alertmanager, prometheus = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    receivers = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text())
    [webhook] = next(one for one in receivers["receivers"] if one["name"] == "scale-up")["webhook_configs"]
    webhook["url"] = f"http://{serve.address}/system/alert"
    del webhook["http_config"]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(receivers))
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["rule_files"] = [str(SHIPPED / "alert.rules.yml")]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    config["scrape_configs"] = [{"job_name": "gateway", "static_configs": [{"targets": [serve.metrics]}]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for name, address, flags in (
        ("alertmanager", alertmanager, ("prometheus-alertmanager", "--cluster.listen-address=")),
        ("prometheus", prometheus, ("prometheus",)),
    ):
        program, *more = flags
        storage = "--storage.tsdb.path" if name == "prometheus" else "--storage.path"
        command = [program, f"--config.file={folder / name}.yml", f"--web.listen-address={address}", *more]
        _listening(stage.start([*command, f"{storage}={folder / name}"]), name, address)


def _listening(process: Process, name: str, address: str) -> None:
    wait_until(lambda: accepts(address), f"{name} at {address}", process=process)


# A tick


class _Counts:
    """Counters that grow for every function."""

    def __init__(self, keys: list[str]) -> None:
        self.started = dict.fromkeys(keys, 0)
        self.busy = dict.fromkeys(keys, 0.0)

    @property
    def totals(self) -> _Counts:
        return self

    async def flush(self, timeout: float) -> bool:
        for number, key in enumerate(self.started):
            self.started[key] += 10 + number % 30
            self.busy[key] += 0.5
        return True

    def inflight(self) -> dict[str, int]:
        return dict.fromkeys(self.started, 1)


class _Still:
    """A provider that has nothing to do."""

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        pass


async def tick_times(functions: int, ticks: int) -> list[float]:
    """Milliseconds of processor time of each tick."""
    clock = FakeClock()
    named: Mapping[str, Function] = {
        one.key: one
        for one in (
            Function(
                spec=FunctionSpec(name=f"f{number}", namespace=DEFAULT_NAMESPACE), desired=1, created_at=clock.now()
            )
            for number in range(functions)
        )
    }
    still: Any = _Still()
    provider: Provider = still
    scaler = Scaler(provider, named, _Counts(list(named)), clock, Sources(journal=Journal(), loads=Loads(Meter())))
    taken = []
    for _ in range(ticks):
        await clock.advance(1.0)
        begun = time.process_time()
        await scaler.tick()
        taken.append((time.process_time() - begun) * 1000)
    return taken
