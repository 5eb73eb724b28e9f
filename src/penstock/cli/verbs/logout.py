"""`penstock logout`: forget the saved login of a gateway."""

from __future__ import annotations

import os

import click

from penstock.cli.commands import Verb
from penstock.cli.config import config_path, remove_login
from penstock.cli.target import gateway_url
from penstock.errors import NotFound


@click.command("logout", cls=Verb)
@click.option(
    "-g", "--gateway", metavar="URL", help="Gateway; else $PENSTOCK_URL, $OPENFAAS_URL, http://127.0.0.1:8080."
)
def command(gateway: str | None) -> None:
    """Forget the saved login of a gateway.

    \b
    Examples:
      penstock logout
      penstock logout --gateway https://faas.example.com
    """
    url = gateway_url(gateway, os.environ)
    if not remove_login(config_path(os.environ), url):
        raise NotFound(f"there is no saved login for {url}")
    click.echo(f"credentials removed for {url}")
