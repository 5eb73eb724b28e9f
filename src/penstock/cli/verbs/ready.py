"""`penstock ready`: wait for a gateway, or for a function of it."""

from __future__ import annotations

import asyncio

import click

from penstock.cli.client import Gateway, segment, status_of, talk
from penstock.cli.commands import Verb
from penstock.cli.exchange import Reply, check_acknowledged
from penstock.cli.options import DURATION, connected, namespace_option, note
from penstock.cli.pipelines import stages_of
from penstock.cli.stackoptions import StackFile, stack_options, target_of
from penstock.cli.target import Target
from penstock.errors import GatewayUnavailable, InvalidInput, NotFound, PenstockError, ProviderUnavailable

_ENOUGH = 80
"""Bytes of an answer that tell a gateway from a web page."""


@click.command("ready", cls=Verb)
@click.argument("name", required=False, default="")
@stack_options
@click.option("--attempts", type=click.IntRange(min=1), default=60, show_default=True, help="Looks before giving up.")
@click.option("--interval", type=DURATION, default="1s", show_default=True, help="Pause between two looks.")
@namespace_option
@connected(timeout="10s", timeout_help="Longest wait for the answer to one look; 0 waits for ever.")
def command(target: Target, name: str, stack_file: StackFile, attempts: int, interval: float) -> None:
    """Return when the gateway is ready or, with a name, when a replica of that function is.

    A pipeline is ready when each of its stages is, or rests until a call wakes it.

    Of a stack file only its gateway is used, and only when it is named with -f.

    \b
    Examples:
      penstock ready --attempts 30
      penstock ready words --interval 500ms
    """
    if name:
        segment(name)
    if stack_file.filter or stack_file.regex:
        raise InvalidInput("--filter and --regex: wait for one function, by its name")
    if stack_file.yaml:
        target = target_of(stack_file.load(), target)
    talk(target, lambda gateway: _wait(gateway, name, attempts, interval))
    click.echo(f"Function {name} is ready" if name else "The gateway is ready")


async def _wait(gateway: Gateway, name: str, attempts: int, interval: float) -> None:
    what = f"function {name}" if name else "gateway"
    reason = ""
    kind: type[PenstockError] = PenstockError
    for attempt in range(1, attempts + 1):
        note(f"[{attempt}/{attempts}] Waiting for {what}{': ' + reason if reason else ''}")
        kind = PenstockError
        try:
            reason = await _look(gateway, name)
        except (GatewayUnavailable, ProviderUnavailable, NotFound) as error:
            reason = str(error)
            kind = type(error)
        if not reason:
            return
        if attempt < attempts:
            await asyncio.sleep(interval)
    raise kind(f"{what} is not ready after {attempts} looks: {reason}")


async def _look(gateway: Gateway, name: str) -> str:
    """What is still missing; empty when nothing is."""
    if name:
        status = status_of(await gateway.function(name))
        if status.pipeline:
            waits = [f"{each.function} is {each.state}" for each in await stages_of(gateway, status) if not each.ready]
            return waits[0] if waits else ""
        return "" if status.available_replicas else f"{status.available_replicas} of {status.replicas} replicas answer"
    reply = await _health(gateway)
    if reply.status != 200:
        return f"it answers {reply.status} to /healthz"
    check_acknowledged(gateway.target, reply.status, reply.body)
    return ""


async def _health(gateway: Gateway) -> Reply:
    """The answer to the one question that anybody may ask, hence without a login. Raises GatewayUnavailable."""
    async with gateway.ask("GET", "/healthz") as response:
        start = await response.content.read(_ENOUGH) if response.status == 200 else b""
        return Reply(response.status, response.reason or "", start)
