"""Functions in containers of a real Docker Engine: requests per second through the gateway and an injected watchdog, waking
from pause and from stop, and how long many take that are deployed at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.http import exchange
from bench.plan import Plan
from bench.processes import BenchError, Stage, wait_until
from bench.report import Finding, judge
from bench.rounds import alternate
from bench.servers import Serve, answers, nginx_proxy
from bench.stats import median_ratio, number, percentile, ratios
from bench.wrk import Load, run
from tests.engines.engine import Engine
from tests.engines.images import busybox_root, debian_tar, import_root

RELAY_LEAST = 0.5
PAUSE_MOST = 30.0
"""Milliseconds."""
STOP_MOST = 1.3
CONNECTIONS = 32
MANY, REPLICAS = 20, 2
PAUSE = 0.5
"""Seconds at zero before the request."""

ECHO, PAGE = "echo:bench", "page:bench"
ECHO_PORT = 5000
ECHO_PROGRAM = f"python3 /echo.py 0.0.0.0:{ECHO_PORT}"
"""The echo server of this package, on Debian's own Python and uvloop."""
WATCHDOG_PORT = 8080
"""Where the injected watchdog listens."""
PAGE_PORT = 8080
PAGE_PROGRAM = ("busybox", "httpd", "-f", "-p", str(PAGE_PORT), "-h", "/www")

_RELAY_NOTE = (
    "`penstock serve --provider docker`, one worker, a real dockerd. The image is a Debian with Python and uvloop, unmodified; the "
    f"watchdog is injected: mode http, `fprocess={ECHO_PROGRAM}`. nginx (one worker, as in the row relay) is on the host and proxies "
    "to the echo server's port in the same container. Load: `wrk -t1 -c32`, GET without a body."
)
_WAKE_NOTE = (
    "An image of a static busybox that runs its httpd as it is (`com.penstock.http-port`). Before each request the function was at "
    f"zero for {PAUSE:g} s. Clock: from the send of one GET, on a fresh connection, to the last byte of its answer. A bare run: from "
    "the start of `docker run --detach` of the same image on the same network to the first byte that its port answers."
)
_MANY_NOTE = (
    "The same image, all deployed at once by the REST API; time until each function has all its replicas ready."
)


def measure(plan: Plan) -> Iterator[Finding]:
    with Stage() as stage:
        engine = Engine()
        stage.at_end(engine.close)
        import_images(engine)
        flags = ("--provider", "docker", "--docker-connect", "ip", "--pull", "never")
        serve = Serve(stage, *flags, DOCKER_HOST=engine.url)
        yield _relay(plan, stage, engine, serve)
        yield _wake_from_pause(plan, serve)
        yield _wake_from_stop(plan, engine, serve)
        yield _many(serve)


def import_images(engine: Engine) -> None:
    """Give the engine ECHO and PAGE."""
    import_root(engine, "python:bench", debian_tar(("python3", "python3-uvloop")).read_bytes())
    copier = engine.docker("create", "python:bench", "/bin/true")
    engine.docker("cp", str(Path(__file__).parents[1] / "echo.py"), f"{copier}:/echo.py")
    engine.docker("commit", "--change", f"CMD {json.dumps(ECHO_PROGRAM.split())}", copier, ECHO)
    engine.docker("rm", copier)
    root = busybox_root()
    root.add("www/index.html", b"hello\n", 0o644)
    import_root(engine, PAGE, root.packed(), [f"CMD {json.dumps(['/bin/' + PAGE_PROGRAM[0], *PAGE_PROGRAM[1:]])}"])


# Requests per second


def _relay(plan: Plan, stage: Stage, engine: Engine, serve: Serve) -> Finding:
    variables = {"mode": "http", "upstream_url": f"http://127.0.0.1:{ECHO_PORT}"}
    serve.deploy_all({"service": "relay", "image": ECHO, "envProcess": ECHO_PROGRAM, "envVars": variables})
    nginx = nginx_proxy(stage, f"{_address(engine, 'relay')}:{ECHO_PORT}")
    urls = {"penstock": f"http://{serve.address}/function/relay", "nginx": nginx.url}

    def load(name: str) -> Load:
        return run(urls[name], connections=CONNECTIONS, seconds=plan.seconds)

    results = alternate(plan.rounds, {name: partial(load, name) for name in urls})
    rates = {name: [each.rate for each in loads] for name, loads in results.items()}
    serve.remove("relay")
    ratio = median_ratio(rates["penstock"], rates["nginx"])
    return Finding(
        "containers",
        "requests/s through gateway and injected watchdog (http mode echo) over nginx's to the same container",
        f"≥ {RELAY_LEAST:g}",
        f"{ratio:.2f} ({number(median(rates['penstock']))} / {number(median(rates['nginx']))})",
        judge(ratio, at_least=RELAY_LEAST),
        {**{f"{name} requests/s": values for name, values in rates.items()}, "ratios": ratios(*rates.values())},
        (_RELAY_NOTE,),
    )


def _address(engine: Engine, name: str) -> str:
    """The address of a function's only container."""
    [container] = engine.docker("ps", "--quiet", "--filter", f"name=penstock-{name}-").split()
    networks = json.loads(engine.docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container))
    return str(networks["penstock"]["IPAddress"])


# Waking


def _wake_from_pause(plan: Plan, serve: Serve) -> Finding:
    taken = _wakes(plan, serve, "pause")
    middle = percentile(taken, 0.5)
    return Finding(
        "containers",
        "request to a function at zero by pause, p50",
        f"≤ {PAUSE_MOST:g} ms",
        f"{middle:.1f} ms",
        judge(middle, at_most=PAUSE_MOST),
        {"wakes": len(taken), "ms": taken, "p99 ms": percentile(taken, 0.99)},
        (_WAKE_NOTE,),
    )


def _wake_from_stop(plan: Plan, engine: Engine, serve: Serve) -> Finding:
    taken = _wakes(plan, serve, "stop")
    bare = [_bare_run(engine) for _ in range(plan.starts)]
    ratio = percentile(taken, 0.5) / percentile(bare, 0.5)
    return Finding(
        "containers",
        "request to a function at zero by stop, over a bare `docker run` to its first byte, p50",
        f"≤ {STOP_MOST:g}",
        f"{ratio:.2f} ({percentile(taken, 0.5):.0f} ms / {percentile(bare, 0.5):.0f} ms)",
        judge(ratio, at_most=STOP_MOST),
        {"wakes": len(taken), "ms": taken, "bare runs, ms": bare},
        (_WAKE_NOTE,),
    )


def _wakes(plan: Plan, serve: Serve, zero: str) -> list[float]:
    """Milliseconds of the first request after each time at zero."""
    name = f"zero-{zero}"
    serve.deploy_all(_page(name, **{"com.penstock.zero": zero}))
    taken = []
    for _ in range(plan.starts):
        serve.scale(name, 0)
        time.sleep(PAUSE)
        begun = time.perf_counter_ns()
        status, body = exchange(serve.address, "GET", f"/function/{name}")
        taken.append((time.perf_counter_ns() - begun) / 1e6)
        if (status, body) != (200, b"hello\n"):
            raise BenchError(f"{name} answered {status}: {body[:500]!r}")
    serve.remove(name)
    return taken


def _bare_run(engine: Engine) -> float:
    """Milliseconds until a container of the image, run by hand, answers."""
    begun = time.perf_counter_ns()
    container = engine.docker("run", "--detach", "--network", "penstock", PAGE)
    form = '{{(index .NetworkSettings.Networks "penstock").IPAddress}}'
    address = f"{engine.docker('inspect', '--format', form, container)}:{PAGE_PORT}"
    wait_until(lambda: answers(address, "/"), f"a bare container at {address}", pause=0.001)
    taken = (time.perf_counter_ns() - begun) / 1e6
    engine.docker("rm", "--force", container)
    return taken


def _page(name: str, **labels: str) -> dict[str, Any]:
    """The deployment of the page. As process 1 its server does not heed SIGTERM, and is not to be waited for long."""
    labels = {"com.penstock.http-port": str(PAGE_PORT), **labels}
    return {"service": name, "image": PAGE, "labels": labels, "envVars": {"write_timeout": "2s"}}


# Many at once


def _many(serve: Serve) -> Finding:
    begun = time.monotonic()
    serve.deploy_all(_page("alone"))
    alone = time.monotonic() - begun
    names = [f"many-{index}" for index in range(MANY)]
    documents = [_page(name, **{"com.openfaas.scale.min": str(REPLICAS)}) for name in names]
    begun = time.monotonic()
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(lambda document: serve.deploy_all(document, REPLICAS), documents))
    taken = time.monotonic() - begun
    for name in ("alone", *names):
        serve.remove(name)
    return Finding(
        "containers",
        f"{MANY} functions of {REPLICAS} replicas each, deployed at once, until all are ready",
        "",
        f"{taken:.1f} s (one replica alone {alone:.2f} s)",
        "info",
        {"seconds": taken, "one replica, s": alone, "one after another would be, s": alone * MANY * REPLICAS},
        (_MANY_NOTE,),
    )
