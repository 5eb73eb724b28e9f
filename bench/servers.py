"""The servers under measurement and their peers, each on loopback in the stage's directory.

Called by the rows. An address is spelled `unix:/path` or `host:port`, as everywhere in Penstock.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.feed import RouteFeed
from bench.http import Reader, connect, exchange, request_head
from bench.processes import PYTHON, START_DEADLINE, BenchError, Process, Stage, free_port, wait_until
from penstock.core.policy import Policy
from penstock.gateway.messages import Route
from penstock.model import DEFAULT_NAMESPACE
from penstock.settings import ServeSettings, dump_settings

FUNCTION = "echo"

_NGINX = """\
daemon off;
{user}
worker_processes 1;
error_log {directory}/error.log;
pid {directory}/pid;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  tcp_nodelay on;
{body}
}}
"""


@dataclass(frozen=True)
class Server:
    """A running server. `target` is the request target that reaches the function through it."""

    process: Process
    address: str
    target: str = "/"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        """For wrk: TCP addresses only."""
        return f"http://{self.address}{self.target}"


def fixed_upstream(stage: Stage) -> tuple[str, str]:
    """nginx answering every request with 200 and three bytes, the fastest upstream there is: its unix and its TCP address."""
    path, port = stage.directory("fixed") / "s", free_port()
    body = f"server {{ listen unix:{path}; listen 127.0.0.1:{port}; location / {{ return 200 'ok\\n'; }} }}"
    _nginx(stage, body, f"unix:{path}")
    return f"unix:{path}", f"127.0.0.1:{port}"


def echo_upstream(stage: Stage) -> tuple[str, str]:
    """The small echo server of this package: its unix and its TCP address."""
    addresses = f"unix:{stage.directory('echo') / 's'}", f"127.0.0.1:{free_port()}"
    process = stage.start([PYTHON, "-m", "bench.echo", *addresses])
    for address in addresses:
        wait_until(lambda at=address: answers(at, "/"), f"the echo server at {address}", process=process)  # type: ignore[misc]
    return addresses


def flask_upstream(stage: Stage, *options: str) -> str:
    """The small Flask application of this package on waitress with these options: its unix address."""
    address = socket_path(stage, "waitress")
    path = address.removeprefix("unix:")
    process = stage.start([PYTHON, "-m", "waitress", f"--unix-socket={path}", *options, "bench.flask_hello:app"])
    wait_until(lambda: answers(address, "/"), "the Flask application", process=process)
    return address


def nginx_proxy(stage: Stage, upstream: str, *options: str) -> Server:
    """nginx with one worker before `upstream`: kept-alive upstream connections, no access log; `options` are directives of
    the location."""
    port = free_port()
    lines = " ".join(f"{option};" for option in options)
    body = (
        f"upstream up {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up; proxy_http_version 1.1; "
        f'proxy_set_header Connection ""; {lines} }} }}'
    )
    return Server(_nginx(stage, body, f"127.0.0.1:{port}"), f"127.0.0.1:{port}")


def gateway_worker(
    stage: Stage, endpoints: Iterable[str], more: Iterable[Route] = (), *, timeout: float = 60.0
) -> Server:
    """A gateway worker, the very process that `penstock serve` starts, told of one function with these endpoints (and of
    `more`) whose calls may take `timeout` seconds. Otherwise default settings: call ids, counters, forwarded fields and
    timeouts are all on."""
    settings = replace(ServeSettings(), home=stage.directory("home"), port=free_port())
    settings.paths.run.mkdir(parents=True, exist_ok=True)
    route = Route(key=f"{FUNCTION}.{DEFAULT_NAMESPACE}", endpoints=tuple(endpoints), policy=Policy(timeout=timeout))
    stage.at_end(RouteFeed(settings.paths.feed_socket, [*more, route]).close)
    environ = {"PENSTOCK_SERVE_SETTINGS": dump_settings(settings)}
    process = stage.start([PYTHON, "-m", "penstock.gateway.worker", "0"], environ)
    address, target = f"127.0.0.1:{settings.port}", f"/function/{FUNCTION}"
    wait_until(lambda: has_routes(address), "the gateway worker", process=process)
    return Server(process, address, target)


def watchdog(stage: Stage, address: str = "", **environ: str) -> Server:
    """A watchdog with these variables; without an address `penstock watchdog` on a free TCP port."""
    variables = {"suppress_lock": "true", "PENSTOCK_WATCHDOG_METRICS_PORT": "0", "exec_timeout": "600s", **environ}
    if address:
        process = stage.start([PYTHON, "-m", "bench.watchdog", address], variables)
    else:
        port = free_port()
        address = f"127.0.0.1:{port}"
        process = stage.start([PYTHON, "-m", "penstock", "watchdog"], {**variables, "port": str(port)})
    wait_until(lambda: answers(address, "/_/health"), "the watchdog", process=process)
    return Server(process, address)


class Serve:
    """A whole `penstock serve` with a home of its own and no password on its REST API; the process provider and numbers of replicas
    that stay unless `flags` say otherwise."""

    def __init__(self, stage: Stage, *flags: str, **environ: str) -> None:
        self.home = stage.directory("serve")
        port = free_port()
        command = [PYTHON, "-m", "penstock", "serve", "--no-auth", "--port", str(port), "--metrics-port", "0"]
        command += [] if "--autoscaling" in flags else ["--no-autoscaling"]
        variables = {"HOME": str(self.home), **environ}
        self.process = stage.start([*command, "--home", str(self.home), *flags], variables)
        self.address = f"127.0.0.1:{port}"
        wait_until(lambda: answers(self.address, "/healthz"), "penstock serve", process=self.process)

    @property
    def metrics(self) -> str:
        """The address of the metrics port."""
        [port] = re.findall(r"metrics on port (\d+)", self.process.printed())
        return f"127.0.0.1:{port}"

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """A request to the REST API and its JSON, None where there is none. Raises BenchError unless it answers 2xx."""
        body = b"" if document is None else json.dumps(document).encode()
        status, answer = exchange(self.address, method, path, body)
        if not 200 <= status < 300:
            raise BenchError(f"{method} {path} answered {status}: {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None

    def deploy(self, name: str, program: str, **environ: str) -> None:
        """Deploy a program as a function and wait until it has a ready replica."""
        self.deploy_all({"service": name, "envProcess": program, "envVars": environ})

    def deploy_all(self, document: Mapping[str, Any], replicas: int = 1) -> None:
        """Deploy what the document of the REST API describes and wait until it has so many ready replicas."""
        self.call("POST", "/system/functions", document)
        name = document["service"]

        def ready() -> bool:
            return int(self._function(name).get("availableReplicas", 0)) >= replicas

        wait_until(ready, f"{replicas} replicas of {name}", process=self.process)

    def remove(self, name: str) -> None:
        """Delete a function, without waiting for its replicas' end."""
        self.call("DELETE", "/system/functions", {"functionName": name})

    def ask_for(self, name: str, replicas: int) -> None:
        """Scale, without waiting for what comes of it."""
        self.call("POST", f"/system/scale-function/{name}", {"serviceName": name, "replicas": replicas})

    def scale(self, name: str, replicas: int) -> None:
        """Scale and wait until exactly so many are there; zero means that not one process is left."""
        self.ask_for(name, replicas)

        def settled() -> bool:
            status = self._function(name)
            present, available = len(status.get("instances", [])), int(status.get("availableReplicas", 0))
            return present == available == replicas

        wait_until(settled, f"{replicas} replicas of {name}", process=self.process, pause=0.01)

    def call_function(self, name: str, body: bytes) -> bytes:
        """A POST to a function and its answer. Raises BenchError unless that is 200."""
        status, answer = exchange(self.address, "POST", f"/function/{name}", body)
        if status != 200:
            raise BenchError(f"{name} answered {status}: {answer[:500]!r}")
        return answer

    def _function(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/system/function/{name}")
        return found


class Watch:
    """Asks for a function's status again and again, on one kept connection."""

    def __init__(self, serve: Serve, name: str) -> None:
        self._connection = connect(serve.address)
        self._request = request_head("GET", f"/system/function/{name}")
        self._name = name

    def until_ready(self, replicas: int) -> None:
        """Return with the first answer that has so many ready replicas. Raises BenchError when it does not come."""
        end = time.monotonic() + START_DEADLINE
        while self._ready() != replicas:
            if time.monotonic() > end:
                raise BenchError(f"waited {START_DEADLINE:.0f} s for {replicas} replicas of {self._name}")
            time.sleep(0.001)  # without a pause the questions would take half of control's time

    def close(self) -> None:
        self._connection.close()

    def _ready(self) -> int:
        self._connection.sendall(self._request)
        answer = Reader(self._connection)
        status: dict[str, Any] = json.loads(b"".join(bytes(piece) for piece in answer.pieces()))
        return int(status.get("availableReplicas", 0))


def has_routes(address: str) -> bool:
    """Whether a gateway worker has heard of its functions: only then it says 404 of one that is not there, and not 503."""
    try:
        return exchange(address, "GET", "/function/nobody")[0] == 404
    except OSError:
        return False


def answers(address: str, target: str) -> bool:
    """Whether a GET is answered 200."""
    try:
        return exchange(address, "GET", target)[0] == 200
    except OSError:
        return False


def _nginx(stage: Stage, body: str, address: str) -> Process:
    directory = stage.directory("nginx")
    config = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(user=user, directory=directory, body=body))
    command = ["nginx", "-c", str(config), "-p", str(directory), "-e", str(directory / "error.log")]
    process = stage.start(command)
    wait_until(lambda: accepts(address), f"nginx at {address}", process=process)
    return process


def accepts(address: str) -> bool:
    """Whether somebody listens."""
    try:
        connect(address).close()
    except OSError:
        return False
    return True


def nginx_options(buffered: bool) -> tuple[str, ...]:
    """Directives for large bodies: requests always stream; answers at once, or through all buffers but never a file."""
    return (
        "proxy_request_buffering off",
        "proxy_read_timeout 600s",
        "proxy_send_timeout 600s",
        f"proxy_buffering {'on' if buffered else 'off'}",
        "proxy_buffer_size 64k",
        "proxy_buffers 16 64k",
        "proxy_busy_buffers_size 128k",
        "proxy_max_temp_file_size 0",
    )


def socket_path(stage: Stage, name: str) -> str:
    """A unix address in the stage."""
    path: Path = stage.directory(name) / "s"
    return f"unix:{path}"
