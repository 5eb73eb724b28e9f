"""`penstock help`: the same words as a verb's `--help`, for those who put it first."""

from __future__ import annotations

import click

from penstock.cli.commands import Verb


@click.command("help", cls=Verb)
@click.argument("words", metavar="[VERB...]", nargs=-1)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show what a verb does, as its --help does; without one, all verbs.

    \b
    Examples:
      penstock help
      penstock help deploy
      penstock help secret create
    """
    shown = ctx.find_root()
    for word in words:
        group = shown.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{shown.command_path!r} has no verbs of its own, so there is no {word!r}", shown)
        name, found, _ = group.resolve_command(shown, [word])
        if found is None:
            raise click.UsageError(f"there is no command {word!r}.", shown)
        shown = click.Context(found, info_name=name, parent=shown, **found.context_settings)
    click.echo(shown.get_help())
