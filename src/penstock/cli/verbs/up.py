"""`penstock up`: build, push and deploy what a stack file describes, once or each time a source changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import click
import msgspec

from penstock.builders.choose import PROCESS_PROVIDER
from penstock.builders.model import Builder
from penstock.builders.publish import Publisher
from penstock.cli.building import BuildWish, build_options, builder_for, is_built, is_chosen
from penstock.cli.commands import Verb
from penstock.cli.delivery import Delivery, follow
from penstock.cli.deploying import Strategy
from penstock.cli.options import connected, namespace_option, pairs
from penstock.cli.publishing import platforms_of
from penstock.cli.remotebuilding import RemoteWish, remote_options
from penstock.cli.stackoptions import StackFile, stack_options, target_of
from penstock.cli.target import Target
from penstock.errors import InvalidInput, NotSupported
from penstock.model import Resources
from penstock.stack.payload import Overrides


@click.command("up", cls=Verb)
@stack_options
@build_options
@remote_options
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
@click.option("--publish", is_flag=True, help="Build and push in one go, as penstock publish does.")
@click.option("--platforms", default="", metavar="LIST", help="With --publish: such as linux/amd64,linux/arm64.")
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
    remote: RemoteWish | None,
    replace: bool,
    update: bool,
    publish: bool,
    platforms: str,
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
    if platforms and not publish:
        raise InvalidInput("--platforms: needs --publish, since only a registry keeps an image for several platforms")
    if publish and skip_push:
        raise InvalidInput("--publish and --skip-push exclude each other")
    stack = stack_file.load()
    target = target_of(stack, target)
    remote = remote if wish.builder == "auto" else None
    wanted = platforms_of(platforms, elsewhere=remote is not None)
    wish = dataclasses.replace(wish, remote=remote, flags=msgspec.structs.replace(wish.flags, platforms=wanted))
    asked = wish.builder == "auto" and remote is None and is_chosen(target)
    builder, provider = builder_for(wish, target, needed=asked or not skip_deploy, push=not skip_push)
    if not skip_deploy and any(is_built(function) for function in stack.functions):
        check_fit(builder, provider, target)
    strategy: Strategy = "replace" if replace else "update" if update else "create"
    delivery = Delivery(
        target=target,
        wish=wish,
        builder=_publisher(builder) if publish else builder,
        over=_overrides(target.namespace, flags),
        strategy=strategy,
        wait=wait,
        push=builder.makes_images and builder.name != "remote" and not skip_push and not publish,
        publish=publish,
        deploy=not skip_deploy,
    )
    if watch:
        follow(delivery, stack, stack_file.load)
    else:
        delivery.deliver(stack)


def _publisher(builder: Builder) -> Publisher:
    """Raises InvalidInput for a builder that makes nothing to publish."""
    if not builder.makes_images:
        raise InvalidInput("--publish: is for images, and this gateway's functions are built to run on this machine")
    return Publisher(builder, ())


def check_fit(builder: Builder, provider: str | None, target: Target) -> None:
    """Raises NotSupported when the gateway could not run what the builder makes."""
    if provider == PROCESS_PROVIDER and builder.makes_images:
        raise NotSupported(f"the gateway at {target.url} runs programs, not images: leave out {_flag(builder)}")
    if provider is not None and provider != PROCESS_PROVIDER and not builder.makes_images:
        raise NotSupported(f"the gateway at {target.url} runs images: leave out {_flag(builder)}")
    if not builder.makes_images and not target.loopback:
        raise NotSupported(
            f"a native build lies on this machine, and the gateway at {target.url} is on another; run `penstock up` there"
        )


def _flag(builder: Builder) -> str:
    return "--remote-builder and OPENFAAS_REMOTE_BUILDER" if builder.name == "remote" else f"--builder {builder.name}"


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
