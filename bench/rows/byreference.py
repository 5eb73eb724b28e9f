"""A large object through a `streaming` `cat` into another object of the same store, against rclone, which copies it the same way."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import psutil

from bench.bodies import MIB
from bench.plan import Plan
from bench.processes import BenchError, Stage, memory, reset_peak
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Serve
from bench.stats import median_ratio, number, ratios
from tests.s3server import S3Server, S3ServerFailed

BUCKET, SOURCE = "bench", "source"
TIMEOUT = 3600.0
"""Seconds for one passage, which on any machine is over sooner."""

_REMOTE = """\
[store]
type = s3
provider = Ceph
endpoint = {endpoint}
access_key_id = {access}
secret_access_key = {secret}
"""


def measure(plan: Plan) -> Iterator[Finding]:
    try:
        store = S3Server()
    except S3ServerFailed as error:
        raise BenchError(f"no store to measure with: {error}") from error
    try:
        yield from _measured(plan, store)
    finally:
        store.close()


def _measured(plan: Plan, store: S3Server) -> Iterator[Finding]:
    store.make_bucket(BUCKET)
    with Stage() as stage:
        serve = Serve(stage, **store.environ, PENSTOCK_S3_BUCKETS=BUCKET)
        serve.deploy("cat", "cat", mode="streaming", exec_timeout="3600s")
        configuration = stage.directory("rclone") / "rclone.conf"
        configuration.write_text(
            _REMOTE.format(endpoint=store.endpoint, access=store.access_key, secret=store.secret_key)
        )
        body = stage.directory("body") / "body"
        with body.open("wb") as file:
            file.truncate(plan.body)
        _upload(serve, body, plan.body)
        worker = _worker(serve)
        before = memory(worker, "VmRSS")["VmRSS"]
        reset_peak(worker)
        sides = {
            "penstock": partial(_by_reference, serve, store, plan.body),
            "rclone": partial(_by_rclone, configuration, store, plan.body),
        }
        rates = alternate(plan.body_rounds, sides)
        growth = (memory(worker, "VmHWM")["VmHWM"] - before) / MIB
    ratio = median_ratio(rates["penstock"], rates["rclone"])
    rated = " / ".join(number(median(values)) for values in rates.values())
    size = f"{number(plan.body / MIB)} MiB from object to object"
    yield Finding(
        "by-reference",
        f"{size} through a `streaming` `cat`, throughput over `rclone copyto` through its own process",
        "≥ 0.6",
        f"{ratio:.2f} ({rated} MiB/s)",
        judge(ratio, at_least=0.6),
        {
            **{f"{name}, MiB/s": values for name, values in rates.items()},
            "ratios": ratios(*rates.values()),
            "growth of the worker's resident memory, MiB": growth,
        },
        (
            "The store is Ceph's radosgw with everything in memory, on the same processors as everything else. rclone is told not to let "
            "the store copy within itself (`--disable copy`), and otherwise has its default settings.",
        ),
    )


def _worker(serve: Serve) -> int:
    """Process id of its gateway worker."""
    for process in psutil.Process(serve.process.pid).children():
        if "penstock.gateway.worker" in process.cmdline():
            return process.pid
    raise BenchError("penstock serve has no gateway worker")


def _upload(serve: Serve, body: Path, size: int) -> None:
    with body.open("rb") as file:
        headers = {"X-Output-Object": f"s3://{BUCKET}/{SOURCE}", "Content-Length": str(size)}
        _call(serve, headers, size, file)


def _by_reference(serve: Serve, store: S3Server, size: int) -> float:
    """MiB/s of one passage."""
    begun = time.perf_counter()
    _call(serve, {"X-Input-Object": f"s3://{BUCKET}/{SOURCE}", "X-Output-Object": f"s3://{BUCKET}/ours"}, size)
    rate = size / MIB / (time.perf_counter() - begun)
    _forget(store, "ours")
    return rate


def _call(serve: Serve, headers: dict[str, str], size: int, body: object = b"") -> None:
    connection = http.client.HTTPConnection(serve.address, timeout=TIMEOUT)
    connection.request("POST", "/function/cat", body, headers)  # type: ignore[arg-type]
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 201 or json.loads(text)["size"] != size:
        raise BenchError(f"the gateway answered {answer.status}: {text[:300]!r}")


def _by_rclone(configuration: Path, store: S3Server, size: int) -> float:
    """MiB/s of one copy."""
    paths = [f"store:{BUCKET}/{name}" for name in (SOURCE, "theirs")]
    begun = time.perf_counter()
    subprocess.run(
        ["rclone", "--config", str(configuration), "--disable", "copy", "--ignore-times", "copyto", *paths],
        check=True,
        timeout=TIMEOUT,
        stdin=subprocess.DEVNULL,
        # Variables of Amazon's tools are meant for other stores.
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    )
    rate = size / MIB / (time.perf_counter() - begun)
    _forget(store, "theirs")
    return rate


def _forget(store: S3Server, key: str) -> None:
    """Have the store give its memory back, so that no side finds less of it."""
    store.expect(204, "DELETE", BUCKET, key)
    store.collect()
