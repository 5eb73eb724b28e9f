"""The flags that say how a function is deployed, whatever it is made of. Used by the verbs `deploy`, `up` and `store deploy`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.cli.deploying import Strategy
from penstock.cli.options import pairs
from penstock.errors import InvalidInput
from penstock.model import Resources
from penstock.stack.payload import Overrides

F = TypeVar("F", bound=Callable[..., Any])


def function_options(function: F) -> F:
    """Environment, labels, resources and the like: the verb receives `over`, without a namespace, `strategy` and `wait`."""

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        replace, update = given.pop("replace"), given.pop("update")
        over = Overrides(
            environment=pairs(given.pop("env"), "--env"),
            labels=pairs(given.pop("label"), "--label"),
            annotations=pairs(given.pop("annotation"), "--annotation"),
            secrets=given.pop("secret"),
            constraints=given.pop("constraint"),
            limits=Resources(memory=given.pop("memory_limit"), cpu=given.pop("cpu_limit")),
            requests=Resources(memory=given.pop("memory_request"), cpu=given.pop("cpu_request")),
            read_only_root=given.pop("readonly"),
        )
        return function(*args, over=over, strategy=strategy_of(replace, update), **given)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command  # type: ignore[return-value]


def strategy_of(replace: bool, update: bool) -> Strategy:
    """What to do about a function that exists, by the flags of the current verb: `--replace` alone turns the default `--update` off.

    Raises InvalidInput when both are asked for.
    """
    asked = click.get_current_context().get_parameter_source("update")
    if replace and update and asked is not click.core.ParameterSource.DEFAULT:
        raise InvalidInput("--replace and --update exclude each other")
    if replace:
        return "replace"
    return "update" if update else "create"


_OPTIONS = (
    click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable; may be given many times."),
    click.option("-l", "--label", multiple=True, metavar="K=V", help="Label, such as com.openfaas.scale.min=2."),
    click.option("--annotation", multiple=True, metavar="K=V", help="Annotation; may be given many times."),
    click.option("--secret", multiple=True, metavar="NAME", help="Secret that may be read; may be given many times."),
    click.option("--constraint", multiple=True, metavar="RULE", help="Placement rule for the provider."),
    click.option("--readonly", is_flag=True, help="Make the root file system read-only."),
    click.option("--cpu-limit", default="", metavar="QUANTITY", help="At most this much CPU, such as 500m."),
    click.option("--memory-limit", default="", metavar="QUANTITY", help="At most this much memory, such as 128Mi."),
    click.option("--cpu-request", default="", metavar="QUANTITY", help="CPU to reserve."),
    click.option("--memory-request", default="", metavar="QUANTITY", help="Memory to reserve."),
    click.option("--replace", is_flag=True, help="Delete what exists first instead of updating it."),
    click.option("--update/--no-update", default=True, show_default=True, help="Update what exists."),
    click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a replica is ready."),
    click.option("--network", default="", expose_value=False, hidden=True, help="Accepted for faas-cli's sake."),
)
