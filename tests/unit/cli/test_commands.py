"""The command classes: Go's way of writing switches, second names, late import."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from penstock.cli.commands import AliasGroup, LazyGroup, Verb


@click.command("probe", cls=Verb)
@click.option("-u", "--update/--no-update", default=True)
@click.option("--replace", is_flag=True)
@click.option("--text", default="")
@click.argument("words", nargs=-1)
def probe(update: bool, replace: bool, text: str, words: tuple[str, ...]) -> None:
    click.echo(f"{update} {replace} {text!r} {words}")


@pytest.mark.parametrize(
    ("args", "seen"),
    [
        ([], "True False '' ()"),
        (["--update=false"], "False False '' ()"),
        (["--update=F", "--replace=1"], "False True '' ()"),
        (["-u=false"], "False False '' ()"),
        (["--no-update"], "False False '' ()"),
        (["--replace=true", "--replace=false"], "True True '' ()"),
        (["--text=false"], "True False 'false' ()"),
        (["--text", "--update=false"], "True False '--update=false' ()"),
        (["--", "--update=false"], "True False '' ('--update=false',)"),
    ],
)
def test_switches_take_values_as_in_go(args: list[str], seen: str) -> None:
    assert CliRunner().invoke(probe, args).output == seen + "\n"


def test_a_switch_with_another_value_is_an_error() -> None:
    result = CliRunner().invoke(probe, ["--update=maybe"])
    assert result.exit_code == 2
    assert "--update is true or false, not 'maybe'" in result.output


def test_an_alias_runs_the_command_and_unknown_names_get_a_guess() -> None:
    group = AliasGroup("root", commands={"probe": probe}, aliases={"p": "probe"})
    assert CliRunner().invoke(group, ["p"]).exit_code == 0
    assert "Did you mean probe" in CliRunner().invoke(group, ["prob"]).output


def test_a_lazy_group_knows_only_its_verbs() -> None:
    group = LazyGroup("root", package="penstock.cli.verbs", verbs=("version",))
    context = click.Context(group)
    assert group.list_commands(context) == ["version"]
    assert group.get_command(context, "version") is not None
    assert group.get_command(context, "../main") is None


def test_a_module_without_a_command_is_a_mistake_of_ours() -> None:
    group = LazyGroup("root", package="penstock.cli", verbs=("config",))
    with pytest.raises((TypeError, AttributeError)):
        group.get_command(click.Context(group), "config")
