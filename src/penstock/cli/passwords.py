"""A password from a flag, stdin or the terminal. Used by the verbs that log in."""

from __future__ import annotations

import sys

import click

from penstock.cli.options import note
from penstock.errors import InvalidInput


def read_password(given: str | None, from_stdin: bool) -> str:
    """The password from the flag, stdin or the terminal, without white space around it. Raises InvalidInput."""
    if given is not None and from_stdin:
        raise InvalidInput("--password and --password-stdin exclude each other")
    if given is not None:
        note("Warning: --password can be seen by other users of this machine, prefer --password-stdin.")
        text = given
    elif from_stdin:
        text = sys.stdin.read() if sys.stdin is not None else ""
    elif sys.stdin is not None and sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, err=True)
    else:
        raise InvalidInput("no password: pipe one in with --password-stdin")
    if not text.strip():
        raise InvalidInput("the password is empty")
    return text.strip()
