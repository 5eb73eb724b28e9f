"""`penstock push`: the images of a stack file go to their registries (contract watchdog-cli §4.3)."""

from __future__ import annotations

import os
from pathlib import Path

import click

from penstock.builders.choose import choose
from penstock.builders.tag import STYLES, Style, tagged
from penstock.cli.building import is_built
from penstock.cli.commands import Verb
from penstock.cli.options import note
from penstock.cli.pushing import check_pushed, names_a_place, push_all
from penstock.cli.stackoptions import StackFile, stack_options
from penstock.errors import InvalidInput
from penstock.stack.model import Stack

ANY_PROVIDER_OF_IMAGES = "images"
"""For `choose`, so that `auto` means a builder of images."""


@click.command("push", cls=Verb)
@stack_options
@click.option(
    "--builder",
    type=click.Choice(["auto", "docker", "buildah", "image"]),
    default="auto",
    show_default=True,
    help="Who has the images. auto: docker, buildah, image, the first there is.",
)
@click.option(
    "--parallel", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N", help="Pushes at once."
)
@click.option("--tag", type=click.Choice(STYLES), default="latest", show_default=True, help="What the tag tells.")
@click.option("-q", "--quiet", is_flag=True, help="Tell of failures only.")
def command(stack_file: StackFile, builder: str, parallel: int, tag: Style, quiet: bool) -> None:
    """Push the images of a stack file to their registries.

    They are those that `penstock build` has made, by the same builder and with the same --tag. Logins are Docker's: those of
    `docker login`, or what `penstock registry-login` has written.

    \b
    Examples:
      penstock push
      penstock push -f hello.yml --filter "api-*" --tag sha
    """
    images = _images(stack_file.load(), tag)
    if not images:
        note("There is nothing to push.")
        return
    outcomes = push_all(choose(builder, ANY_PROVIDER_OF_IMAGES, os.environ), images, parallel=parallel, quiet=quiet)
    for outcome in outcomes:
        if outcome.built is not None:
            click.echo(outcome.built.image)
    check_pushed(outcomes)


def _images(stack: Stack, tag: Style) -> list[tuple[str, str]]:
    """Names of functions and of their images. Raises InvalidInput, before anything is sent, for one that belongs nowhere."""
    found = []
    for function in stack.functions:
        if not is_built(function):
            note(f"{function.name} is not pushed: {'skip_build says so' if function.skip_build else 'it has no lang'}")
            continue
        if not function.image:
            raise InvalidInput(
                f"{function.where}: function {function.name!r}: no image is given; name it with `image:`"
            )
        if not names_a_place(function.image):
            raise InvalidInput(
                f"{function.where}: function {function.name!r}: image {function.image!r} names neither a registry nor an account;"
                f" such as registry.example.com/{function.image}"
            )
        found.append((function.name, tagged(function.image, tag, Path.cwd() / function.handler)))
    return found
