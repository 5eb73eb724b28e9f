"""`penstock health`: whether a gateway answers, as an exit code. Made for the health checks of containers and service managers.

These start it every few seconds, so it asks by the standard library instead of the shared client.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import click

from penstock.cli.commands import Verb
from penstock.cli.options import DURATION
from penstock.cli.target import gateway_url
from penstock.errors import GatewayUnavailable, InvalidInput

_ANY = ("", "0.0.0.0", "::")  # noqa: S104 - to be compared with, not to be bound
_METRICS_PORT = 8082


@click.command("health", cls=Verb)
@click.option("-g", "--gateway", metavar="URL", help="Ask this gateway, instead of the metrics port of this machine.")
@click.option("--timeout", type=DURATION, default="5s", show_default=True, help="Longest wait for the answer.")
def command(gateway: str | None, timeout: float) -> None:
    """Exit 0 when a gateway is healthy, 3 when it is not or does not answer.

    Asks /healthz on this machine, at the port of $PENSTOCK_METRICS_PORT or 8082: what `penstock serve` with the same
    environment listens on. No login is needed.

    \b
    Examples:
      penstock health
      penstock health --gateway https://faas.example.com --timeout 2s
    """
    url = gateway_url(gateway, {}) if gateway else metrics_url(os.environ)
    status = _ask(url, timeout or None)
    if status != 200:
        raise GatewayUnavailable(f"the gateway at {url} is not healthy: it answered {status} to /healthz")
    click.echo("healthy")


def metrics_url(environ: Mapping[str, str]) -> str:
    """Where the metrics of a gateway with this environment are, seen from its machine. Raises InvalidInput."""
    text = environ.get("PENSTOCK_METRICS_PORT") or str(_METRICS_PORT)
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65535):
        raise InvalidInput(f"PENSTOCK_METRICS_PORT: {text!r} is not a port that can be asked (1 to 65535)")
    host = environ.get("PENSTOCK_HOST", "")
    if host in _ANY:
        host = "::1" if host == "::" else "127.0.0.1"
    return f"http://[{host}]:{text}" if ":" in host else f"http://{host}:{text}"


def _ask(url: str, timeout: float | None) -> int:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", f"{parts.path}/healthz")
        return connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        raise GatewayUnavailable(f"no gateway answers at {url}: {error}") from error
    finally:
        connection.close()
