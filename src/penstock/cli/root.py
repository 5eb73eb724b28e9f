"""The root command: all verbs and their second names, and how click's own failures end.

Imported by `main` for what `quick` does not answer. The verbs live in `penstock.cli.verbs` and raise `penstock.errors`; nothing
below this file exits the process or prints a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import penstock
from penstock.cli.commands import LazyGroup
from penstock.cli.endings import PIPE_CLOSED, code_of, flush_stdout, forget_stdout, say
from penstock.cli.starting import INTERRUPTED

VERBS = (
    "serve", "new", "template", "build", "push", "publish", "registry-login", "up", "local-run", "deploy", "invoke",
    "list", "describe", "remove", "scale", "logs", "secret", "token", "namespace", "store", "storage", "generate", "diff",
    "ready", "login", "logout", "version", "health", "watchdog", "image", "completion", "help",
)  # fmt: skip
_UNLISTED = ("namespaces",)
"""Accepted for faas-cli's sake, where it is deprecated."""
_ALIASES = {"ls": "list", "rm": "remove", "delete": "remove", "ns": "namespace"}
_NO_PLUGINS = "Penstock has no plugins: all of its verbs are in `penstock help`"
_SHELLS = "`penstock completion --shell bash` prints the completion script of a shell"
ABSENT = {
    "auth": "`penstock login` logs in by password; a token is given with --token",
    "plugin": _NO_PLUGINS,
    "pro": _NO_PLUGINS,
    "cloud": "secrets are sealed by `penstock secret seal`",
    "chart": "Penstock needs no chart: `penstock serve` runs it, `penstock generate` writes functions for a cluster",
    "builder": "`penstock build` and `penstock publish` build, also elsewhere: --remote-builder",
    "chain": "functions are chained by pipes: `penstock invoke one | penstock invoke two`",
    "bash": _SHELLS,
    "zsh": _SHELLS,
    "fish": _SHELLS,
    "bashcompletion": _SHELLS,
    "run": "`penstock invoke` calls a function, `penstock local-run` runs one in the foreground",
    "call": "`penstock invoke` calls a function",
    "ps": "`penstock list` shows the functions",
    "get": "`penstock list` shows the functions, `penstock describe` one of them",
    "inspect": "`penstock describe` shows a function",
    "status": "`penstock describe` shows a function, `penstock health` asks the gateway",
    "apply": "`penstock deploy -f stack.yaml` deploys what a stack file describes, `penstock up` builds it first",
    "update": "`penstock deploy` updates a function that is there",
    "create": "`penstock new` begins a function, `penstock deploy` brings it to the gateway",
    "init": "`penstock new` begins a function",
    "undeploy": "`penstock remove` removes functions",
    "start": "`penstock serve` starts a gateway, `penstock scale` a function's replicas",
    "stop": "Ctrl-C stops `penstock serve`; `penstock scale NAME --replicas 0` stops a function's replicas",
}
"""What people type who know another program, and what to type instead."""

_HELP = """Any program that reads stdin and writes stdout becomes an HTTP function.

\b
Start here:
  penstock serve                                       a gateway on this machine
  penstock deploy --name words --fprocess "wc -w"      a program becomes a function
  echo one two three | penstock invoke words           call it

Every verb explains itself: penstock VERB --help."""


class RootGroup(LazyGroup):
    """The root command: the only place where click's errors become messages and exit codes."""

    def load(self, arguments: Sequence[str]) -> None:
        """Import the verb that the arguments begin with, if they do."""
        if arguments:
            self.command_named(arguments[0])

    def run(self, arguments: Sequence[str], prog_name: str = "penstock", **extra: Any) -> int:
        """Run a command line; the exit code."""
        try:
            code = super().main(list(arguments), prog_name, **{**extra, "standalone_mode": False})
        except BaseException as error:
            return exit_code_of(error)
        return code if isinstance(code, int) else 0

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command line and exit the process with its code: what click's own helpers call."""
        sys.exit(self.run(sys.argv[1:] if args is None else args, prog_name or "penstock", **extra))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb and hand its output over; a reader that went away ends us quietly."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            result = super().invoke(ctx)
            flush_stdout()
        except BrokenPipeError:
            forget_stdout()
            ctx.exit(PIPE_CLOSED)
        return result


def exit_code_of(error: BaseException) -> int:
    """As `code_of`, for what click raises too."""
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return 0
    if isinstance(error, click.ClickException):
        return say(_usage_sentence(error), error.exit_code)
    return code_of(error)


def _usage_sentence(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f"\nSee `{context.command_path} --help`." if isinstance(context, click.Context) else ""
    return error.format_message() + hint


cli = click.version_option(penstock.__version__, message="penstock %(version)s")(
    RootGroup(
        name="penstock",
        package="penstock.cli.verbs",
        verbs=VERBS,
        unlisted=_UNLISTED,
        aliases=_ALIASES,
        absent=ABSENT,
        help=_HELP,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
)
