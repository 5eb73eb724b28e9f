"""`penstock login`: try a user and password on a gateway and, when they work, keep them where faas-cli keeps them."""

from __future__ import annotations

import dataclasses
import os
import sys

import click

from penstock.cli.client import Gateway, refusal, talk
from penstock.cli.commands import Verb
from penstock.cli.config import basic_token, config_path, save_login
from penstock.cli.options import connected, note, warn_plaintext
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
    secret = _password(password, password_stdin)
    if ":" in username:
        raise InvalidInput("--username cannot hold a colon")
    token = basic_token(username, secret)
    talk(dataclasses.replace(target, authorization=f"Basic {token}"), _validate)
    save_login(config_path(os.environ), target.url, token)
    click.echo(f"credentials saved for {username} {target.url}")


async def _validate(gateway: Gateway) -> None:
    try:
        reply = await gateway.request("GET", "/system/functions")
    except Unauthorized as error:
        raise Unauthorized(f"{gateway.target.url} does not accept this user and password; nothing was saved") from error
    if reply.status != 200:
        raise refusal(reply)


def _password(given: str | None, from_stdin: bool) -> str:
    """The password from the flag, stdin or the terminal, without white space around it. Raises InvalidInput."""
    if given is not None and from_stdin:
        raise InvalidInput("--password and --password-stdin exclude each other")
    if given is not None:
        note("Warning: --password can be seen by other users of this machine, prefer --password-stdin.")
        text = given
    elif from_stdin:
        text = sys.stdin.read() if sys.stdin is not None else ""
    elif sys.stdin is not None and sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, err=True)
    else:
        raise InvalidInput("no password: pipe one in with --password-stdin")
    if not text.strip():
        raise InvalidInput("the password is empty")
    return text.strip()
