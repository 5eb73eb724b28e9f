"""`penstock completion`: the script that teaches a shell our verbs and flags."""

from __future__ import annotations

import click

from penstock.cli.commands import Verb


@click.command("completion", cls=Verb)
@click.option("--shell", type=click.Choice(["bash", "zsh", "fish"]), required=True, help="Which shell to write for.")
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      source <(penstock completion --shell bash)
      penstock completion --shell zsh > ~/.zfunc/_penstock
      penstock completion --shell fish > ~/.config/fish/completions/penstock.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion is known for {shell}")
    click.echo(kind(click.get_current_context().find_root().command, {}, "penstock", "_PENSTOCK_COMPLETE").source())
