"""Functions on a real Kubernetes cluster of one node: waking from zero against the cluster's own time, requests per second against
nginx, and the list of many functions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any

from bench.http import exchange
from bench.plan import Plan
from bench.processes import BenchError, Stage, wait_until
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.rows.containers import (
    CONNECTIONS,
    ECHO,
    ECHO_PORT,
    ECHO_PROGRAM,
    PAGE,
    PAGE_PORT,
    WATCHDOG_PORT,
    import_images,
)
from bench.servers import Serve, nginx_proxy
from bench.stats import median_ratio, number, percentile, ratios
from bench.wrk import Load, run
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec
from penstock.providers.kubernetes import manifests
from penstock.providers.kubernetes.marks import FUNCTION
from tests.image import TAG, build
from tests.kubecluster.cluster import Cluster

WAKE_MOST = 1.15
RELAY_LEAST = 0.5
LIST_MOST = 300.0
"""Milliseconds."""
LISTED = 500
LISTS = 20
INSTALLATION = "bench"
PLACE = f"namespaces/{DEFAULT_NAMESPACE}"

_WAKE_NOTE = (
    "A cluster of one node (Kubernetes 1.20, pods run by Docker), and `penstock serve --provider kubernetes` beside it. An image of a "
    "static busybox that runs its httpd as it is. Before each start the function was at zero, without a pod. Penstock: from the send "
    "of one GET, on a fresh connection, to the last byte of its answer. The cluster: from the answer to a change of the same "
    "Deployment's scale from 0 to 1 to the moment that a watch tells that its pod is Ready. They take turns."
)
_RELAY_NOTE = (
    "One worker. The image is a Debian with Python and uvloop, unmodified. Once it serves HTTP itself (`com.penstock.http-port`), once a "
    f"watchdog comes by an init container: mode http, `fprocess={ECHO_PROGRAM}`. nginx (one worker, as in the row relay) is beside the "
    "cluster, as the gateway is, and proxies to a port of the same pod. Load: `wrk -t1 -c32`, GET without a body; the sides take turns."
)
_LIST_NOTE = (
    f"GET /system/functions, all of it, on a fresh connection; {LISTED} functions at zero replicas, each a Deployment and a Service. "
    "The gateway answers from what its watches tell; the start of one is the time until it has listed all of them, one list of each "
    "kind, and can be asked."
)


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        cluster = Cluster()
        stage.at_end(cluster.close)
        import_images(cluster)
        archive = stage.directory("image") / "penstock.tar"
        build(archive)
        cluster.load(archive)
        serve = _serve(stage, cluster)
        yield _wake(plan, cluster, serve)
        yield from _relay(plan, stage, cluster, serve)
        yield _list(stage, cluster, serve)


def _serve(stage: Stage, cluster: Cluster) -> Serve:
    flags = ("--provider", "kubernetes", "--installation", INSTALLATION, "--watchdog-image", TAG)
    return Serve(stage, *flags, KUBECONFIG=str(cluster.kubeconfig))


# Waking


def _wake(plan: Plan, cluster: Cluster, serve: Serve) -> Finding:
    labels = {"com.penstock.http-port": str(PAGE_PORT)}
    serve.deploy_all({"service": "zero", "image": PAGE, "labels": labels, "envVars": {"write_timeout": "2s"}})
    sides = {"penstock": partial(_woken, cluster, serve), "cluster": partial(_started, cluster, serve)}
    taken = alternate(plan.starts, sides)
    serve.remove("zero")
    ratio = percentile(taken["penstock"], 0.5) / percentile(taken["cluster"], 0.5)
    return Finding(
        "kubernetes",
        "request to a function at zero until its answer, over the cluster's time from scale to a Ready pod, p50",
        f"≤ {WAKE_MOST:g}",
        f"{ratio:.2f} ({percentile(taken['penstock'], 0.5):.0f} ms / {percentile(taken['cluster'], 0.5):.0f} ms)",
        judge(ratio, at_most=WAKE_MOST),
        {"starts": plan.starts, **{f"{name}, ms": values for name, values in taken.items()}},
        (_WAKE_NOTE,),
    )


def _woken(cluster: Cluster, serve: Serve) -> float:
    """Milliseconds until a function at zero has answered."""
    _rest(cluster, serve)
    begun = time.perf_counter_ns()
    status, body = exchange(serve.address, "GET", "/function/zero")
    taken = (time.perf_counter_ns() - begun) / 1e6
    if (status, body) != (200, b"hello\n"):
        raise BenchError(f"zero answered {status}: {body[:500]!r}")
    return taken


def _started(cluster: Cluster, serve: Serve) -> float:
    """Milliseconds from the change of the scale to a pod that is Ready."""
    _rest(cluster, serve)
    path = f"/apis/apps/v1/{PLACE}/deployments/zero/scale"
    with cluster.watching(f"/api/v1/{PLACE}/pods?labelSelector={FUNCTION}%3Dzero") as events:
        cluster.request("PATCH", path, {"spec": {"replicas": 1}}, "application/merge-patch+json")
        begun = time.perf_counter_ns()
        for event in events:
            conditions = event["object"]["status"].get("conditions") or ()
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                return (time.perf_counter_ns() - begun) / 1e6
    raise BenchError("the watch of the pods has ended")


def _rest(cluster: Cluster, serve: Serve) -> None:
    """Bring it to zero; returns when no pod is left."""
    serve.scale("zero", 0)
    wait_until(lambda: not _pods(cluster, "zero"), "the end of the pods")


def _pods(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    return list(cluster.request("GET", f"/api/v1/{PLACE}/pods?labelSelector={FUNCTION}%3D{name}")["items"])


# Requests per second


def _relay(plan: Plan, stage: Stage, cluster: Cluster, serve: Serve) -> Iterator[Finding]:
    itself = {"service": "itself", "image": ECHO, "labels": {"com.penstock.http-port": str(ECHO_PORT)}}
    variables = {"mode": "http", "upstream_url": f"http://127.0.0.1:{ECHO_PORT}"}
    injected = {"service": "injected", "image": ECHO, "envProcess": ECHO_PROGRAM, "envVars": variables}
    serve.deploy_all(itself)
    to_pod = "requests/s, gateway to a pod that serves HTTP itself, over nginx to it"
    yield _compared(plan, stage, serve, to_pod, "itself", f"{_address(cluster, 'itself')}:{ECHO_PORT}")
    serve.remove("itself")
    serve.deploy_all(injected)
    for port, whom in ((WATCHDOG_PORT, "the watchdog"), (ECHO_PORT, "the program behind it")):
        row = f"requests/s, gateway to the injected watchdog of a pod, over nginx to {whom}"
        yield _compared(plan, stage, serve, row, "injected", f"{_address(cluster, 'injected')}:{port}")
    serve.remove("injected")


def _address(cluster: Cluster, name: str) -> str:
    """The address of a function's only pod."""
    [pod] = _pods(cluster, name)
    return str(pod["status"]["podIP"])


def _compared(plan: Plan, stage: Stage, serve: Serve, row: str, name: str, upstream: str) -> Finding:
    urls = {"penstock": f"http://{serve.address}/function/{name}", "nginx": nginx_proxy(stage, upstream).url}

    def load(side: str) -> Load:
        return run(urls[side], connections=CONNECTIONS, seconds=plan.seconds)

    results = alternate(plan.rounds, {side: partial(load, side) for side in urls})
    rates = {side: [each.rate for each in loads] for side, loads in results.items()}
    ratio = median_ratio(rates["penstock"], rates["nginx"])
    return Finding(
        "kubernetes",
        row,
        f"≥ {RELAY_LEAST:g}",
        f"{ratio:.2f} ({number(median(rates['penstock']))} / {number(median(rates['nginx']))})",
        judge(ratio, at_least=RELAY_LEAST),
        {**{f"{side} requests/s": values for side, values in rates.items()}, "ratios": ratios(*rates.values())},
        (_RELAY_NOTE,),
    )


# Many functions


def _list(stage: Stage, cluster: Cluster, serve: Serve) -> Finding:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(_make, cluster), range(LISTED)))
    wait_until(lambda: _count(serve) == LISTED, f"{LISTED} functions", process=serve.process)
    taken = [_listing(serve) for _ in range(LISTS)]
    begun = time.monotonic()
    other = _serve(stage, cluster)
    wait_until(lambda: _count(other) == LISTED, f"{LISTED} functions of another gateway", process=other.process)
    start = time.monotonic() - begun
    middle = percentile(taken, 0.5)
    return Finding(
        "kubernetes",
        f"{LISTED} functions listed, p50",
        f"≤ {LIST_MOST:g} ms",
        f"{middle:.0f} ms",
        judge(middle, at_most=LIST_MOST),
        {"ms": taken, "start of a gateway that has all listed, s": start},
        (_LIST_NOTE,),
    )


def _make(cluster: Cluster, index: int) -> None:
    """A function at zero, as another gateway of the same installation would write it."""
    spec = FunctionSpec(name=f"many-{index}", image=PAGE, env_process="cat")
    shape = manifests.Shape(installation=INSTALLATION, watchdog_image=TAG)
    cluster.request("POST", f"/api/v1/{PLACE}/services", manifests.service(spec, shape))
    document = manifests.deployment(spec, 0, 0, shape, rollout="bench-1")
    cluster.request("POST", f"/apis/apps/v1/{PLACE}/deployments", document)


def _count(serve: Serve) -> int:
    return len(serve.call("GET", "/system/functions"))


def _listing(serve: Serve) -> float:
    """Milliseconds of one list."""
    begun = time.perf_counter_ns()
    status, body = exchange(serve.address, "GET", "/system/functions")
    taken = (time.perf_counter_ns() - begun) / 1e6
    if status != 200 or len(json.loads(body)) != LISTED:
        raise BenchError(f"the list answered {status}: {body[:500]!r}")
    return taken
