"""`penstock list`: the deployed functions of a namespace. The plain ways to type it are answered by `quick`."""

from __future__ import annotations

import click

from penstock.cli.commands import Verb
from penstock.cli.listing import TIMEOUT, show_functions
from penstock.cli.options import connected, namespace_option, output_option
from penstock.cli.target import Target


@click.command("list", cls=Verb)
@click.option("-v", "--verbose", is_flag=True, help="Show image and time of creation as well.")
@click.option("-q", "--quiet", is_flag=True, help="Print names only.")
@click.option(
    "--sort", type=click.Choice(["name", "invocations", "creation"]), default="name", show_default=True, help="Order."
)
@output_option
@namespace_option
@connected(of_stack=True, timeout=f"{TIMEOUT:g}s")
def command(target: Target, verbose: bool, quiet: bool, sort: str, output: str) -> None:
    """List functions with their invocations and ready replicas.

    \b
    Examples:
      penstock list
      penstock list --verbose --sort invocations
      penstock list --quiet | xargs penstock remove
      penstock list --output json | jq '.[].name'
    """
    show_functions(target, quiet=quiet, verbose=verbose, sort=sort, as_json=output == "json")
