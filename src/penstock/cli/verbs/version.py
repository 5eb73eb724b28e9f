"""`penstock version`: which versions are at work here and at the gateway. The plain ways to type it are answered by `quick`."""

from __future__ import annotations

import click

from penstock.cli.commands import Verb
from penstock.cli.options import connected, output_option
from penstock.cli.target import Target
from penstock.cli.versions import TIMEOUT, show_versions


@click.command("version", cls=Verb)
@click.option("--short-version", is_flag=True, help="Print the version of this program only; the gateway is not asked.")
@click.option(
    "--warn-update/--no-warn-update",
    default=True,
    expose_value=False,
    hidden=True,
    help="Accepted for faas-cli's sake.",
)
@output_option
@connected(of_stack=True, timeout=f"{TIMEOUT:g}s")
def command(target: Target, output: str, short_version: bool) -> None:
    """Show the versions of this program, the gateway and its provider.

    A gateway that does not answer is mentioned on stderr; the exit code is 0 all the same.

    \b
    Examples:
      penstock version
      penstock version --short-version
      penstock version --gateway https://faas.example.com --output json
    """
    show_versions(target, short=short_version, as_json=output == "json")
