"""The rows of the table, one file each. A row is a function that takes a plan and yields its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

from bench.plan import Plan
from bench.report import Finding

Measure = Callable[[Plan], Iterator[Finding]]


@dataclass(frozen=True)
class Row:
    """A row's name, what it answers and the module of this package that measures it."""

    name: str
    question: str
    module: str
    needs: tuple[str, ...] = ()
    """Programs of the machine without which it cannot be measured."""

    def measure(self, plan: Plan) -> Iterator[Finding]:
        """Measure it now. Raises BenchError, LoadFailed or OSError when that is impossible."""
        function: Measure = import_module(f"bench.rows.{self.module}").measure
        return function(plan)


ROWS = (
    Row("relay", "requests per second and p99 of one gateway worker against nginx", "relay", ("nginx", "wrk")),
    Row("latency", "time that the gateway adds to one request at a time", "latency", ("nginx",)),
    Row("serializing", "serializing cat against a bare posix_spawn and wait loop", "serializing", ("wrk",)),
    Row("prefork", "a program that starts slowly, waiting for requests against started for each", "prefork"),
    Row("afterburn", "a Java function that stays against one started for each request", "afterburn", ("java", "javac")),
    Row("cold-start", "first request to a function at zero replicas", "cold_start"),
    Row("bulk", "a large upload and a large download against nginx before the same watchdog", "bulk", ("nginx",)),
    Row("duplex", "a large body in and out at the same time against calling the watchdog directly", "duplex"),
    Row("pipeline", "three functions as one pipeline against three calls, large and small", "pipeline", ("curl",)),
    Row("by-reference", "an object through a function into another object, against rclone", "byreference", ("rclone",)),
    Row("python", "requests per second of a Python handler against Flask on waitress", "python", ("nginx", "wrk")),
    Row("second-replica", "second replica of a Python function whose imports take 500 ms", "second_replica"),
    Row(
        "scaling",
        "a step of load: time to the right number of replicas by load and by alerts; a tick of many functions",
        "scaling",
        ("prometheus", "prometheus-alertmanager"),
    ),
    Row("memory", "private memory of an idle replica", "memory"),
    Row("idle", "requests per second beside many idle connections", "idle", ("nginx", "wrk")),
    Row("functions", "requests per second beside many functions at zero replicas", "functions", ("nginx", "wrk")),
    Row("scrapes", "invocations beside a scrape of many functions every second", "scrapes", ("wrk",)),
    Row(
        "containers",
        "functions in containers: requests per second, waking from zero, many at once",
        "containers",
        ("nginx", "wrk", "dockerd", "busybox", "debootstrap"),
    ),
    Row(
        "kubernetes",
        "functions on a cluster: waking from zero, requests per second, a list of many",
        "kubernetes",
        ("nginx", "wrk", "dockerd", "busybox", "debootstrap", "etcd", "go"),
    ),
)
