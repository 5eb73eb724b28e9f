"""Writes docs/reference/cli.md from the commands themselves: their help, options and the exit codes of `penstock.errors`.

Run as `python -m tools.generate_cli_reference`; a unit test fails when the page is not what this would write.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from penstock import errors
from penstock.cli.commands import AliasGroup
from penstock.cli.endings import PIPE_CLOSED
from penstock.cli.root import cli
from penstock.cli.starting import INTERRUPTED

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"

HEAD = """\
# Command line

<!-- Written by tools/generate_cli_reference.py from src/penstock/cli. Change the verbs there, not this page. -->

Flags are spelled as `faas-cli` spells them; switches take Go's form too (`--update=false`). Results go to stdout, notes and
errors to stderr; on a terminal tables are drawn, in a pipe columns are plain and stable. `NO_COLOR` is honoured.

## Which gateway, and as whom

The gateway is the first that is given of `--gateway`, `$PENSTOCK_URL`, `$OPENFAAS_URL`, `http://127.0.0.1:8080`. A flag that
spells the default wins all the same. Verbs that work on a [stack file](stack-files.md) take its gateway before what the
environment says, unless that is the default.

Requests to the REST API carry the first of:

1. `--token`, as a Bearer token;
2. the login saved by `penstock login` for exactly that URL, in `~/.openfaas/config.yml` (or `config.yml` in the directory
   `$OPENFAAS_CONFIG`), a file shared with `faas-cli`;
3. when the gateway is on loopback, user and password from `auth/basic-auth-user` and `auth/basic-auth-password` in
   `$PENSTOCK_HOME` (default `~/.penstock`), where `penstock serve` keeps them. So the user who started the server need not
   log in;
4. nothing.

`penstock invoke` sends none of them: a function never sees the gateway's credentials. Functions that ask for credentials of
their own get them by `--header`. Redirects are not followed. `http_proxy`, `https_proxy` and `no_proxy` are honoured, except
for loopback.

`--timeout` limits the wait for each answer. On a terminal a wait of more than three seconds says what it is for.
"""

EXIT_HEAD = """\
## Exit codes

The first line on stderr says what was wrong and what to do. `PENSTOCK_DEBUG=1` shows the traceback of unexpected errors.

| code | meaning |
|---|---|
| 0 | done; for `invoke` an answer of class 2xx |
"""

MEANINGS = {
    1: "refused or failed: not found, exists already, not ready in time, an answer cut short; for `invoke` any status but 2xx",
    2: "wrong use: a flag, name or setting that breaks a rule, found here or by the gateway",
    3: "no gateway could be reached: nobody answers, not in time, or something else than a gateway does",
    4: "the gateway asks for a login, or does not accept this one",
    INTERRUPTED: "ended by Ctrl-C",
    PIPE_CLOSED: "whoever read our output went away",
}


def known_codes() -> set[int]:
    """Exit codes that some error class carries."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.PenstockError)]
    return {kind.exit_code for kind in kinds}


def exit_codes() -> str:
    """The table of exit codes. Raises KeyError for one that it does not explain."""
    codes = sorted(known_codes() | {INTERRUPTED, PIPE_CLOSED})
    return EXIT_HEAD + "".join(f"| {code} | {MEANINGS[code]} |\n" for code in codes)


def sections(command: click.Command, path: str, level: int) -> Iterator[str]:
    """A command with everything below it."""
    context = click.Context(command, info_name=path)
    yield "\n".join(
        [f"{'#' * level} {path}", "", *prose(command), *synopsis(command, context, path), *options(command, context)]
    )
    if isinstance(command, AliasGroup):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from sections(child, f"{path} {name}", level + 1)


def prose(command: click.Command) -> Iterator[str]:
    """The help text, its examples as a code block."""
    text = inspect.cleandoc(command.help or "")
    words, _, examples = text.partition("\b\nExamples:\n")
    yield words.strip() + "\n"
    if examples:
        yield "```sh\n" + textwrap.dedent(examples).strip() + "\n```\n"


def synopsis(command: click.Command, context: click.Context, path: str) -> Iterator[str]:
    """The usage line and the second names of what is below."""
    yield f"`{path} {' '.join(command.collect_usage_pieces(context))}`"
    if isinstance(command, AliasGroup) and command.aliases:
        yield f"\n{second_names(command)}"


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """A table of the options, without `--help`."""
    records = [item.get_help_record(context) for item in command.params if isinstance(item, click.Option)]
    rows = [
        " | ".join(cell.replace("|", "\\|") for cell in (f"`{record[0]}`", record[1])) for record in records if record
    ]
    if rows:
        yield "\n| option | |\n|---|---|\n" + "\n".join(f"| {row} |" for row in rows)


def second_names(group: AliasGroup) -> str:
    return "Second names: " + ", ".join(f"`{alias}` for `{name}`" for alias, name in group.aliases.items()) + "."


def page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="penstock")
    parts = [HEAD, exit_codes(), f"## Verbs\n\n{second_names(cli)}\n"]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None:
            parts += [section + "\n" for section in sections(command, f"penstock {name}", 3)]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
