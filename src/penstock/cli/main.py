"""Entry of the `penstock` command: finds the verb, imports only its module, and turns every failure into one line and an exit code.

Called by the console script and `python -m penstock`. The verbs live in `penstock.cli.verbs` and raise `penstock.errors`;
nothing below this file exits the process or prints a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import penstock
from penstock.cli.commands import LazyGroup
from penstock.errors import PenstockError
from penstock.storage.leaving import leave

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells report it."""
PIPE_CLOSED = 141
"""Exit code when whoever read our output went away: 128 + SIGPIPE, as for any other filter."""

_VERBS = (
    "serve", "new", "template", "build", "push", "publish", "registry-login", "up", "local-run", "deploy", "invoke",
    "list", "describe", "remove", "scale", "logs", "secret", "token", "namespace", "store", "storage", "generate", "diff",
    "ready", "login", "logout", "version", "health", "watchdog", "image", "completion",
)  # fmt: skip
_ALIASES = {"ls": "list", "rm": "remove", "delete": "remove", "ns": "namespace"}

_HELP = """Any program that reads stdin and writes stdout becomes an HTTP function.

\b
Start here:
  penstock serve                                       a gateway on this machine
  penstock deploy --name words --fprocess "wc -w"      a program becomes a function
  echo one two three | penstock invoke words           call it

Every verb explains itself: penstock VERB --help."""


class RootGroup(LazyGroup):
    """The root command: the only place where errors become messages and exit codes."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and exit the process with its code."""
        try:
            code = super().main(args, prog_name, **{**extra, "standalone_mode": False})
        except BaseException as error:
            code = exit_code_of(error)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb and hand its output over; a reader that went away ends us quietly."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:  # it is None when the process was started with it closed
                sys.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
            ctx.exit(PIPE_CLOSED)
        return result


def exit_code_of(error: BaseException) -> int:
    """Say on stderr what went wrong, in one line where possible, and return the exit code that belongs to it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return INTERRUPTED
    if isinstance(error, PenstockError):
        return _say(str(error), error.exit_code)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return 0
    if isinstance(error, click.ClickException):
        return _say(_usage_sentence(error), error.exit_code)
    if os.environ.get("PENSTOCK_DEBUG") == "1":
        raise error
    if isinstance(error, OSError):
        return _say(f"{error.filename + ': ' if error.filename else ''}{error.strerror or error}", 1)
    return _say(f"unexpected {type(error).__name__}: {error} (set PENSTOCK_DEBUG=1 to see where)", 1)


def _usage_sentence(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f"\nSee `{context.command_path} --help`." if isinstance(context, click.Context) else ""
    return error.format_message() + hint


def _say(message: str, code: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return code


def _forget_stdout() -> None:
    """Point stdout at nowhere, or the interpreter's last flush would complain about the closed pipe again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


cli = click.version_option(penstock.__version__, message="penstock %(version)s")(
    RootGroup(
        name="penstock",
        package="penstock.cli.verbs",
        verbs=_VERBS,
        aliases=_ALIASES,
        help=_HELP,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
)


def main() -> NoReturn:
    """Run the command line with this process's arguments and exit with its code."""
    try:
        cli.main(prog_name="penstock")
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0)
