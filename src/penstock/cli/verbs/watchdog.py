"""`penstock watchdog`: one function's program behind an HTTP port, configured by environment variables alone."""

from __future__ import annotations

import os

import click

import penstock
from penstock.watchdog import probe


@click.command("watchdog")
@click.option("-version", "--version", "version", is_flag=True, help="Print the version and exit.")
@click.option(
    "-run-healthcheck",
    "--run-healthcheck",
    "healthcheck",
    is_flag=True,
    help="Exit 0 when a running watchdog is healthy.",
)
def command(version: bool, healthcheck: bool) -> int:
    """Serve one program over HTTP; this is what runs inside a replica.

    The environment says everything: `fprocess` the program, `mode` how it is run, `port`, `exec_timeout` and so on,
    under the names that OpenFaaS watchdogs use.

    \b
    Examples:
      fprocess="wc -w" penstock watchdog
      fprocess="convert - -resize 50% -" mode=streaming port=9000 penstock watchdog
      penstock watchdog --run-healthcheck
    """
    if version:
        click.echo(f"penstock watchdog {penstock.__version__}")
        return 0
    if healthcheck:
        return probe.healthcheck(os.environ)
    from penstock.watchdog import app

    return app.run(os.environ)
