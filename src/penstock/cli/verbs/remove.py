"""`penstock remove`: functions go away."""

from __future__ import annotations

from collections.abc import Sequence

import click

from penstock.cli.client import Gateway, refusal, segment, talk
from penstock.cli.commands import Verb
from penstock.cli.exchange import check_acknowledged
from penstock.cli.options import connected, namespace_option, note
from penstock.cli.stackoptions import StackFile, stack_options, target_of
from penstock.cli.target import Target
from penstock.errors import GatewayUnavailable, InvalidInput, NotFound, PenstockError, Unauthorized
from penstock.stack.model import StackFunction, StackPipeline


@click.command("remove", cls=Verb)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@stack_options
@namespace_option
@connected()
def command(target: Target, names: tuple[str, ...], stack_file: StackFile) -> None:
    """Remove functions by name, or all of a stack file; requests in flight are answered first.

    Of a stack file all functions are tried, its pipelines first, whatever becomes of some; one that is not there is no failure.

    \b
    Examples:
      penstock remove words
      penstock rm words lines --namespace staging
      penstock remove -f stack.yml --filter "api-*"
    """
    if names and stack_file.wanted:
        raise InvalidInput("give names or a stack file; functions of a file are chosen by --filter")
    if names:
        for name in names:
            segment(name)
        talk(target, lambda gateway: _remove(gateway, names))
    else:
        stack = stack_file.find()
        if stack is None:
            raise InvalidInput(
                "nothing to remove: give names, or a stack file with -f; there is no stack.yaml or stack.yml here"
            )
        talk(target_of(stack, target), lambda gateway: _remove_all(gateway, (*stack.pipelines, *stack.functions)))


async def _remove(gateway: Gateway, names: tuple[str, ...]) -> None:
    for name in names:
        if not await _remove_one(gateway, name):
            raise NotFound(f"there is no function {name!r} to remove; `penstock list` shows those there are")


async def _remove_all(gateway: Gateway, functions: Sequence[StackFunction | StackPipeline]) -> None:
    """Raises PenstockError at the end when some could not be removed; at once when there is no gateway or no login."""
    failed = []
    for function in functions:
        there = gateway.within(gateway.target.namespace or function.namespace)
        try:
            if not await _remove_one(there, function.name):
                note(f"There is no function {function.name!r} to remove.")
        except (GatewayUnavailable, Unauthorized):
            raise
        except PenstockError as error:
            note(f"Error: function {function.name!r}: {error}")
            failed.append(function.name)
    if failed:
        raise PenstockError(f"{len(failed)} of {len(functions)} functions could not be removed: {', '.join(failed)}")


async def _remove_one(gateway: Gateway, name: str) -> bool:
    """Whether there was one. Raises what a refusal stands for."""
    suffix = f".{gateway.target.namespace}" if gateway.target.namespace else ""
    click.echo(f"Deleting: {name}{suffix}")
    reply = await gateway.request("DELETE", "/system/functions", body=gateway.named(functionName=name))
    if reply.status == 404:
        return False
    if reply.status not in (200, 201, 202, 204):
        raise refusal(reply)
    check_acknowledged(gateway.target, reply.status, reply.body)
    click.echo("Removing old function.")
    return True
