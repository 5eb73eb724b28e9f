"""`penstock publish`: build images and push them at once, for one platform or several (contract watchdog-cli §4.3)."""

from __future__ import annotations

import dataclasses
import os

import click
import msgspec

from penstock.builders.choose import choose
from penstock.builders.model import Builder
from penstock.builders.publish import Publisher
from penstock.cli.building import BuildWish, build_all, build_options, check_all, jobs_of
from penstock.cli.commands import Verb
from penstock.cli.publishing import platforms_of, publishable
from penstock.cli.remotebuilding import RemoteWish, remote_builder, remote_options
from penstock.cli.stackoptions import StackFile, stack_options
from penstock.errors import InvalidInput


@click.command("publish", cls=Verb)
@stack_options
@build_options
@remote_options
@click.option(
    "--platforms", default="", metavar="LIST", help="Such as linux/amd64,linux/arm64. [default: this machine's]"
)
@click.option("--extra-tag", multiple=True, metavar="TAG", help="Another tag for each image; may be given many times.")
def command(
    stack_file: StackFile, wish: BuildWish, remote: RemoteWish | None, platforms: str, extra_tag: tuple[str, ...]
) -> None:
    """Build the images of a stack file and push them to their registries.

    Images for several platforms are made by Docker's buildx, by a remote builder, or by the image writer where nothing has to
    run; all need a watchdog for each of them: --build-arg WATCHDOG=... names an image of it.

    \b
    Examples:
      penstock publish
      penstock publish --tag sha --extra-tag stable
      penstock publish --platforms linux/amd64,linux/arm64 --build-arg WATCHDOG=registry.example.com/penstock-watchdog
    """
    if wish.builder == "native":
        raise InvalidInput("a native build is no image; leave out --builder native")
    stack = stack_file.load()
    remote = remote if wish.builder == "auto" else None
    wanted = platforms_of(platforms, elsewhere=remote is not None)
    flags = msgspec.structs.replace(wish.flags, platforms=wanted)
    wish = dataclasses.replace(wish, flags=flags)
    if remote is not None:
        builder: Builder = remote_builder(remote, flags, push=True)
    else:
        builder = choose(wish.builder, "images", os.environ)
    publisher = Publisher(builder, extra_tag)
    jobs = [publishable(job, extra_tag) for job in jobs_of(stack, wish, image=True)]
    outcomes = build_all(publisher, jobs, wish)
    for outcome in outcomes:
        if outcome.built is not None:
            click.echo(outcome.built.image)
    check_all(outcomes)
