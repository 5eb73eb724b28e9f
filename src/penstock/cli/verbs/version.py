"""`penstock version`: which versions are at work here and at the gateway.

Meant to answer at once, so it does not use the shared client, whose import alone takes longer than everything done here.
"""

from __future__ import annotations

import json
from typing import Any

import click

import penstock
from penstock.cli.commands import Verb
from penstock.cli.options import connected, note, output_option
from penstock.cli.plainhttp import get
from penstock.cli.target import Target


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
@connected(of_stack=True, timeout="5s")
def command(target: Target, output: str, short_version: bool) -> None:
    """Show the versions of this program, the gateway and its provider.

    A gateway that does not answer is mentioned on stderr; the exit code is 0 all the same.

    \b
    Examples:
      penstock version
      penstock version --short-version
      penstock version --gateway https://faas.example.com --output json
    """
    if short_version:
        click.echo(penstock.__version__)
        return
    info = _ask(target)
    if output == "json":
        click.echo(json.dumps({"client": {"version": penstock.__version__}, "gateway": info or None}, indent=2))
        return
    click.echo(f"CLI\n version: {penstock.__version__}")
    if info:
        _print_gateway(target, info)


def _print_gateway(target: Target, info: dict[str, Any]) -> None:
    version = _mapping(info.get("version"))
    provider = _mapping(info.get("provider"))
    click.echo(
        f"\nGateway\n uri:     {target.url}\n version: {version.get('release', '')}\n sha:     {version.get('sha', '')}"
    )
    release = _mapping(provider.get("version")).get("release", "")
    click.echo(f"\nProvider\n name:          {provider.get('provider', '')}")
    click.echo(f" orchestration: {provider.get('orchestration', '')}\n version:       {release}")


def _ask(target: Target) -> dict[str, Any]:
    """The gateway's `/system/info`, or {} with a note when it does not give one."""
    try:
        headers = {"User-Agent": f"penstock/{penstock.__version__}"}
        if target.authorization:
            headers["Authorization"] = target.authorization
        status, body = get(f"{target.url}/system/info", headers, target.timeout or None, verify_tls=target.verify_tls)
        if status == 401:
            note(f"The gateway at {target.url} asks for a login: run `penstock login --gateway {target.url}`.")
            return {}
        if status != 200:
            note(f"The gateway at {target.url} answered {status} to /system/info.")
            return {}
        return _mapping(json.loads(body))
    except (OSError, ValueError) as error:
        note(f"No gateway answers at {target.url} ({error}).")
        return {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
