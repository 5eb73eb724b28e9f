"""`penstock remove`: functions go away."""

from __future__ import annotations

import click

from penstock.cli.client import Gateway, refusal, segment, talk
from penstock.cli.commands import Verb
from penstock.cli.options import connected, namespace_option
from penstock.cli.target import Target
from penstock.errors import NotFound


@click.command("remove", cls=Verb)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@namespace_option
@connected()
def command(target: Target, names: tuple[str, ...]) -> None:
    """Remove functions; requests in flight are answered first.

    \b
    Examples:
      penstock remove words
      penstock rm words lines --namespace staging
    """
    for name in names:
        segment(name)
    talk(target, lambda gateway: _remove(gateway, names))


async def _remove(gateway: Gateway, names: tuple[str, ...]) -> None:
    suffix = f".{gateway.target.namespace}" if gateway.target.namespace else ""
    for name in names:
        click.echo(f"Deleting: {name}{suffix}")
        reply = await gateway.request("DELETE", "/system/functions", body=gateway.named(functionName=name))
        if reply.status == 404:
            raise NotFound(f"there is no function {name!r} to remove; `penstock list` shows those there are")
        if reply.status not in (200, 201, 202, 204):
            raise refusal(reply)
        click.echo("Removing old function.")
