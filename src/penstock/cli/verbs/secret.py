"""`penstock secret`: values that functions may read and nobody may list (contract gateway §1.3, /system/secrets)."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from penstock.cli.client import Gateway, Reply, decode, refusal, talk
from penstock.cli.commands import AliasGroup
from penstock.cli.options import connected, namespace_option, note, output_option, warn_plaintext
from penstock.cli.output import print_columns, print_json
from penstock.cli.schema import Raw, SecretName
from penstock.cli.target import Target
from penstock.core.names import check_secret_name
from penstock.errors import AlreadyExists, InvalidInput, NotFound, PenstockError

_PATH = "/system/secrets"

F = TypeVar("F", bound=Callable[..., Any])


def _value_options(function: F) -> F:
    """Where the value comes from."""
    literal = click.option("--from-literal", metavar="VALUE", help="The value; others can see it in the process list.")
    path = click.Path(path_type=Path, dir_okay=False)
    file = click.option("--from-file", type=path, metavar="FILE", help="File that holds the value.")
    trim = click.option(
        "--trim/--no-trim", default=True, show_default=True, help="Remove white space around the value."
    )
    return literal(file(trim(function)))


@click.group(
    "secret",
    cls=AliasGroup,
    aliases={"ls": "list", "u": "update", "rm": "remove", "delete": "remove", "gen": "generate"},
)
def command() -> None:
    """Create, list, update and remove secrets.

    \b
    Examples:
      penstock secret create api-key --from-file key.txt
      penstock deploy --name caller --fprocess ./call.sh --secret api-key
      penstock secret list
    """


@command.command("create")
@click.argument("name")
@click.option("--replace", is_flag=True, help="Update the secret when it exists.")
@_value_options
@namespace_option
@connected()
def create(
    target: Target, name: str, replace: bool, from_literal: str | None, from_file: Path | None, trim: bool
) -> None:
    """Create a secret from a literal, a file or stdin. The bytes may be any.

    \b
    Examples:
      penstock secret create api-key --from-literal s3cr3t
      penstock secret create certificate --from-file cert.der --no-trim
      penstock secret generate | penstock secret create token
    """
    value = _value(from_literal, from_file, trim)
    check_secret_name(name)
    warn_plaintext(target)
    click.echo(f"Creating secret: {_key(target, name)}")
    reply, verb = talk(target, lambda gateway: _create(gateway, name, value, replace))
    click.echo(f"{verb}: {reply.status} {reply.reason}")


@command.command("update")
@click.argument("name")
@_value_options
@namespace_option
@connected()
def update(target: Target, name: str, from_literal: str | None, from_file: Path | None, trim: bool) -> None:
    """Replace the value of a secret. Replicas started from now on see it.

    \b
    Examples:
      penstock secret update api-key --from-file key.txt
      pwgen 32 1 | penstock secret update api-key
    """
    value = _value(from_literal, from_file, trim)
    check_secret_name(name)
    warn_plaintext(target)
    click.echo(f"Updating secret: {_key(target, name)}")
    reply = talk(target, lambda gateway: _send(gateway, "PUT", name, value))
    if reply.status == 404:
        raise NotFound(f"there is no secret {name!r}; `penstock secret create` makes one")
    click.echo(f"Updated: {_accepted(reply).status} {reply.reason}")


@command.command("list")
@output_option
@namespace_option
@connected()
def list_(target: Target, output: str) -> None:
    """List the names of secrets; values are never shown.

    \b
    Examples:
      penstock secret list
      penstock secret ls --namespace staging --output json
    """
    raws = talk(target, _list)
    if output == "json":
        print_json(raws)
        return
    try:
        names = sorted(secret.name for secret in msgspec.convert(raws, list[SecretName]))
    except msgspec.MsgspecError as error:
        raise PenstockError(f"the gateway's answer is not what was expected: {error}") from error
    print_columns(("NAME",), [(name,) for name in names], (0,))


@command.command("remove")
@click.argument("name")
@namespace_option
@connected()
def remove(target: Target, name: str) -> None:
    """Remove a secret.

    \b
    Examples:
      penstock secret remove api-key
      penstock secret rm api-key --namespace staging
    """
    reply = talk(target, lambda gateway: gateway.request("DELETE", _PATH, body=gateway.named(name=name)))
    if reply.status == 404:
        raise NotFound(f"there is no secret {name!r}; `penstock secret list` shows those there are")
    click.echo(f"Removed: {_accepted(reply).status} {reply.reason}")


@command.command("generate")
@click.option("--length", type=click.IntRange(min=1, max=1 << 20), default=32, show_default=True, help="Random bytes.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write, 0600, instead of stdout."
)
def generate(length: int, output: Path | None) -> None:
    """Print random bytes in base64, fit for a secret. No gateway is asked.

    \b
    Examples:
      penstock secret generate
      penstock secret generate --length 64 --output payload-secret
    """
    text = base64.b64encode(secrets.token_bytes(length)).decode()
    if output is None:
        click.echo(text)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text)
    except OSError as error:
        raise PenstockError(f"cannot write {output}: {error.strerror}") from error


async def _create(gateway: Gateway, name: str, value: bytes, replace: bool) -> tuple[Reply, str]:
    """Create, or where that is wanted update what exists: the answer and the word for what happened."""
    reply = await _send(gateway, "POST", name, value)
    if reply.status != 409:
        return _accepted(reply), "Created"
    if not replace:
        raise AlreadyExists(f"the secret {name!r} exists; add --replace to give it this value")
    return _accepted(await _send(gateway, "PUT", name, value)), "Updated"


async def _send(gateway: Gateway, method: str, name: str, value: bytes) -> Reply:
    """Text goes as `value`, other bytes as `rawValue`: one spelling, so that no gateway can pick the wrong one."""
    try:
        fields = {"value": value.decode()}
    except UnicodeDecodeError:
        fields = {"rawValue": base64.b64encode(value).decode()}
    return await gateway.request(method, _PATH, body=gateway.named(name=name, **fields))


async def _list(gateway: Gateway) -> list[Raw]:
    reply = await gateway.call("GET", _PATH, params=gateway.query(), accept=(200, 202))
    return decode(reply.body, list[Raw] | None) or []


def _accepted(reply: Reply) -> Reply:
    if reply.status not in (200, 201, 202, 204):
        raise refusal(reply)
    return reply


def _value(literal: str | None, file: Path | None, trim: bool) -> bytes:
    """The bytes of the secret from the one source that was given. Raises InvalidInput."""
    if literal is not None and file is not None:
        raise InvalidInput("--from-literal and --from-file exclude each other")
    if literal is not None:
        value = literal.encode(errors="surrogateescape")
    elif file is not None:
        try:
            value = file.read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
    else:
        if sys.stdin is not None and sys.stdin.isatty():
            note("Reading the secret from the terminal, end it with Ctrl-D.")
        value = sys.stdin.buffer.read() if sys.stdin is not None else b""
    value = value.strip() if trim else value
    if not value:
        raise InvalidInput("the secret is empty: give it by --from-literal, --from-file or stdin")
    return value


def _key(target: Target, name: str) -> str:
    return f"{name}.{target.namespace}" if target.namespace else name
