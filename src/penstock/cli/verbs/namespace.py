"""`penstock namespace`: rooms for functions of the same name (contract gateway §1.3, /system/namespace)."""

from __future__ import annotations

import click

from penstock.cli.client import Gateway, decode, namespace_of, segment, talk
from penstock.cli.commands import AliasGroup
from penstock.cli.options import connected, gateway_options, output_option, pairs
from penstock.cli.output import print_fields, print_json, printable
from penstock.cli.schema import Raw
from penstock.cli.target import Target

_MARK = {"openfaas": "1"}
"""Label and annotation by which gateways tell a namespace for functions from others."""


@click.group("namespace", cls=AliasGroup, aliases={"ls": "list", "rm": "remove", "delete": "remove"})
@gateway_options
def command(**_given: object) -> None:
    """Create, show and remove namespaces.

    \b
    Examples:
      penstock namespace create staging --label team=red
      penstock ns list
      penstock deploy --name words --fprocess "wc -w" --namespace staging
    """


@command.command("list")
@output_option
@connected()
def list_(target: Target, output: str) -> None:
    """List all namespaces, the default one first.

    \b
    Examples:
      penstock namespace list
      penstock ns ls --output json
    """
    names = talk(target, Gateway.namespaces)
    if output == "json":
        print_json(names)
        return
    click.echo("Namespaces:")
    for name in names:
        click.echo(f" - {printable(name)}")


@command.command("get")
@click.argument("name")
@output_option
@connected()
def get(target: Target, name: str, output: str) -> None:
    """Show one namespace with its labels and annotations.

    \b
    Examples:
      penstock namespace get staging
      penstock ns get staging --output json
    """
    raw = talk(target, lambda gateway: _get(gateway, name))
    if output == "json":
        print_json(raw)
        return
    namespace = namespace_of(raw)
    fields = [("Name", namespace.name)]
    for key, values in (("Labels", namespace.labels), ("Annotations", namespace.annotations)):
        fields.append((key, "\n".join(f"{k}: {v}" for k, v in sorted((values or {}).items())) or "<none>"))
    print_fields(fields)


@command.command("create")
@click.argument("name")
@click.option("-l", "--label", "labels", multiple=True, metavar="K=V", help="Label; may be given many times.")
@click.option("--annotation", "annotations", multiple=True, metavar="K=V", help="Annotation; may be given many times.")
@connected()
def create(target: Target, name: str, labels: tuple[str, ...], annotations: tuple[str, ...]) -> None:
    """Create a namespace.

    \b
    Examples:
      penstock namespace create staging
      penstock ns create staging --label team=red --annotation owner=kim
    """
    body = _body(name, labels, annotations)
    talk(target, lambda gateway: gateway.call("POST", "/system/namespace/", body=body))
    click.echo(f"Namespace Created: {name}")


@command.command("update")
@click.argument("name")
@click.option("-l", "--label", "labels", multiple=True, metavar="K=V", help="Label; those not given are removed.")
@click.option("--annotation", "annotations", multiple=True, metavar="K=V", help="Annotation; as with labels.")
@connected()
def update(target: Target, name: str, labels: tuple[str, ...], annotations: tuple[str, ...]) -> None:
    """Replace the labels and annotations of a namespace.

    \b
    Examples:
      penstock namespace update staging --label team=blue
      penstock ns update staging
    """
    path, body = _path(name), _body(name, labels, annotations)
    talk(target, lambda gateway: gateway.call("PUT", path, body=body))
    click.echo(f"Namespace Updated: {name}")


@command.command("remove")
@click.argument("name")
@connected()
def remove(target: Target, name: str) -> None:
    """Remove an empty namespace.

    \b
    Examples:
      penstock namespace remove staging
      penstock ns rm staging
    """
    path, body = _path(name), {"name": name, "labels": _MARK}
    talk(target, lambda gateway: gateway.call("DELETE", path, body=body))
    click.echo(f"Namespace Removed: {name}")


async def _get(gateway: Gateway, name: str) -> Raw:
    reply = await gateway.call("GET", _path(name), accept=(200,))
    raw: Raw = decode(reply.body, Raw)
    return raw


def _path(name: str) -> str:
    return f"/system/namespace/{segment(name)}"


def _body(name: str, labels: tuple[str, ...], annotations: tuple[str, ...]) -> Raw:
    segment(name)
    return {
        "name": name,
        "labels": {**pairs(labels, "--label"), **_MARK},
        "annotations": {**pairs(annotations, "--annotation"), **_MARK},
    }
