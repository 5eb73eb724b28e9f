"""`penstock token`: what lets others call one function with objects of a store."""

from __future__ import annotations

import click
import msgspec

from penstock.cli.client import Gateway, decode, refusal, segment, talk
from penstock.cli.commands import Verb
from penstock.cli.options import connected, namespace_option
from penstock.cli.target import Target
from penstock.errors import NotFound


class _Token(msgspec.Struct):
    token: str


@click.command("token", cls=Verb)
@click.argument("name")
@namespace_option
@connected()
def command(target: Target, name: str) -> None:
    """Print the token with which a function or pipeline may be called with objects of a store.

    Whoever has it may send X-Input-Object and X-Output-Object to this function, with the header "Authorization: Bearer TOKEN",
    for the buckets that the gateway and the function allow. It is good until the administrator's password changes.

    \b
    Examples:
      penstock token thumbnail
      curl -H "Authorization: Bearer $(penstock token thumbnail)" \\
           -H "X-Input-Object: s3://photos/cat.png" -X POST http://127.0.0.1:8080/function/thumbnail
    """
    click.echo(talk(target, lambda gateway: _token(gateway, name)))


async def _token(gateway: Gateway, name: str) -> str:
    reply = await gateway.request("GET", f"/system/function/{segment(name)}/token", params=gateway.query())
    if reply.status == 404:
        raise NotFound(f"there is no function {name!r}; `penstock list` shows those there are")
    if reply.status != 200:
        raise refusal(reply)
    answer: _Token = decode(reply.body, _Token)
    return answer.token
