"""The flags of a remote builder, and the builder that they stand for.

Used by `build`, `up` and `publish`, beside the flags of `building`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.options import note
from penstock.cli.target import is_loopback
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from penstock.builders.plan import BuildFlags
    from penstock.builders.remote import RemoteBuilder

F = TypeVar("F", bound=Callable[..., Any])

_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
"""32 bytes in base64."""
MOST_SECRET = 1 << 20
"""Bytes of a file with the secret or the key."""


@dataclass(frozen=True, kw_only=True)
class RemoteWish:
    """What the flags, or the environment, say about a remote builder."""

    url: str
    payload_secret: str = ""
    """A file."""
    public_key: str = ""
    """A file, or the key itself in base64."""


def remote_options(function: F) -> F:
    """`--remote-builder`, `--payload-secret` and `--builder-public-key`; the verb receives one `remote`, None without a builder."""

    @functools.wraps(function)
    def command(
        *args: Any,
        remote_builder: str | None,
        payload_secret: str | None,
        builder_public_key: str | None,
        **rest: Any,
    ) -> Any:
        remote = None
        if remote_builder:
            remote = RemoteWish(
                url=remote_builder, payload_secret=payload_secret or "", public_key=builder_public_key or ""
            )
        return function(*args, remote=remote, **rest)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command  # type: ignore[return-value]


_OPTIONS = (
    click.option(
        "--remote-builder",
        envvar="OPENFAAS_REMOTE_BUILDER",
        metavar="URL",
        help="Another machine that builds and pushes images; else $OPENFAAS_REMOTE_BUILDER.",
    ),
    click.option(
        "--payload-secret",
        envvar="OPENFAAS_PAYLOAD_SECRET",
        metavar="FILE",
        help="Secret that the remote builder knows us by; else $OPENFAAS_PAYLOAD_SECRET.",
    ),
    click.option(
        "--builder-public-key",
        envvar="OPENFAAS_BUILDER_PUBLIC_KEY",
        metavar="KEY",
        help="Key, or a file with it, that build secrets are sealed for; else $OPENFAAS_BUILDER_PUBLIC_KEY, or asked for.",
    ),
)


def remote_builder(wish: RemoteWish, flags: BuildFlags, *, push: bool) -> RemoteBuilder:
    """The builder. Raises InvalidInput for what is missing or cannot be read."""
    from penstock.builders.remote import Remote, RemoteBuilder  # late, in both cases: few need them
    from penstock.cli.sealing import seal

    if not wish.payload_secret:
        raise InvalidInput(
            "--remote-builder: needs --payload-secret, a file with the secret that the builder knows us by"
        )
    secret = _read(wish.payload_secret, "--payload-secret").strip()
    if not secret:
        raise InvalidInput(f"--payload-secret: the file {wish.payload_secret!r} is empty")
    builder = RemoteBuilder(
        os.environ, Remote(url=wish.url, secret=secret, public_key=_public_key(wish.public_key), push=push), seal
    )
    _warn(wish, flags)
    return builder


def _public_key(text: str) -> str:
    if not text or (_KEY.fullmatch(text.strip()) and not Path(text).exists()):
        return text.strip()
    return _read(text, "--builder-public-key").decode(errors="replace").strip()


def _read(path: str, flag: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MOST_SECRET + 1)
    except OSError as error:
        raise InvalidInput(f"{flag}: the file {path!r} cannot be read: {error.strerror}") from error
    if len(data) > MOST_SECRET:
        raise InvalidInput(f"{flag}: the file {path!r} is larger than {MOST_SECRET >> 20} MiB, which no secret is")
    return data


def _warn(wish: RemoteWish, flags: BuildFlags) -> None:
    """Say what a remote builder will not do, and who might read along."""
    ignored = (
        ("--no-cache", flags.no_cache),
        ("--squash", flags.squash),
        ("--pull", flags.pull),
        ("--build-label", bool(flags.labels)),
    )
    if names := [name for name, given in ignored if given]:
        note(f"Warning: {', '.join(names)}: a remote builder has no way to be told, and goes on without")
    url = wish.url if "://" in wish.url else f"http://{wish.url}"
    if url.startswith("http:") and not is_loopback(url):
        note(f"Warning: {wish.url} is not HTTPS, others on the network can read the sources that are sent.")
