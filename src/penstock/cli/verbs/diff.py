"""`penstock diff`: the functions of a stack file beside those that are deployed."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from penstock.builders.choose import PROCESS_PROVIDER
from penstock.builders.tag import STYLES, Style
from penstock.cli.client import Gateway, status_of, talk
from penstock.cli.commands import Verb
from penstock.cli.deploying import Circumstances, Deployment, deployments, provider_of
from penstock.cli.options import connected, namespace_option, output_option
from penstock.cli.output import print_json, printable
from penstock.cli.schema import FunctionStatus
from penstock.cli.stackoptions import StackFile, stack_options, target_of
from penstock.cli.target import Target
from penstock.errors import NotFound, PenstockError
from penstock.model import FunctionSpec, Resources
from penstock.stack.compare import Difference, Variables, differences
from penstock.stack.model import Stack
from penstock.stack.payload import Overrides

_LEAST_WIDTH = 40
"""Characters of a column."""


class Comparison(msgspec.Struct, frozen=True):
    """One function; no differences and `deployed` means that it is as the file has it."""

    function: str
    deployed: bool
    differences: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        return self.deployed and not self.differences


@click.command("diff", cls=Verb)
@stack_options
@click.option(
    "--env",
    "variables",
    type=click.Choice(("local", "remote", "all")),
    default="local",
    show_default=True,
    help="Compare the variables that the file has, those that the function has, or all.",
)
@click.option("--tag", type=click.Choice(STYLES), default="latest", show_default=True, help="Which tag images have.")
@output_option
@namespace_option
@connected()
def command(target: Target, stack_file: StackFile, variables: Variables, tag: Style, output: str) -> None:
    """Show where deployed functions are not what the stack file says. Exits with 1 when there is such a function.

    Nothing is changed. Functions that are deployed and not in the file are not looked at.

    \b
    Examples:
      penstock diff
      penstock diff -f stack.yml --env all --output json
    """
    stack = stack_file.load()
    target = target_of(stack, target)
    found = talk(target, lambda gateway: _compare(gateway, stack, tag, variables))
    if output == "json":
        print_json(found)
    else:
        for comparison in found:
            if not comparison.same:
                _print(comparison, stack.file)
    different = [comparison.function for comparison in found if not comparison.same]
    if different:
        raise PenstockError(f"{len(different)} of {len(found)} functions differ: {', '.join(different)}")
    if output != "json":
        click.echo(f"{stack.file} matches what is deployed, no differences found.")


async def _compare(gateway: Gateway, stack: Stack, tag: Style, variables: Variables) -> list[Comparison]:
    native = any(function.lang for function in stack.functions) and await provider_of(gateway) == PROCESS_PROVIDER
    over = Overrides(namespace=gateway.target.namespace)
    wanted = deployments(stack, over, Circumstances(native=native, tag=tag))
    return [await _compare_one(gateway, deployment, variables) for deployment in wanted]


async def _compare_one(gateway: Gateway, deployment: Deployment, variables: Variables) -> Comparison:
    if deployment.spec is None:
        raise deployment.fault or PenstockError(f"function {deployment.name!r} cannot be deployed")
    label = f"{deployment.name}.{deployment.namespace}" if deployment.namespace else deployment.name
    try:
        status = status_of(await gateway.within(deployment.namespace).function(deployment.name))
    except NotFound:
        return Comparison(label, deployed=False)
    return Comparison(label, True, tuple(differences(deployment.spec, _specification(status), variables)))


def _specification(status: FunctionStatus) -> FunctionSpec:
    limits, requests = (
        Resources(memory=part.memory, cpu=part.cpu) if part else Resources()
        for part in (status.limits, status.requests)
    )
    return FunctionSpec(
        name=status.name,
        image=status.image,
        env_process=status.env_process,
        env_vars=status.env_vars or {},
        constraints=tuple(status.constraints or ()),
        secrets=tuple(status.secrets or ()),
        labels=status.labels or {},
        annotations=status.annotations or {},
        limits=limits,
        requests=requests,
        read_only_root=status.read_only_root_filesystem,
        stages=tuple(status.pipeline or ()),
    )


def _print(comparison: Comparison, file: str) -> None:
    """Two columns: what the file says, and what is deployed."""
    rows = comparison.differences or (Difference("function", f"defined in {file}", "not deployed"),)
    left = [_cell("-", row.field, row.wanted, rows) for row in rows]
    right = [_cell("+", row.field, row.deployed, rows) for row in rows]
    width = max(_LEAST_WIDTH, len(file), *map(len, left))
    other = max(_LEAST_WIDTH, *map(len, right))
    click.echo(comparison.function)
    click.echo(f"  {file.ljust(width)} | deployed")
    click.echo(f"  {'-' * width}-+-{'-' * other}")
    for wanted, deployed in zip(left, right, strict=True):
        click.echo(f"  {wanted.ljust(width)} | {deployed}".rstrip())
    click.echo()


def _cell(mark: str, field: str, value: str | None, rows: Sequence[Difference]) -> str:
    width = max(len(row.field) for row in rows) + 1
    return "" if value is None else printable(f"{mark} {(field + ':').ljust(width)} {value}")
