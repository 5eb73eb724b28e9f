"""`penstock publish`: build images and push them at once, for one platform or several (contract watchdog-cli §4.3)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import click
import msgspec

from penstock.builders.choose import choose
from penstock.builders.imagewriter.builder import machine
from penstock.builders.many import Job
from penstock.builders.model import BuildRequest
from penstock.builders.publish import Publisher
from penstock.cli.building import BuildWish, build_all, build_options, check_all, jobs_of
from penstock.cli.commands import Verb
from penstock.cli.pushing import names_a_place
from penstock.cli.stackoptions import StackFile, stack_options
from penstock.errors import InvalidInput
from penstock.providers.containers.reference import parse


@click.command("publish", cls=Verb)
@stack_options
@build_options
@click.option(
    "--platforms", default="", metavar="LIST", help="Such as linux/amd64,linux/arm64. [default: this machine's]"
)
@click.option("--extra-tag", multiple=True, metavar="TAG", help="Another tag for each image; may be given many times.")
def command(stack_file: StackFile, wish: BuildWish, platforms: str, extra_tag: tuple[str, ...]) -> None:
    """Build the images of a stack file and push them to their registries.

    Images for several platforms are made by Docker's buildx, or by the image writer where nothing has to run; both need a
    watchdog for all of them: --build-arg WATCHDOG=... names an image of it.

    \b
    Examples:
      penstock publish
      penstock publish --tag sha --extra-tag stable
      penstock publish --platforms linux/amd64,linux/arm64 --build-arg WATCHDOG=registry.example.com/penstock-watchdog
    """
    if wish.builder == "native":
        raise InvalidInput("a native build is no image; leave out --builder native")
    stack = stack_file.load()
    wanted = tuple(dict.fromkeys(word.strip() for word in platforms.split(",") if word.strip()))
    wanted = () if wanted == (str(machine()),) else wanted
    wish = dataclasses.replace(wish, flags=msgspec.structs.replace(wish.flags, platforms=wanted))
    publisher = Publisher(choose(wish.builder, "images", os.environ), extra_tag)
    jobs = [_checked(job, extra_tag) for job in jobs_of(stack, wish, image=True)]
    outcomes = build_all(publisher, jobs, wish)
    for outcome in outcomes:
        if outcome.built is not None:
            click.echo(outcome.built.image)
    check_all(outcomes)


def _checked(job: Job, tags: Sequence[str]) -> Job:
    """The job, or why it cannot be published."""
    if job.request is None:
        return job
    try:
        _check(job.request, tags)
    except InvalidInput as error:
        return Job(name=job.name, fault=error)
    return job


def _check(request: BuildRequest, tags: Sequence[str]) -> None:
    name = parse(request.image)
    if not names_a_place(request.image):
        raise InvalidInput(
            f"{request.function.where}: image {request.image!r} names neither a registry nor an account;"
            f" such as registry.example.com/{request.image}"
        )
    for tag in tags:
        parse(f"{name.name}:{tag}")
