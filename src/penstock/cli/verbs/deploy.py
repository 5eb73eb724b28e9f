"""`penstock deploy`: a program, an image, or all functions of a stack file become functions of a gateway.

Turns flags into deployments; `penstock.cli.deploying` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from penstock.builders.choose import PROCESS_PROVIDER
from penstock.builders.tag import STYLES
from penstock.cli.client import talk
from penstock.cli.commands import Verb
from penstock.cli.deploying import (
    Circumstances,
    Strategy,
    announce,
    deploy_all,
    deployments,
    provider_of,
    send,
    template_program,
    wait_until_ready,
)
from penstock.cli.functionflags import ContainerFlags, container_options, strategy_of
from penstock.cli.options import connected, namespace_option, pairs
from penstock.cli.output import spinner
from penstock.cli.pipelines import note_missing, read_pipeline
from penstock.cli.stackoptions import StackFile, stack_options, target_of
from penstock.cli.target import Target
from penstock.core.names import check_function_name
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Resources
from penstock.stack.model import Stack
from penstock.stack.payload import Overrides, body, handler_reference, is_runnable
from penstock.watchdog.settings import MODES

_ONE_ONLY = ("name", "image", "fprocess", "handler", "lang", "pipeline")
"""Flags that describe one function, so that they cannot go with a stack file."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The flags that describe the function."""

    name: str
    image: str
    fprocess: str
    handler: str
    lang: str
    pipeline: str
    mode: str | None
    env: tuple[str, ...]
    label: tuple[str, ...]
    annotation: tuple[str, ...]
    secret: tuple[str, ...]
    constraint: tuple[str, ...]
    container: ContainerFlags
    readonly: bool
    cpu_limit: str
    memory_limit: str
    cpu_request: str
    memory_request: str


_OF_PIPELINES = ("name", "pipeline", "label", "annotation", "container")
"""What a pipeline may be told; of the container's flags any that was given is named."""


@click.command("deploy", cls=Verb)
@stack_options
@click.option("--name", default="", help="Name of the function, where no stack file is used.")
@click.option("--fprocess", default="", metavar="PROGRAM", help="Program with arguments, split at spaces; no shell.")
@click.option(
    "--handler",
    default="",
    metavar="REF",
    help="Python code to import: a .py file, a folder, or module:attribute; short for --env handler=... --mode python.",
)
@click.option(
    "--pipeline",
    default="",
    metavar="'A | B'",
    help="Functions, the answer of each the request of the next: a pipeline, which can be called by its own name.",
)
@click.option("--image", default="", help="Image to run it in, for providers that run images.")
@container_options
@click.option(
    "--mode",
    type=click.Choice(MODES),
    help="How the watchdog runs the program; short for --env mode=...",
)
@click.option(
    "--lang",
    default="",
    metavar="TEMPLATE",
    help="Template that the image was built from; its program line is used unless --fprocess is given.",
)
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable; may be given many times.")
@click.option("-l", "--label", multiple=True, metavar="K=V", help="Label, such as com.openfaas.scale.min=2.")
@click.option("--annotation", multiple=True, metavar="K=V", help="Annotation; may be given many times.")
@click.option("--secret", multiple=True, metavar="NAME", help="Secret the function may read; may be given many times.")
@click.option("--constraint", multiple=True, metavar="RULE", help="Placement rule for the provider.")
@click.option("--replace", is_flag=True, help="Delete the function first instead of updating it.")
@click.option("--update/--no-update", default=True, show_default=True, help="Update a function that exists.")
@click.option(
    "--tag",
    type=click.Choice(STYLES),
    default="latest",
    show_default=True,
    help="Which tag images of a stack file have.",
)
@click.option(
    "--read-template/--no-read-template",
    default=True,
    show_default=True,
    help="Send the program line of ./template/LANG where a function has none of its own.",
)
@click.option("--network", default="", expose_value=False, hidden=True, help="Accepted for faas-cli's sake.")
@click.option("--readonly", is_flag=True, help="Make the root file system read-only.")
@click.option("--cpu-limit", default="", metavar="QUANTITY", help="At most this much CPU, such as 500m.")
@click.option("--memory-limit", default="", metavar="QUANTITY", help="At most this much memory, such as 128Mi.")
@click.option("--cpu-request", default="", metavar="QUANTITY", help="CPU to reserve.")
@click.option("--memory-request", default="", metavar="QUANTITY", help="Memory to reserve.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a replica is ready.")
@namespace_option
@connected(
    timeout="1m",
    timeout_help="Longest wait for the gateway, and for a replica that makes no progress; 0 waits for ever.",
)
def command(target: Target, stack_file: StackFile, replace: bool, update: bool, wait: bool, **flags: Any) -> None:
    """Deploy a function, or all of a stack file; update those that exist.

    Without --name and --image it is the stack file that counts: all of its functions are tried, whatever becomes of some.
    Flags such as --env and --label then go to each of them and win over the file.

    The program is started from the words of --fprocess; nothing passes through a shell. Pipes and quotes need a script.

    \b
    Examples:
      penstock deploy --name words --fprocess "wc -w"
      penstock deploy --name whoami --image traefik/whoami --http-port 80 --zero pause
      penstock deploy --name top --pipeline "sort | uniq?count=1 | head"
      penstock deploy -f stack.yml --filter "api-*"
    """
    wish = Wish(**{item.name: flags[item.name] for item in fields(Wish)})
    strategy = strategy_of(replace, update)
    stack = _stack(stack_file, wish)
    if stack is None:
        _deploy_one(target, wish, strategy, wait, flags["read_template"])
    else:
        circumstances = Circumstances(tag=flags["tag"], read_template=flags["read_template"])
        _deploy_stack(target_of(stack, target), stack, overrides(wish, target.namespace), circumstances, strategy, wait)


def _stack(stack_file: StackFile, wish: Wish) -> Stack | None:
    """The stack file where it is one that is meant. Raises InvalidInput for flags that fit no stack file, or fit nothing."""
    stack = None if wish.name or wish.image else stack_file.find()
    given = [f"--{flag}" for flag in _ONE_ONLY if getattr(wish, flag)]
    if stack_file.wanted or stack is not None:
        if given:
            raise InvalidInput(
                f"{' and '.join(given)}: for a function without a stack file; leave it out, and choose functions of the file by --filter"
            )
        return stack
    if wish.image and not wish.name:
        raise InvalidInput("--image: which function is it for? give it a --name")
    if not wish.name:
        raise InvalidInput(
            "nothing to deploy: give a --name, or a stack file with -f; there is no stack.yaml or stack.yml here"
        )
    return None


def _deploy_one(target: Target, wish: Wish, strategy: Strategy, wait: bool, read_template: bool) -> None:
    document = deployment(wish, target.namespace, read_template)
    reply = talk(target, lambda gateway: send(gateway, document, strategy))
    announce(target, wish.name, reply)
    if wish.pipeline:
        spec = _pipeline(wish, target.namespace)
        talk(target, lambda gateway: note_missing(gateway, spec))
    elif wait:
        with spinner(f"Waiting for {wish.name} to be ready") as show:
            talk(target, lambda gateway: wait_until_ready(gateway, wish.name, show))


def _deploy_stack(
    target: Target, stack: Stack, over: Overrides, circumstances: Circumstances, strategy: Strategy, wait: bool
) -> None:
    if any(function.lang for function in stack.functions):
        native = talk(target, provider_of) == PROCESS_PROVIDER
        circumstances = replace(circumstances, native=native)
    deploy_all(target, deployments(stack, over, circumstances), strategy, wait=wait)


def deployment(wish: Wish, namespace: str, read_template: bool = True) -> dict[str, Any]:
    """The JSON body of a deployment (contract gateway §2.1): what is empty is left out, except labels and annotations.

    Raises InvalidInput for malformed `K=V` flags, unusable names and a function that would have nothing to run.
    """
    check_function_name(wish.name, "--name")
    if wish.pipeline:
        return body(_pipeline(wish, namespace))
    over = overrides(wish, namespace)
    environment = over.environment
    if wish.handler and not wish.lang:
        environment["handler"] = handler_reference(wish.handler, "--handler")
        environment.setdefault("mode", "python")
    spec = FunctionSpec(
        name=wish.name,
        namespace=namespace,
        image=wish.image,
        env_process=wish.fprocess or (template_program(wish.lang, Path.cwd()) if read_template else ""),
        env_vars=environment,
        constraints=over.constraints,
        secrets=over.secrets,
        labels=over.labels,
        annotations=over.annotations,
        limits=over.limits,
        requests=over.requests,
        read_only_root=over.read_only_root,
    )
    if not is_runnable(spec):
        raise InvalidInput(
            'nothing to run: give a program with --fprocess "PROGRAM ARGUMENTS", Python code with --handler, an --image, or a --pipeline'
        )
    return body(spec)


def _pipeline(wish: Wish, namespace: str) -> FunctionSpec:
    """Raises InvalidInput for stages that cannot be read, and for flags about replicas."""
    names = [item.name for item in fields(Wish) if item.name not in _OF_PIPELINES and getattr(wish, item.name)]
    given = [*(f"--{name.replace('_', '-')}" for name in names), *(flag for flag, _, _ in wish.container.given)]
    if given:
        raise InvalidInput(f"{given[0]}: a pipeline has none, each function in it has its own; leave it out")
    return FunctionSpec(
        name=wish.name,
        namespace=namespace,
        labels=pairs(wish.label, "--label"),
        annotations=pairs(wish.annotation, "--annotation"),
        stages=read_pipeline(wish.pipeline),
    )


def overrides(wish: Wish, namespace: str) -> Overrides:
    """What the flags say about every function. Raises InvalidInput for malformed `K=V` flags and for contradictions."""
    environment = pairs(wish.env, "--env")
    if wish.mode is not None:
        environment["mode"] = wish.mode
    return Overrides(
        environment=environment,
        labels=_labels(wish),
        annotations=pairs(wish.annotation, "--annotation"),
        secrets=wish.secret,
        constraints=wish.constraint,
        limits=Resources(memory=wish.memory_limit, cpu=wish.cpu_limit),
        requests=Resources(memory=wish.memory_request, cpu=wish.cpu_request),
        read_only_root=wish.readonly,
        namespace=namespace,
    )


def _labels(wish: Wish) -> dict[str, str]:
    """Those that were given, and those that flags stand for. Raises InvalidInput for flags that contradict each other."""
    if wish.name and not wish.image and wish.container.given:
        flag, _, _ = wish.container.given[0]
        raise InvalidInput(f"{flag}: is about a container; name its image with --image")
    return wish.container.laid_over(pairs(wish.label, "--label"), wish.fprocess)
