"""`penstock up`: build, push and deploy what a stack file describes, once or each time a source changes."""

from __future__ import annotations

from collections.abc import Mapping

import click
import msgspec

from penstock.builders.choose import PROCESS_PROVIDER
from penstock.builders.model import Builder
from penstock.cli.building import BuildWish, build_options, builder_for, is_built
from penstock.cli.commands import Verb
from penstock.cli.delivery import Delivery, follow
from penstock.cli.deploying import Strategy
from penstock.cli.options import connected, namespace_option, pairs
from penstock.cli.stackoptions import StackFile, stack_options, target_of
from penstock.cli.target import Target
from penstock.errors import InvalidInput, NotSupported
from penstock.model import Resources
from penstock.stack.payload import Overrides


@click.command("up", cls=Verb)
@stack_options
@build_options
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable; may be given many times.")
@click.option("-l", "--label", multiple=True, metavar="K=V", help="Label, such as com.openfaas.scale.min=2.")
@click.option("--annotation", multiple=True, metavar="K=V", help="Annotation; may be given many times.")
@click.option("--secret", multiple=True, metavar="NAME", help="Secret the functions may read; may be given many times.")
@click.option("--constraint", multiple=True, metavar="RULE", help="Placement rule for the provider.")
@click.option("--readonly", is_flag=True, help="Make the root file system read-only.")
@click.option("--cpu-limit", default="", metavar="QUANTITY", help="At most this much CPU, such as 500m.")
@click.option("--memory-limit", default="", metavar="QUANTITY", help="At most this much memory, such as 128Mi.")
@click.option("--cpu-request", default="", metavar="QUANTITY", help="CPU to reserve.")
@click.option("--memory-request", default="", metavar="QUANTITY", help="Memory to reserve.")
@click.option("--replace", is_flag=True, help="Delete functions first instead of updating them.")
@click.option("--update/--no-update", default=True, show_default=True, help="Update functions that exist.")
@click.option("--skip-push", is_flag=True, help="Leave images where they were built.")
@click.option("--skip-deploy", is_flag=True, help="Build and push only.")
@click.option("--watch", is_flag=True, help="Go on, and build and deploy a function again when its source changes.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a replica of each is ready.")
@click.option("--network", default="", expose_value=False, hidden=True, help="Accepted for faas-cli's sake.")
@click.option("--read-template/--no-read-template", expose_value=False, hidden=True)
@namespace_option
@connected(
    timeout="1m",
    timeout_help="Longest wait for the gateway, and for a replica that makes no progress; 0 waits for ever.",
)
def command(
    target: Target,
    stack_file: StackFile,
    wish: BuildWish,
    replace: bool,
    update: bool,
    skip_push: bool,
    skip_deploy: bool,
    watch: bool,
    wait: bool,
    **flags: object,
) -> None:
    """Build the functions of a stack file and deploy them.

    Each function is tried, whatever becomes of the others; the last line names those that failed. With --watch it stays,
    and a save is answered by the new source a moment later; Ctrl-C ends it.

    \b
    Examples:
      penstock up
      penstock up -f hello.yml --watch
      penstock up --filter "api-*" --env stage=test --skip-push
    """
    if watch and skip_deploy:
        raise InvalidInput("--watch and --skip-deploy exclude each other")
    stack = stack_file.load()
    target = target_of(stack, target)
    builder, provider = builder_for(wish, target, needed=not skip_deploy)
    if not skip_deploy and any(is_built(function) for function in stack.functions):
        check_fit(builder, provider, target)
    strategy: Strategy = "replace" if replace else "update" if update else "create"
    delivery = Delivery(
        target=target,
        wish=wish,
        builder=builder,
        over=_overrides(target.namespace, flags),
        strategy=strategy,
        wait=wait,
        push=builder.makes_images and not skip_push,
        deploy=not skip_deploy,
    )
    if watch:
        follow(delivery, stack, stack_file.load)
    else:
        delivery.deliver(stack)


def check_fit(builder: Builder, provider: str | None, target: Target) -> None:
    """Raises NotSupported when the gateway could not run what the builder makes."""
    if provider == PROCESS_PROVIDER and builder.makes_images:
        raise NotSupported(f"the gateway at {target.url} runs programs, not images: leave out --builder {builder.name}")
    if provider is not None and provider != PROCESS_PROVIDER and not builder.makes_images:
        raise NotSupported(f"the gateway at {target.url} runs images: leave out --builder {builder.name}")
    if not builder.makes_images and not target.loopback:
        raise NotSupported(
            f"a native build lies on this machine, and the gateway at {target.url} is on another; run `penstock up` there"
        )


def _overrides(namespace: str, flags: Mapping[str, object]) -> Overrides:
    def many(name: str) -> tuple[str, ...]:
        return msgspec.convert(flags[name], tuple[str, ...])

    return Overrides(
        environment=pairs(many("env"), "--env"),
        labels=pairs(many("label"), "--label"),
        annotations=pairs(many("annotation"), "--annotation"),
        secrets=many("secret"),
        constraints=many("constraint"),
        limits=Resources(memory=str(flags["memory_limit"]), cpu=str(flags["cpu_limit"])),
        requests=Resources(memory=str(flags["memory_request"]), cpu=str(flags["cpu_request"])),
        read_only_root=bool(flags["readonly"]),
        namespace=namespace,
    )
