"""`penstock registry-login`: try a user and password on a registry and write them as Docker keeps them (contract watchdog-cli §4.3)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tempfile
from pathlib import Path

import click

from penstock.builders.imagewriter.auth import FOLDER, User
from penstock.builders.imagewriter.registry import check_login
from penstock.builders.imagewriter.transport import Lost
from penstock.cli.commands import Verb
from penstock.cli.options import note
from penstock.cli.passwords import read_password
from penstock.errors import InvalidInput
from penstock.providers.containers.credentials import HUB_SERVER
from penstock.providers.containers.reference import HUB, parse

_HUB_NAMES = {"", HUB, "index.docker.io", "registry-1.docker.io", HUB_SERVER}
_ECR = "ecr-login"


@click.command("registry-login", cls=Verb)
@click.option("--server", default="", metavar="HOST", help="Registry, such as ghcr.io. [default: Docker Hub]")
@click.option("-u", "--username", default="", help="User.")
@click.option("--password", help="Password; others can see it in the process list, prefer --password-stdin.")
@click.option("-s", "--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option("--ecr", is_flag=True, help="Let the helper docker-credential-ecr-login log in to Amazon's registry.")
@click.option("--account-id", default="", metavar="ID", help="Of Amazon, with --ecr.")
@click.option("--region", default="", metavar="REGION", help="Of Amazon, with --ecr.")
def command(
    server: str, username: str, password: str | None, password_stdin: bool, ecr: bool, account_id: str, region: str
) -> None:
    """Log in to a registry, and write ./credentials/config.json in Docker's format.

    The image writer and buildah use that file where Docker's own has nothing; to Docker and others it is given by
    DOCKER_CONFIG=./credentials. The registry is asked first, where it can be reached.

    \b
    Examples:
      penstock registry-login --server ghcr.io -u ada --password-stdin < token.txt
      penstock registry-login --ecr --account-id 123456789012 --region eu-west-1
    """
    if ecr:
        document = _ecr(account_id, region)
    else:
        if account_id or region:
            raise InvalidInput("--account-id and --region go with --ecr")
        registry = _registry(server)
        if not username:
            raise InvalidInput("--username is missing")
        if ":" in username:
            raise InvalidInput("--username cannot hold a colon")
        secret = read_password(password, password_stdin)
        _verify(registry, User(username, secret))
        key = HUB_SERVER if registry == HUB else registry
        document = {"auths": {key: {"auth": base64.b64encode(f"{username}:{secret}".encode()).decode()}}}
    path = Path.cwd() / FOLDER / "config.json"
    _write(path, _merged(path, document))
    click.echo(f"credentials written to {path.relative_to(Path.cwd())}")


def _registry(server: str) -> str:
    if server in _HUB_NAMES:
        return HUB
    host = server.removeprefix("https://").removeprefix("http://").rstrip("/")
    try:
        found = parse(f"{host}/x").registry
    except InvalidInput as error:
        raise InvalidInput(
            f"--server {server!r}: must be a host, such as ghcr.io or registry.example.com:5000"
        ) from error
    if found != host:
        raise InvalidInput(f"--server {server!r}: must be a host, such as ghcr.io or registry.example.com:5000")
    return host


def _verify(registry: str, user: User) -> None:
    """Raises Unauthorized when the registry does not accept the user."""
    try:
        asked = check_login(registry, user, os.environ)
    except Lost as error:
        note(f"Warning: the login could not be tried: {error}")
        return
    if not asked:
        note(f"Note: {registry} asks for no login.")


def _ecr(account: str, region: str) -> dict[str, object]:
    if not (account.isascii() and account.isdigit() and region):
        raise InvalidInput("--ecr needs --account-id, which is a number, and --region")
    host = _registry(f"{account}.dkr.ecr.{region}.amazonaws.com")
    return {"credsStore": _ECR, "credHelpers": {host: _ECR}}


def _merged(path: Path, document: dict[str, object]) -> dict[str, object]:
    """What the file has already stays, but for the same registry. Raises InvalidInput for a file that is something else."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        found = {}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON; take it away") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} is not a JSON object; take it away")
    for name, value in document.items():
        before = found.get(name)
        found[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return found


def _write(path: Path, document: dict[str, object]) -> None:
    """In one step, readable by its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=".config-", dir=path.parent)
    try:
        with open(number, "w") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
        os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
