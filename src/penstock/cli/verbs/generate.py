"""`penstock generate`: functions of a stack file, or one of the store, or Penstock itself, as documents that other systems read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock.builders.tag import STYLES, Style, tagged
from penstock.cli.commands import AliasGroup, Verb
from penstock.cli.options import note, pairs
from penstock.cli.stackoptions import StackFile, stack_options
from penstock.core.names import check_function_name, check_namespace
from penstock.errors import InvalidInput, NotFound
from penstock.functionstore.read import read_store
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec
from penstock.platform.kubernetes import MAX_REPLICAS, Platform, platform_manifests
from penstock.stack.generate import KNATIVE, OPENFAAS, manifests
from penstock.stack.payload import Base, Overrides, specification

_FORMATS = ("crd", "kubernetes", "swarm")


class _Generate(Verb, AliasGroup):
    """A verb that does something by itself and has one below it."""


@click.group("generate", cls=_Generate, invoke_without_command=True)
@stack_options
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="crd",
    show_default=True,
    help="Custom resources (see --api), plain Kubernetes, or a stack for `docker stack deploy`.",
)
@click.option(
    "--api",
    type=click.Choice((OPENFAAS, KNATIVE)),
    default=OPENFAAS,
    show_default=True,
    help="Which custom resources.",
)
@click.option(
    "-n", "--namespace", default="", metavar="NAME", help=f"Namespace. [default: the file's, else {DEFAULT_NAMESPACE}]"
)
@click.option("--tag", type=click.Choice(STYLES), default="latest", show_default=True, help="Which tag images have.")
@click.option("--from-store", default="", metavar="NAME", help="A function of the store in place of a stack file.")
@click.option("--name", default="", help="Name for the function of --from-store.")
@click.option("--arch", default="x86_64", show_default=True, help="Platform of the image of --from-store.")
@click.option("-l", "--label", multiple=True, metavar="K=V", help="Label for all functions; may be given many times.")
@click.option(
    "--annotation", multiple=True, metavar="K=V", help="Annotation for all functions; may be given many times."
)
def command(
    stack_file: StackFile,
    form: str,
    api: str,
    namespace: str,
    tag: Style,
    from_store: str,
    name: str,
    arch: str,
    **flags: Any,
) -> None:
    """Write functions as YAML for Kubernetes, Knative or a Swarm; or, with `platform`, Penstock itself.

    With --format kubernetes each function is a Deployment and a Service, with --format swarm a service of one stack: no
    gateway and no operator is needed. Images must be where the cluster can pull them.

    \b
    Examples:
      penstock generate -f stack.yml --tag sha > crds.yaml
      penstock generate --format kubernetes | kubectl apply -f -
      penstock generate --format swarm > functions.yml
      penstock generate platform --kubernetes | kubectl apply -f -
    """
    if click.get_current_context().invoked_subcommand:
        return
    over = Overrides(
        labels=pairs(flags["label"], "--label"),
        annotations=pairs(flags["annotation"], "--annotation"),
        namespace=check_namespace(namespace) if namespace else "",
    )
    if not from_store and (name or arch != "x86_64"):
        raise InvalidInput("--name and --arch: are for a function --from-store")
    specs = [_of_store(from_store, name, arch, over)] if from_store else _of_stack(stack_file, tag, over)
    kind = api if form == "crd" else form
    placed = [msgspec.structs.replace(spec, namespace=spec.namespace or DEFAULT_NAMESPACE) for spec in specs]
    click.echo(manifests(placed, kind), nl=False)


@command.command("platform")
@click.option("--kubernetes", is_flag=True, help="As YAML for `kubectl apply`.")
@click.option(
    "--image",
    metavar="REF",
    help=f"Image of the gateway, which functions have their watchdog from. [default: {Platform.image}]",
)
@click.option("--namespace", metavar="NAME", help=f"Where the gateway is to be. [default: {Platform.namespace}]")
@click.option(
    "--functions-namespace",
    "functions",
    metavar="NAME",
    help=f"Where functions are to be. [default: {DEFAULT_NAMESPACE}]",
)
@click.option("--replicas", type=click.IntRange(1, MAX_REPLICAS), help="How many gateways. [default: 1]")
@click.option(
    "--cluster-version",
    "version",
    metavar="1.N",
    help="Kubernetes of the cluster, 1.20 or later. [default: 1.21 or later]",
)
@click.option("--custom-resources", is_flag=True, help="Let Function objects of openfaas.com/v1 become functions.")
@click.option(
    "--account/--no-account", default=True, help="With an account of the REST API and a new password, or without."
)
def platform(kubernetes: bool, **wanted: Any) -> None:
    """Write what installs Penstock on a cluster, with the least rights that it needs.

    Each call makes a new password; apply an update with --no-account to keep the one that is there. The same as a Helm chart is in
    deploy/kubernetes/chart of the source tree.

    \b
    Examples:
      penstock generate platform --kubernetes | kubectl apply -f -
      penstock generate platform --kubernetes --image registry.example.org/penstock:1.0 --replicas 3 > penstock.yaml
      penstock generate platform --kubernetes --no-account | kubectl diff -f -
    """
    if not kubernetes:
        raise click.UsageError("for what? Add --kubernetes; for a Swarm use deploy/swarm/up.sh of the source tree")
    given = {name: value for name, value in wanted.items() if value is not None}
    click.echo(platform_manifests(Platform(**given)), nl=False)


def _of_stack(stack_file: StackFile, tag: Style, over: Overrides) -> list[FunctionSpec]:
    specs = []
    stack = stack_file.load()
    if stack.pipelines:
        names = ", ".join(pipeline.name for pipeline in stack.pipelines)
        own = f"pipelines are Penstock's own, no other system has them: {names}"
        if not stack.functions:
            raise InvalidInput(f"there is nothing to generate; {own}")
        note(f"Note: {own}. Functions only are written; deploy pipelines with `penstock deploy`.")
    for function in stack.functions:
        image = function.image
        if image and "@" not in image:
            image = tagged(image, tag, Path(function.handler))
        specs.append(specification(function, over, Base(image=image)))
    return specs


def _of_store(wanted: str, name: str, arch: str, over: Overrides) -> FunctionSpec:
    store = read_store("", os.environ)
    found = next((item for item in store.functions if wanted in (item.name, item.title)), None)
    if found is None:
        raise NotFound(f"there is no function {wanted!r} in the store; `penstock store list` shows those there are")
    if found.images and arch not in found.images:
        raise NotFound(f"function {wanted!r} of the store has no image for {arch!r}; it has {', '.join(found.images)}")
    return FunctionSpec(
        name=check_function_name(name or found.name),
        namespace=over.namespace,
        image=found.images.get(arch, ""),
        env_process=found.fprocess,
        env_vars=found.environment,
        labels=found.labels | over.labels,
        annotations=found.annotations | over.annotations,
        read_only_root=found.read_only_root_filesystem,
    )
