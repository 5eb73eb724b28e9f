"""`penstock storage events`, `redrive` and `events-token`: what became of telling functions of objects. The gateway is asked.

Parts of the group in `verbs.storage`, whose other verbs speak to the store itself.
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from penstock.cli.client import Gateway, decode, talk
from penstock.cli.commands import Verb
from penstock.cli.options import connected, output_option
from penstock.cli.output import print_columns, print_fields, print_json
from penstock.cli.schema import Raw
from penstock.cli.target import Target

_HEADINGS = ("GIVEN UP", "FUNCTION", "EVENT", "OBJECT", "ATTEMPTS", "REASON")
_WIDTHS = (27, 20, 22, 20, 8, 0)


class _GivenUp(msgspec.Struct, rename="camel"):
    call_id: str = ""
    function: str = ""
    event: str = ""
    object: str = ""
    attempts: int = 0
    reason: str = ""
    given_up: str = ""


class _Deliveries(msgspec.Struct, rename="camel"):
    pending: int = 0
    in_flight: int = 0
    dead: int = 0
    given_up: list[_GivenUp] = []


class _Redriven(msgspec.Struct):
    redriven: int = 0


class _Token(msgspec.Struct):
    token: str


@click.command("events", cls=Verb)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many given up to show."
)
@output_option
@connected()
def events(target: Target, limit: int, output: str) -> None:
    """Show how many functions are still to be told of objects, and which could not be, the latest first.

    Functions hear of objects by the annotation `topic`. What fails again and again is given up and kept, with the reason;
    `penstock storage redrive` makes it once more.

    \b
    Examples:
      penstock storage events
      penstock storage events --limit 5
      penstock storage events --output json
    """
    raw = talk(target, lambda gateway: _deliveries(gateway, limit))
    if output == "json":
        print_json(raw)
        return
    found: _Deliveries = msgspec.convert(raw, _Deliveries)
    numbers = (("Pending", found.pending), ("In flight", found.in_flight), ("Given up", found.dead))
    print_fields([(name, str(number)) for name, number in numbers])
    if found.given_up:
        click.echo()
        print_columns(_HEADINGS, [_row(one) for one in found.given_up], _WIDTHS)


@click.command("redrive", cls=Verb)
@connected()
def redrive(target: Target) -> None:
    """Tell functions once more of everything that was given up, with all attempts.

    For when what was wrong is mended: a function that failed, an output that no bucket was there for. Each call has the id that
    it had before.

    \b
    Examples:
      penstock storage redrive
      penstock storage redrive && penstock storage events
    """
    answer = talk(target, _redrive)
    click.echo(f"Redriven: {answer.redriven} deliveries")


@click.command("events-token", cls=Verb)
@connected()
def events_token(target: Target) -> None:
    """Print the token with which a store may tell the gateway of objects, and do nothing else.

    It is a bearer token, or the password of the user `events`, and is good until the administrator's password changes.

    \b
    Examples:
      penstock storage events-token
      mc admin config set minio notify_webhook:penstock endpoint=http://gateway:8080/system/storage/events \\
        auth_token="$(penstock storage events-token)"
    """
    click.echo(talk(target, _token))


def _row(one: _GivenUp) -> tuple[str, ...]:
    return (one.given_up, one.function, one.event, one.object, str(one.attempts), one.reason)


async def _deliveries(gateway: Gateway, limit: int) -> Raw:
    reply = await gateway.call("GET", "/system/storage/deliveries", params={"limit": str(limit)}, accept=(200,))
    decode(reply.body, _Deliveries)
    raw: Raw = decode(reply.body, dict[str, Any])
    return raw


async def _redrive(gateway: Gateway) -> _Redriven:
    reply = await gateway.call("POST", "/system/storage/deliveries/redrive", accept=(202,))
    answer: _Redriven = decode(reply.body, _Redriven)
    return answer


async def _token(gateway: Gateway) -> str:
    reply = await gateway.call("GET", "/system/storage/events/token", accept=(200,))
    answer: _Token = decode(reply.body, _Token)
    return answer.token
