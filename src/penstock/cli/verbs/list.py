"""`penstock list`: the deployed functions of a namespace."""

from __future__ import annotations

import click

from penstock.cli.client import decode, fetch, refusal, status_of
from penstock.cli.commands import Verb
from penstock.cli.options import connected, namespace_option, output_option
from penstock.cli.output import print_columns, print_json, printable
from penstock.cli.schema import FunctionStatus, Raw
from penstock.cli.target import Target

_MIN_IMAGE_WIDTH = 40


@click.command("list", cls=Verb)
@click.option("-v", "--verbose", is_flag=True, help="Show image and time of creation as well.")
@click.option("-q", "--quiet", is_flag=True, help="Print names only.")
@click.option(
    "--sort", type=click.Choice(["name", "invocations", "creation"]), default="name", show_default=True, help="Order."
)
@output_option
@namespace_option
@connected(of_stack=True)
def command(target: Target, verbose: bool, quiet: bool, sort: str, output: str) -> None:
    """List functions with their invocations and ready replicas.

    \b
    Examples:
      penstock list
      penstock list --verbose --sort invocations
      penstock list --quiet | xargs penstock remove
      penstock list --output json | jq '.[].name'
    """
    functions = _sorted(_functions(target), sort)
    if output == "json":
        print_json([raw for raw, _ in functions])
    elif quiet:
        for _, function in functions:
            click.echo(printable(function.name))
    else:
        _print_table([function for _, function in functions], verbose)


def _functions(target: Target) -> list[Raw]:
    params = {"namespace": target.namespace} if target.namespace else {}
    reply = fetch(target, "/system/functions", params)
    if reply.status != 200:
        raise refusal(reply)
    return decode(reply.body, list[Raw] | None) or []


def _sorted(raws: list[Raw], sort: str) -> list[tuple[Raw, FunctionStatus]]:
    functions = sorted(((raw, status_of(raw)) for raw in raws), key=lambda item: item[1].name)
    if sort == "invocations":
        functions.sort(key=lambda item: -item[1].invocation_count)
    if sort == "creation":
        functions.sort(key=lambda item: item[1].created_at)
    return functions


def _print_table(functions: list[FunctionStatus], verbose: bool) -> None:
    if not verbose:
        rows = [(f.name, f"{f.invocation_count:.0f}", _replicas(f)) for f in functions]
        print_columns(("Function", "Invocations", "Replicas"), rows, (30, 15, 5))
        return
    width = max([_MIN_IMAGE_WIDTH, *(len(f.image) for f in functions)])
    details = [(f.name, _image(f), f"{f.invocation_count:.0f}", _replicas(f), f.created_at) for f in functions]
    print_columns(("Function", "Image", "Invocations", "Replicas", "CreatedAt"), details, (30, width, 15, 5, 5))


def _image(function: FunctionStatus) -> str:
    return "pipeline" if function.pipeline else function.image


def _replicas(function: FunctionStatus) -> str:
    return "-" if function.pipeline else str(function.replicas)
