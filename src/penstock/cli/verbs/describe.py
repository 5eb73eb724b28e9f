"""`penstock describe`: everything the gateway tells about one function."""

from __future__ import annotations

from collections.abc import Mapping

import click

from penstock.cli.client import Gateway, scaling_of, segment, status_of, talk
from penstock.cli.commands import Verb
from penstock.cli.options import connected, namespace_option, output_option
from penstock.cli.output import print_columns, print_fields, print_json, printable
from penstock.cli.pipelines import StageState, stages_of
from penstock.cli.scaling import print_decisions, scaling_fields
from penstock.cli.schema import FunctionStatus, Raw, Resources
from penstock.cli.target import Target

_MIB = 1 << 20


@click.command("describe", cls=Verb)
@click.argument("name")
@click.option("-v", "--verbose", is_flag=True, help="Show empty fields as well.")
@output_option
@namespace_option
@connected(of_stack=True)
def command(target: Target, name: str, verbose: bool, output: str) -> None:
    """Show everything about one function.

    How it was deployed, its URLs, its replicas and why they are not ready, and why there are so many. Of a pipeline its
    stages, each with its state.

    \b
    Examples:
      penstock describe words
      penstock describe words --namespace staging --verbose
      penstock describe words --output json | jq '.instances[].reason'
    """
    raw, invocations, why, stages = talk(target, lambda gateway: _read(gateway, name))
    function = status_of(raw)
    suffix = f"{segment(name)}.{target.namespace}" if target.namespace else segment(name)
    url, later = f"{target.url}/function/{suffix}", f"{target.url}/async-function/{suffix}"
    is_ready = all(stage.ready for stage in stages) if stages else function.available_replicas > 0
    status = "Ready" if is_ready else "Not Ready"
    if output == "json":
        known: Raw = {"Scaling": why} if why else {}
        if stages:
            known["Stages"] = stages
        print_json({**raw, "Status": status, "InvocationCount": invocations, "URL": url, "AsyncURL": later, **known})
        return
    head = [
        ("Name", function.name),
        ("Status", status),
        *_replica_fields(function),
        ("Invocations", f"{invocations:.0f}"),
        *_program_fields(function),
        ("URL", url),
        ("Async URL", later),
    ]
    scaling = scaling_of(why) if why else None
    if scaling:
        head += scaling_fields(scaling)
    details = [(key, value or "<none>") for key, value in _details(function) if value or verbose]
    print_fields([*head, *details])
    _print_stages(stages)
    _print_instances(function)
    if scaling:
        print_decisions(scaling)


async def _read(gateway: Gateway, name: str) -> tuple[Raw, float, Raw | None, list[StageState]]:
    """The function, its invocation count, which only the list has (contract gateway §1.3), and why it has its replicas; of a
    pipeline, which has none, its stages."""
    raw = await gateway.function(name, usage=True)
    listed = (status_of(other) for other in await gateway.functions())
    invocations = next((other.invocation_count for other in listed if other.name == raw.get("name")), 0.0)
    function = status_of(raw)
    if function.pipeline:
        return raw, invocations, None, await stages_of(gateway, function)
    return raw, invocations, await gateway.scaling(name), []


def _replica_fields(function: FunctionStatus) -> list[tuple[str, str]]:
    if function.pipeline:
        return []
    return [("Replicas", str(function.replicas)), ("Available Replicas", str(function.available_replicas))]


def _program_fields(function: FunctionStatus) -> list[tuple[str, str]]:
    if function.pipeline:
        return [("Pipeline", " | ".join(function.pipeline))]
    return [("Image", function.image or "<none>"), ("Function Process", function.env_process or "<default>")]


def _details(function: FunctionStatus) -> list[tuple[str, str]]:
    usage = function.usage
    return [
        ("Labels", _mapping(function.labels)),
        ("Annotations", _mapping(function.annotations)),
        ("Constraints", "\n".join(function.constraints or ())),
        ("Environment", _mapping(function.env_vars)),
        ("Secrets", "\n".join(function.secrets or ())),
        ("Requests", _resources(function.requests)),
        ("Limits", _resources(function.limits)),
        ("Read-only Root", "true" if function.read_only_root_filesystem else ""),
        ("Usage", f"RAM: {usage.total_memory_bytes / _MIB:.2f} MiB\nCPU: {usage.cpu:.0f} m" if usage else ""),
    ]


def _mapping(values: Mapping[str, str] | None) -> str:
    return "\n".join(f"{key}: {value}" for key, value in sorted((values or {}).items()))


def _resources(resources: Resources | None) -> str:
    if resources is None:
        return ""
    pairs = (("CPU", resources.cpu), ("Memory", resources.memory))
    return "\n".join(f"{key}: {value}" for key, value in pairs if value)


def _print_stages(stages: list[StageState]) -> None:
    if not stages:
        return
    click.echo()
    rows = [(each.stage, each.function, each.state) for each in stages]
    widths = tuple(max(len(row[column]) for row in [("Stage", "Function"), *rows]) for column in range(2))
    print_columns(("Stage", "Function", "State"), rows, (*widths, 0))


def _print_instances(function: FunctionStatus) -> None:
    if not function.instances:
        return
    click.echo()
    reasons = [replica.reason.partition("\n") for replica in function.instances]
    rows = [
        (replica.id, replica.state, str(replica.restarts), first)
        for replica, (first, _, _) in zip(function.instances, reasons, strict=True)
    ]
    widths = tuple(
        max(len(row[column]) for row in [("Instance", "State", "Restarts", ""), *rows]) for column in range(3)
    )
    print_columns(("Instance", "State", "Restarts", "Reason"), rows, (*widths, 0))
    shown: set[str] = set()
    for replica, (_, more, details) in zip(function.instances, reasons, strict=True):
        if more and replica.reason not in shown:  # replicas usually fail for the same reason
            shown.add(replica.reason)
            click.echo(f"\n{printable(replica.id)}:")
            for line in details.split("\n"):
                click.echo(printable(line))
