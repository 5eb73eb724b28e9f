"""`penstock login`: try a user and password on a gateway and, when they work, keep them where faas-cli keeps them."""

from __future__ import annotations

import os

import click

from penstock.cli.client import Gateway, refusal, talk
from penstock.cli.commands import Verb
from penstock.cli.config import basic_token, config_path, save_login
from penstock.cli.options import connected, warn_plaintext
from penstock.cli.passwords import read_password
from penstock.cli.target import Target
from penstock.errors import InvalidInput, Unauthorized


@click.command("login", cls=Verb)
@click.option("-u", "--username", default="admin", show_default=True, help="User.")
@click.option("-p", "--password", help="Password; others can see it in the process list, prefer --password-stdin.")
@click.option("-s", "--password-stdin", is_flag=True, help="Read the password from stdin.")
@connected(token=False, timeout="5s")
def command(target: Target, username: str, password: str | None, password_stdin: bool) -> None:
    """Log in to a gateway and remember it.

    The login is kept in ~/.openfaas/config.yml, or in the directory $OPENFAAS_CONFIG, where faas-cli keeps its own.

    On the machine of the gateway itself no login is needed, as long as you may read the files that `penstock serve` keeps
    in $PENSTOCK_HOME/auth.

    \b
    Examples:
      penstock login
      penstock login --password-stdin < ~/.penstock/auth/basic-auth-password
      penstock login -g https://faas.example.com -u admin --password-stdin < password.txt
    """
    warn_plaintext(target)
    secret = read_password(password, password_stdin)
    if ":" in username:
        raise InvalidInput("--username cannot hold a colon")
    token = basic_token(username, secret)
    talk(target._replace(authorization=f"Basic {token}"), _validate)
    save_login(config_path(os.environ), target.url, token)
    click.echo(f"credentials saved for {username} {target.url}")


async def _validate(gateway: Gateway) -> None:
    try:
        reply = await gateway.request("GET", "/system/functions")
    except Unauthorized as error:
        raise Unauthorized(f"{gateway.target.url} does not accept this user and password; nothing was saved") from error
    if reply.status != 200:
        raise refusal(reply)
