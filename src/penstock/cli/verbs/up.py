"""`penstock up`: build, push and deploy what a stack file describes, once or each time a source changes."""

from __future__ import annotations

import dataclasses

import click
import msgspec

from penstock.builders.model import Builder
from penstock.builders.publish import Publisher
from penstock.cli.building import BuildWish, build_options, builder_for, check_fit, is_built, is_chosen
from penstock.cli.commands import Verb
from penstock.cli.delivery import Delivery, follow
from penstock.cli.deploying import Strategy
from penstock.cli.functionflags import function_options
from penstock.cli.options import connected, namespace_option
from penstock.cli.publishing import platforms_of
from penstock.cli.remotebuilding import RemoteWish, remote_options
from penstock.cli.stackoptions import StackFile, stack_options, target_of
from penstock.cli.target import Target
from penstock.cli.watching import check_readable_again
from penstock.errors import InvalidInput
from penstock.stack.payload import Overrides


@click.command("up", cls=Verb)
@stack_options
@build_options
@remote_options
@function_options
@click.option("--publish", is_flag=True, help="Build and push in one go, as penstock publish does.")
@click.option("--platforms", default="", metavar="LIST", help="With --publish: such as linux/amd64,linux/arm64.")
@click.option("--skip-push", is_flag=True, help="Leave images where they were built.")
@click.option("--skip-deploy", is_flag=True, help="Build and push only.")
@click.option("--force", is_flag=True, help="Deploy also what runs as it is wanted, with new replicas.")
@click.option("--watch", is_flag=True, help="Go on, and build and deploy a function again when its source changes.")
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
    over: Overrides,
    strategy: Strategy,
    publish: bool,
    platforms: str,
    skip_push: bool,
    skip_deploy: bool,
    force: bool,
    watch: bool,
    wait: bool,
) -> None:
    """Build the functions of a stack file and deploy them.

    A function that runs as it is wanted, with the same build, is left alone unless --force is given.

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
    check_readable_again(watch, stack_file)
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
    delivery = Delivery(
        target=target,
        wish=wish,
        builder=_publisher(builder) if publish else builder,
        over=msgspec.structs.replace(over, namespace=target.namespace),
        strategy=strategy,
        wait=wait,
        push=builder.makes_images and builder.name != "remote" and not skip_push and not publish,
        publish=publish,
        deploy=not skip_deploy,
        force=force,
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
