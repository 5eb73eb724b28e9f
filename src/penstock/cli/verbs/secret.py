"""`penstock secret`: values that functions may read and nobody may list (contract gateway §1.3, /system/secrets).

Values for builds elsewhere are sealed and unsealed without a gateway, by `penstock.cli.sealing`.
"""

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

from penstock.cli import sealing
from penstock.cli.client import Gateway, Reply, decode, refusal, talk
from penstock.cli.commands import AliasGroup
from penstock.cli.options import connected, namespace_option, note, output_option, warn_plaintext
from penstock.cli.output import print_columns, print_json
from penstock.cli.schema import Raw, SecretName
from penstock.cli.target import Target
from penstock.core.names import check_secret_name
from penstock.errors import AlreadyExists, GatewayUnavailable, InvalidInput, NotFound, PenstockError, Unauthorized

SEALED = "com.openfaas.secrets"
"""Where sealed values are unless said otherwise: the name that builders look for."""

_PATH = "/system/secrets"
_FILE = click.Path(path_type=Path, dir_okay=False)

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
    """Create, list, update and remove secrets; make keys and seal values.

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
    names = sorted(secret.name for secret in _names(raws))
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


@command.command("apply")
@click.option("--trim/--no-trim", default=True, show_default=True, help="Remove white space around the values.")
@namespace_option
@connected()
def apply(target: Target, trim: bool) -> None:
    """Create or update a secret for each file in ./.secrets.

    A file's name is the secret's. All files are tried, whatever becomes of some; the last line says which have failed.

    \b
    Examples:
      penstock secret apply
      penstock secret apply --namespace staging --no-trim
    """
    files = _files(Path(".secrets"))
    warn_plaintext(target)
    if not files:
        note("There are no files in .secrets.")
        return
    talk(target, lambda gateway: _apply(gateway, files, trim))


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
    else:
        _write(output, text.encode(), 0o600)


@command.command("keygen")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("key"),
    show_default=True,
    help="File for the private key, 0600; the public one gets .pub appended.",
)
def keygen(output: Path) -> None:
    """Make a pair of keys: the public one seals secrets, the private one opens them. Keys that exist are kept.

    \b
    Examples:
      penstock secret keygen
      penstock secret keygen --output keys/builder
    """
    public_file = output.with_name(f"{output.name}.pub")
    for file in (output, public_file):
        if os.path.lexists(file):
            raise AlreadyExists(
                f"{file} exists; what is sealed for it could not be opened any more if it were written anew"
            )
    private, public = sealing.generate_keys()
    _write(output, private.encode(), 0o600)
    _write(public_file, public.encode(), 0o644)
    click.echo(
        f"Wrote private key: {output}\nWrote public key:  {public_file}\nKey ID:            {sealing.key_id(public)}"
    )


@command.command("seal")
@click.argument("public_key", metavar="PUB", type=_FILE)
@click.option("--from-literal", "literals", multiple=True, metavar="K=V", help="Value; may be given many times.")
@click.option("--from-file", "files", multiple=True, metavar="K=FILE", help="File with the value; any number of times.")
@click.option("-o", "--output", type=_FILE, default=Path(SEALED), show_default=True, help="File to write.")
def seal(public_key: Path, literals: tuple[str, ...], files: tuple[str, ...], output: Path) -> None:
    """Seal values so that only who has the private key can read them. The file may be committed.

    \b
    Examples:
      penstock secret seal key.pub --from-literal pip_token=s3cr3t
      penstock secret seal key.pub --from-file ca.crt=./certs/ca.crt --output build/com.openfaas.secrets
    """
    values = {
        name: text.encode(errors="surrogateescape")
        for name, text in (_named(item, "--from-literal") for item in literals)
    }
    for name, file in (_named(item, "--from-file") for item in files):
        values[name] = _read(Path(file))
    if not values:
        raise InvalidInput("nothing to seal: give values by --from-literal or --from-file")
    if len(values) < len(literals) + len(files):
        raise InvalidInput("a name is given twice: which of its values counts?")
    _write(output, sealing.seal(_key_text(public_key), values), 0o600)
    click.echo(f"Sealed {len(values)} secret{'s' * (len(values) != 1)} to {output}")


@command.command("unseal")
@click.argument("private_key", metavar="PRIV", type=_FILE)
@click.option("--in", "envelope", type=_FILE, default=Path(SEALED), show_default=True, help="File to open.")
@click.option("--key", "name", default="", metavar="NAME", help="Print this value only, byte for byte.")
@click.option(
    "-j", "--json", "as_json", is_flag=True, help="Print JSON; values that are no text in base64, as name_base64."
)
def unseal(private_key: Path, envelope: Path, name: str, as_json: bool) -> None:
    """Open a file of sealed values and print them as NAME=VALUE.

    \b
    Examples:
      penstock secret unseal key
      penstock secret unseal key --in build/com.openfaas.secrets --key pip_token
    """
    values = sealing.unseal(_key_text(private_key), _read(envelope), str(envelope), name)
    if as_json:
        print_json(dict(_json_field(key, value) for key, value in sorted(values.items())))
    elif name:
        click.echo(values[name], nl=False)
    else:
        for key, value in sorted(values.items()):
            click.echo(key.encode() + b"=" + value)


async def _apply(gateway: Gateway, files: list[Path], trim: bool) -> None:
    """Raises PenstockError at the end, naming them, when some have failed."""
    known = {secret.name for secret in _names(await _list(gateway))}
    failed = []
    for file in files:
        click.echo(f"{'Updating' if file.name in known else 'Creating'} secret: {_key(gateway.target, file.name)}")
        try:
            value = _value(None, file, trim)
            check_secret_name(file.name)
            reply = await _send(gateway, "PUT" if file.name in known else "POST", file.name, value)
            click.echo(f"{'Updated' if file.name in known else 'Created'}: {_accepted(reply).status} {reply.reason}")
        except (GatewayUnavailable, Unauthorized):
            raise
        except PenstockError as error:
            failed.append(file.name)
            note(f"Error: {file}: {error}")
    if failed:
        raise PenstockError(f"{len(failed)} of {len(files)} secrets failed: {', '.join(failed)}")


def _files(folder: Path) -> list[Path]:
    """The files of a folder by name; folders in it are none. Raises NotFound."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.is_dir())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"there is no folder {folder} here; each of its files would become a secret") from error
    except OSError as error:
        raise PenstockError(f"cannot read {folder}: {error.strerror}") from error


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


def _names(raws: list[Raw]) -> list[SecretName]:
    try:
        return msgspec.convert(raws, list[SecretName])
    except msgspec.MsgspecError as error:
        raise PenstockError(f"the gateway's answer is not what was expected: {error}") from error


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
        value = _read(file)
    else:
        if sys.stdin is not None and sys.stdin.isatty():
            note("Reading the secret from the terminal, end it with Ctrl-D.")
        value = sys.stdin.buffer.read() if sys.stdin is not None else b""
    value = value.strip() if trim else value
    if not value:
        where = f"{file} is empty" if file else "give it by --from-literal, --from-file or stdin"
        raise InvalidInput(f"the secret is empty: {where}")
    return value


def _key(target: Target, name: str) -> str:
    return f"{name}.{target.namespace}" if target.namespace else name


def _named(item: str, flag: str) -> tuple[str, str]:
    """`K=V` as it is, white space included. Raises InvalidInput."""
    name, equals, value = item.partition("=")
    if not name or not equals or not value or not name.isprintable():
        raise InvalidInput(f"{flag} {item!r}: write it as NAME={'FILE' if flag == '--from-file' else 'VALUE'}")
    return name, value


def _json_field(name: str, value: bytes) -> tuple[str, str]:
    try:
        return name, value.decode()
    except UnicodeDecodeError:
        return f"{name}_base64", base64.b64encode(value).decode()


def _key_text(file: Path) -> str:
    """Raises InvalidInput for a file that cannot be one with a key."""
    return _read(file).decode(errors="replace")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error


def _write(file: Path, data: bytes, mode: int) -> None:
    """Write a file with that mode, its folders where they are missing. Raises PenstockError."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(descriptor, mode)
            opened.write(data)
    except OSError as error:
        raise PenstockError(f"cannot write {file}: {error.strerror}") from error
