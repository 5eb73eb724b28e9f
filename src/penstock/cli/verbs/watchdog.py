"""`penstock watchdog`: one function's program behind an HTTP port, configured by environment variables alone; and its bundle."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

import penstock
from penstock.cli.commands import AliasGroup
from penstock.cli.options import output_option
from penstock.cli.output import print_fields, print_json, spinner
from penstock.watchdog import probe

if TYPE_CHECKING:
    from penstock.watchdog.bundle.build import Result


@click.group("watchdog", cls=AliasGroup, invoke_without_command=True)
@click.option("-version", "--version", "version", is_flag=True, help="Print the version and exit.")
@click.option(
    "-run-healthcheck",
    "--run-healthcheck",
    "healthcheck",
    is_flag=True,
    help="Exit 0 when a running watchdog is healthy.",
)
@click.pass_context
def command(context: click.Context, version: bool, healthcheck: bool) -> int:
    """Serve one program over HTTP; this is what runs inside a replica.

    The environment says everything: `fprocess` the program, `mode` how it is run, `port`, `exec_timeout` and so on,
    under the names that OpenFaaS watchdogs use.

    \b
    Examples:
      fprocess="wc -w" penstock watchdog
      fprocess="convert - -resize 50% -" mode=streaming port=9000 penstock watchdog
      penstock watchdog --run-healthcheck
      penstock watchdog bundle ./penstock
    """
    if context.invoked_subcommand is not None:
        return 0
    if version:
        click.echo(f"penstock watchdog {penstock.__version__}")
        return 0
    if healthcheck:
        return probe.healthcheck(os.environ)
    from penstock.watchdog import app

    forget_locale(os.environ)
    return app.run(os.environ)


def forget_locale(environ: MutableMapping[str, str], given: str = "/proc/self/environ") -> None:
    """Take out the LC_CTYPE that Python sets for itself where it finds no locale (PEP 538): programs are to get the environment
    that was given, in which `wc -m` counts bytes. `given` is a file of the variables at our start (proc_pid_environ(5))."""
    with contextlib.suppress(OSError):
        variables = Path(given).read_bytes().split(b"\0")
        if not any(variable.startswith(b"LC_CTYPE=") for variable in variables):
            environ.pop("LC_CTYPE", None)


@command.command("bundle")
@click.argument("target", metavar="DIR|FILE.tar", type=click.Path(path_type=Path))
@click.option("--image", metavar="TAG", default="", help="Write an image of this name to FILE.tar, for `docker load`.")
@output_option
def bundle(target: Path, image: str, output: str) -> None:
    """Make a watchdog that runs in any image of this machine's kind.

    A directory with a Python interpreter, the standard library, the watchdog and all shared libraries they need. It runs
    on glibc and on musl, with a read-only root and as any user. `DIR/fwatchdog` starts it. An earlier bundle and an
    empty directory are replaced in one step, anything else is left alone. The same installation makes the same bytes; all
    times are 1970, or $SOURCE_DATE_EPOCH. The bundle is started once before it is put in place.

    \b
    Examples:
      penstock watchdog bundle ./penstock
      penstock watchdog bundle --image penstock-watchdog:1 watchdog.tar && docker load -i watchdog.tar
    """
    from penstock.watchdog.bundle import build

    with spinner("Making the bundle"):
        result = build.make_image(image, target, os.environ) if image else build.make_directory(target, os.environ)
    if output == "json":
        print_json(_document(result))
    else:
        print_fields(_fields(result))


def _fields(result: Result) -> list[tuple[str, str]]:
    rehearsal = result.rehearsal
    return [
        *([("Image", result.image)] if result.image else []),
        ("File" if result.image else "Directory", str(result.path)),
        ("Size", f"{_mebibytes(result.size.bytes)} in {result.size.files} files"),
        ("Start", shlex.join(result.entrypoint)),
        ("Ready after", f"{rehearsal.seconds * 1000:.0f} ms on this machine"),
        ("Memory", f"{_mebibytes(rehearsal.resident)}, of which {_mebibytes(rehearsal.private)} are not files'"),
    ]


def _document(result: Result) -> dict[str, object]:
    named = {"image": result.image} if result.image else {}
    return {
        **named,
        "path": str(result.path),
        "bytes": result.size.bytes,
        "files": result.size.files,
        "entrypoint": list(result.entrypoint),
        "readyMilliseconds": round(result.rehearsal.seconds * 1000, 1),
        "residentBytes": result.rehearsal.resident,
        "privateBytes": result.rehearsal.private,
    }


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
