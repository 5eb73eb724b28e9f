"""`penstock serve`: settings from the environment and the flags that were given, then the supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from penstock.cli.commands import Verb

_STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


@click.command("serve", cls=Verb)
@click.option("--host", metavar="ADDRESS", help="Address to bind. [default: 127.0.0.1]")
@click.option("--port", type=int, help="Public port: functions, REST API and portal. [default: 8080]")
@click.option("--metrics-port", type=int, help="Port of /metrics; 0 picks a free one. [default: 8082]")
@click.option("--workers", type=int, metavar="N", help="Gateway processes on the public port. [default: 1]")
@click.option(
    "--provider",
    metavar="NAME",
    help="Where functions run: process, docker, swarm, kubernetes or memory. [default: process]",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for functions, secrets, logs and credentials. [default: ~/.penstock]",
)
@click.option("--no-auth/--auth", default=None, help="Leave the REST API open; on loopback only.")
@click.option("--autoscaling/--no-autoscaling", default=None, help="Let replicas follow load. [default: on]")
@click.option(
    "--prometheus-url",
    metavar="URL",
    help="A Prometheus to ask for loads that only it knows, such as http://127.0.0.1:9090. [default: none]",
)
@click.option("--examples/--no-examples", default=None, help="Deploy the bundled examples at start.")
@click.option(
    "--pull", metavar="POLICY", help="When images are pulled: missing, always (each start) or never. [default: missing]"
)
@click.option(
    "--docker-connect",
    metavar="WAY",
    help="How containers are reached: ip (their own address), port (a published one) or auto. [default: auto]",
)
@click.option(
    "--docker-network",
    metavar="NETWORK",
    help="Network that containers join, made when there is none of that name. [default: penstock]",
)
@click.option(
    "--kubernetes-context",
    metavar="NAME",
    help="Context of the kubeconfig. [default: its current one; in a pod its account]",
)
@click.option(
    "--kubernetes-reach",
    metavar="WAY",
    help="How functions of a cluster are reached: pods (by their own addresses) or nodeport. [default: pods]",
)
@click.option(
    "--watchdog-image",
    metavar="IMAGE",
    help="Image to take the watchdog for unmodified images from. [default: this installation's own watchdog]",
)
@click.option(
    "--installation",
    metavar="ID",
    help="Whose containers these are, where installations share an engine. [default: one kept in the home]",
)
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error. [default: info]")
def command(**flags: Any) -> int:
    """Run a gateway with everything it needs on this machine.

    Each flag has an environment variable, PENSTOCK_ and its name in capitals; the flag wins. SIGTERM or Ctrl-C lets
    requests in flight finish; a second one stops at once.

    The providers docker and swarm need the extra: pip install 'penstock[docker]'. The engine is the one that the docker
    command would use: $DOCKER_HOST, its current context, or the socket of this machine. The provider kubernetes needs the extra
    kubernetes; in a pod it uses the pod's account, elsewhere $KUBECONFIG or ~/.kube/config.

    \b
    Examples:
      penstock serve
      penstock serve --examples --port 9000
      penstock serve --provider docker --pull never
      PENSTOCK_HOME=/var/lib/penstock penstock serve --host 0.0.0.0 --workers 2
    """
    with _stops_kept():
        from penstock.settings import load_serve_settings
        from penstock.supervisor import run

        return run(load_serve_settings(os.environ, flags))


@contextlib.contextmanager
def _stops_kept() -> Iterator[None]:
    """Keep signals to stop until the supervisor waits for them. The kernel drops those that process 1 of a container neither
    handles nor blocks, and `docker stop` would wait in vain for one that has only begun to import."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        while signal.sigtimedwait(_STOPS, 0):
            pass  # it has ended already
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
