"""`penstock image`: our own image, with the gateway and the watchdog, made of this installation."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import penstock
from penstock.cli.commands import AliasGroup
from penstock.cli.options import note, output_option
from penstock.cli.output import print_fields, print_json, spinner

if TYPE_CHECKING:
    from penstock.image.build import Request, Result

_STDOUT = "-"


@click.group("image", cls=AliasGroup)
def command() -> None:
    """Make the image that runs Penstock in a container.

    \b
    Examples:
      penstock image build penstock.tar && docker load -i penstock.tar
      penstock image build - | docker load
    """


@command.command("build")
@click.argument("target", metavar="[FILE.tar|-]", default=f"penstock-{penstock.__version__}.tar")
@click.option("--tag", metavar="NAME:TAG", default=f"penstock:{penstock.__version__}", show_default=True, help="Name.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["docker", "oci"]),
    default="docker",
    show_default=True,
    help="A docker-archive, for `docker load`, or an OCI image layout.",
)
@output_option
def build(target: str, tag: str, form: str, output: str) -> None:
    """Make an image of gateway, command line and watchdog.

    It is made of this installation, without a base image, a registry or a container engine, and runs on machines of this
    kind. A file of that name is replaced in one step; `-` is standard output. The same installation makes the same bytes;
    all times are 1970, or $SOURCE_DATE_EPOCH. Gateway and watchdog are started once before the image is written.

    \b
    Examples:
      penstock image build
      penstock image build --tag registry.example.org/penstock:1 - | docker load
      penstock image build --format oci penstock.tar && skopeo copy oci-archive:penstock.tar docker://registry.example.org/penstock:1
    """
    from penstock.image.build import request

    wanted = request(tag, form, os.environ)
    if target == _STDOUT:
        result = _to_stdout(wanted)
        with contextlib.redirect_stdout(sys.stderr):  # the image has the other one
            _show(result, "", output)
    else:
        from penstock.image.build import make_file

        with spinner("Making the image"):
            result = make_file(wanted, Path(target))
        _show(result, os.path.abspath(target), output)
    for name in result.missing:
        note(
            f"Note: {name} is not installed, so the image has nothing that needs it: pip install 'penstock[docker,kubernetes,s3]'"
        )


def _to_stdout(wanted: Request) -> Result:
    from penstock.image.build import write_stream

    if sys.stdout is None or sys.stdout.isatty():
        raise click.UsageError("an image is not for a terminal: write it to a file, or pipe it to `docker load`")
    with spinner("Making the image"):
        return write_stream(wanted, sys.stdout.buffer)


def _show(result: Result, path: str, output: str) -> None:
    if output == "json":
        print_json(_document(result, path))
    else:
        print_fields(_fields(result, path))


def _fields(result: Result, path: str) -> list[tuple[str, str]]:
    return [
        ("Image", result.image),
        *([("File", path)] if path else []),
        ("Format", result.form),
        ("Size", f"{_mebibytes(result.layer_bytes)}, as a file {_mebibytes(result.archive_bytes)}"),
        ("Ready after", f"{result.gateway.seconds * 1000:.0f} ms on this machine"),
        (
            "Trusts",
            str(result.certificates) if result.certificates else "nobody: this machine has no list of authorities",
        ),
    ]


def _document(result: Result, path: str) -> dict[str, object]:
    return {
        "image": result.image,
        **({"path": path} if path else {}),
        "format": result.form,
        "archiveBytes": result.archive_bytes,
        "layerBytes": result.layer_bytes,
        "readyMilliseconds": round(result.gateway.seconds * 1000, 1),
        "watchdogReadyMilliseconds": round(result.watchdog.seconds * 1000, 1),
        "certificates": str(result.certificates) if result.certificates else "",
        "missing": list(result.missing),
    }


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
