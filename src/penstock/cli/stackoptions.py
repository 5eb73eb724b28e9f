"""The options that choose a stack file and functions of it, and the gateway that the file names.

Used by every verb that works on stack files: `stack_options` gives it one `stack_file`, which reads nothing until it is asked.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.options import note
from penstock.cli.target import DEFAULT_GATEWAY, Target, authorization_for, gateway_url
from penstock.stack.defaults import default_file

if TYPE_CHECKING:
    from penstock.stack.model import Stack

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """What the flags say about the stack file."""

    yaml: str | None = None
    """Path or URL; None: the default file of the current directory."""
    filter: str = ""
    regex: str = ""
    substitute: bool = True

    @property
    def wanted(self) -> bool:
        """Whether one was named, or functions of one."""
        return bool(self.yaml or self.filter or self.regex)

    def load(self) -> Stack:
        """The chosen functions of the file; its warnings go to stderr. Raises what `load_stack` and `select` raise."""
        from penstock.stack.load import load_stack  # late, with PyYAML: a verb may do without a file
        from penstock.stack.select import select

        stack = load_stack(self.yaml, os.environ, substitute=self.substitute)
        for warning in stack.warnings:
            note(f"Warning: {warning}")
        return select(stack, self.filter, self.regex)

    def find(self) -> Stack | None:
        """As `load`, but None where no file is asked for and there is none."""
        return self.load() if self.wanted or default_file(Path()) is not None else None


def stack_options(function: F) -> F:
    """`-f/--yaml`, `--filter`, `--regex` and `--envsubst`; the verb receives one `stack_file`."""

    @functools.wraps(function)
    def command(*args: Any, yaml: str | None, filter: str, regex: str, envsubst: bool, **rest: Any) -> Any:
        chosen = StackFile(yaml=yaml, filter=filter, regex=regex, substitute=envsubst)
        return function(*args, stack_file=chosen, **rest)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command  # type: ignore[return-value]


_OPTIONS = (
    click.option(
        "-f", "--yaml", metavar="FILE", help="Stack file or its URL. [default: stack.yaml, else stack.yml, here]"
    ),
    click.option("--filter", default="", metavar="WORD", help="Only functions of that name; * stands for anything."),
    click.option("--regex", default="", metavar="EXPRESSION", help="Only functions in whose name it is found."),
    click.option("--envsubst/--no-envsubst", default=True, show_default=True, help="Replace ${...} in the stack file."),
)


def target_of(stack: Stack, target: Target) -> Target:
    """Where a stack's functions belong: `--gateway`, else the file's own gateway, else what the environment says.

    A file that names the default gateway, as most do, leaves it to the environment (contract watchdog-cli §4.1). Call it in a
    verb that is `connected`. Raises InvalidInput for a gateway that is no URL.
    """
    params = click.get_current_context().params
    if params.get("gateway") or not stack.gateway.strip():
        return target
    url = gateway_url(stack.gateway, {})
    if url in (DEFAULT_GATEWAY, target.url):
        return target
    return target._replace(url=url, authorization=authorization_for(url, params.get("token"), os.environ))
