"""`penstock scale`: another number of replicas for one function."""

from __future__ import annotations

import click

from penstock.cli.client import Gateway, refusal, segment, talk
from penstock.cli.commands import Verb
from penstock.cli.options import connected, namespace_option
from penstock.cli.target import Target
from penstock.errors import NotFound


@click.command("scale", cls=Verb)
@click.argument("name")
@click.argument("replicas", type=click.IntRange(min=0))
@namespace_option
@connected()
def command(target: Target, name: str, replicas: int) -> None:
    """Set how many replicas a function has; at 0 the next request wakes it.

    \b
    Examples:
      penstock scale words 3
      penstock scale words 0 --namespace staging
    """
    talk(target, lambda gateway: _scale(gateway, name, replicas))
    click.echo(f"Scaling {name} to {replicas}.")


async def _scale(gateway: Gateway, name: str, replicas: int) -> None:
    body = gateway.named(serviceName=name, replicas=replicas)
    reply = await gateway.request("POST", f"/system/scale-function/{segment(name)}", body=body)
    if reply.status == 404:
        raise NotFound(f"there is no function {name!r} to scale; `penstock list` shows those there are")
    if reply.status not in (200, 201, 202, 204):
        raise refusal(reply)
