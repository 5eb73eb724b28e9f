"""The two kinds of click command that verbs are made of: a group that imports late, and a command that reads flags as faas-cli does.

Used by `main` and by every verb. Knows nothing of the REST API.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

_GO_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_GO_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class Verb(click.Command):
    """A command whose switches may also be written with a value, `--update=false`, as Go programs have it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite `--switch=true|false` into click's spelling, then parse."""
        end = args.index("--") if "--" in args else len(args)
        rewritten: list[str] = []
        for before, arg in zip(["", *args], args[:end], strict=False):
            rewritten += [arg] if self._takes_value(before) else self._spell(arg)
        return super().parse_args(ctx, rewritten + args[end:])

    def _spell(self, arg: str) -> list[str]:
        name, equals, value = arg.partition("=")
        option = self._switch(name) if equals and name.startswith("-") else None
        if option is None:
            return [arg]
        if value in _GO_TRUE:
            return [name]
        if value in _GO_FALSE:
            return option.secondary_opts[:1]
        raise click.BadOptionUsage(
            name, f"{name} is true or false, not {value!r}", click.get_current_context(silent=True)
        )

    def _takes_value(self, arg: str) -> bool:
        """Whether `arg` is an option whose value is the next argument."""
        options = [p for p in self.params if isinstance(p, click.Option) and not p.is_flag]
        return any(arg in option.opts for option in options)

    def _switch(self, name: str) -> click.Option | None:
        options = [p for p in self.params if isinstance(p, click.Option) and p.is_bool_flag]
        return next((option for option in options if name in option.opts), None)


class AliasGroup(click.Group):
    """A group whose commands have second names, and which says what a mistyped one, or that of another program, may have meant."""

    command_class = Verb

    def __init__(
        self,
        *args: Any,
        aliases: dict[str, str] | None = None,
        absent: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(*args, **extra)
        self.aliases = aliases or {}
        self.absent = absent or {}
        """What to say about names that no command has."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name or alias; None when there is none."""
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown name is answered with the nearest known ones."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(f"there is no command {name!r}{self._instead(ctx, name)}", ctx)
        _, command, rest = super().resolve_command(ctx, args)
        return command.name if command else None, command, rest

    def _instead(self, ctx: click.Context, name: str) -> str:
        if name in self.absent:
            return f": {self.absent[name]}."
        import difflib  # late: few names are mistyped

        close = difflib.get_close_matches(name, [*self.list_commands(ctx), *self.aliases], n=3)
        return f". Did you mean {' or '.join(close)}?" if close else "."

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their second names beside them."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            others = [alias for alias, target in self.aliases.items() if target == name]
            if command is not None:
                rows.append((", ".join([name, *others]), command.get_short_help_str(80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class LazyGroup(AliasGroup):
    """A group that imports `package.verb` when that verb is used, so that a quick one does not pay for the others."""

    def __init__(
        self, *args: Any, package: str, verbs: Sequence[str], unlisted: Sequence[str] = (), **extra: Any
    ) -> None:
        super().__init__(*args, **extra)
        self.package = package
        self.verbs = verbs
        self.unlisted = unlisted
        """Verbs that work and are not listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order in which they are taught."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name or alias, imported now."""
        return self.command_named(cmd_name)

    def command_named(self, name: str) -> click.Command | None:
        """As `get_command`, before there is a context."""
        name = self.aliases.get(name, name)
        if name not in self.verbs and name not in self.unlisted:
            return None
        command = importlib.import_module(f"{self.package}.{name.replace('-', '_')}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.package}.{name}.command is not a click command")
        return command
