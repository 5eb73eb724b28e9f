"""`penstock build`: handlers and templates become images, or folders that run on this machine (contract watchdog-cli §4.4)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from penstock.builders.context import assemble
from penstock.builders.many import Job, Outcome
from penstock.builders.model import Archiver
from penstock.cli.building import BuildWish, build_all, build_options, builder_for, check_all, is_built, jobs_of, single
from penstock.cli.commands import Verb
from penstock.cli.options import connected, note
from penstock.cli.output import print_columns, print_json
from penstock.cli.remotebuilding import RemoteWish, remote_options
from penstock.cli.stackoptions import StackFile, stack_options, target_of
from penstock.cli.target import Target
from penstock.endsignals import unwinding
from penstock.errors import InvalidInput, NotSupported, PenstockError
from penstock.stack.model import Stack

_SAVED = {
    "docker": "the engine's images are saved by docker save",
    "buildah": "its images are saved by buildah push IMAGE docker-archive:FILE",
    "remote": "a remote builder keeps its images",
}


@click.command("build", cls=Verb)
@stack_options
@click.option("--name", default="", help="Name of the function, where there is no stack file.")
@click.option("--image", default="", help="Image to make, where there is no stack file.")
@click.option("--handler", default="", metavar="FOLDER", help="Folder of the source, where there is no stack file.")
@click.option("--lang", default="", metavar="TEMPLATE", help="Template, where there is no stack file.")
@click.option("--shrinkwrap", is_flag=True, help="Only assemble ./build/NAME, for other tools to build.")
@click.option(
    "--archive",
    default=None,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --builder image, also write each image to FOLDER/NAME.tar, for `docker load`.",
)
@click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Output format."
)
@build_options
@remote_options
@connected(timeout="2s", timeout_help="Longest wait for the gateway to say what its provider is.")
def command(
    target: Target,
    stack_file: StackFile,
    wish: BuildWish,
    remote: RemoteWish | None,
    name: str,
    image: str,
    handler: str,
    lang: str,
    shrinkwrap: bool,
    archive: Path | None,
    output: str,
) -> None:
    """Build the functions of a stack file.

    A gateway that runs programs, as `penstock serve` does, needs no images: then each function becomes a folder, and one
    that has not changed is found again. Otherwise images are built by Docker or buildah, or by a remote builder, which also
    pushes them.

    \b
    Examples:
      penstock build
      penstock build -f hello.yml --filter "api-*" --parallel 4 --build-arg PYTHON_VERSION=3.13
      penstock build --builder image --archive . && docker load -i hello.tar
      penstock build --name hello --lang python3-http --handler ./hello --image registry.example.com/hello
    """
    if shrinkwrap and archive is not None:
        raise InvalidInput("--shrinkwrap makes no image to write to --archive; leave one of them out")
    stack = _stack(stack_file, name, image, handler, lang)
    for function in stack.functions:
        if not is_built(function):
            note(f"{function.name} is not built: {'skip_build says so' if function.skip_build else 'it has no lang'}")
    if shrinkwrap:
        _shrinkwrap(jobs_of(stack, wish, image=False))
        return
    wish = replace(wish, remote=remote)
    builder, _ = builder_for(wish, target_of(stack, target), needed=_must_answer(wish))
    if archive is not None and not isinstance(builder, Archiver):
        raise NotSupported(
            f"--archive: is for --builder image; {_SAVED.get(builder.name, 'there is no image to save')}"
        )
    jobs = jobs_of(stack, wish, image=builder.makes_images, native=not builder.makes_images)
    started = time.monotonic()
    outcomes = build_all(builder, jobs, wish)
    if archive is not None and isinstance(builder, Archiver):
        _save(builder, outcomes, archive)
    if not wish.quiet:
        note(f"\nTotal build time: {time.monotonic() - started:.2f}s")
    _print(outcomes, output)
    check_all(outcomes)


def _save(builder: Archiver, outcomes: Sequence[Outcome], folder: Path) -> None:
    for outcome in outcomes:
        if outcome.built is not None:
            file = folder / f"{outcome.name}.tar"
            with unwinding():
                builder.save(outcome.built.image, file)
            note(f"{outcome.built.image} is in {file}")


def _must_answer(wish: BuildWish) -> bool:
    """Whether a gateway was named on the command line, to be asked which builder fits it."""
    return wish.builder == "auto" and wish.remote is None and bool(click.get_current_context().params.get("gateway"))


def _stack(stack_file: StackFile, name: str, image: str, handler: str, lang: str) -> Stack:
    if not (name or image or handler or lang):
        return stack_file.load()
    if stack_file.wanted:
        raise InvalidInput(
            "--name, --image, --handler and --lang describe a function without a stack file; leave out --yaml"
        )
    return single(name, image, handler, lang)


def _shrinkwrap(jobs: Sequence[Job]) -> None:
    faults = []
    for job in jobs:
        try:
            if job.request is None:
                raise job.fault or PenstockError("it cannot be built")
            folder = assemble(job.request)
        except PenstockError as error:
            note(f"{job.name}: {error}")
            faults.append(Outcome(name=job.name, fault=error))
        else:
            click.echo(f"{job.name} shrink-wrapped to {folder.relative_to(folder.parents[1])}")
    check_all(faults)


def _print(outcomes: Sequence[Outcome], output: str) -> None:
    built = [outcome.built for outcome in outcomes if outcome.built is not None]
    if output == "json":
        print_json(
            [
                {
                    "name": each.function,
                    **({"image": each.image} if each.image else {}),
                    **({"folder": str(each.folder)} if each.folder else {}),
                    "unchanged": each.cached,
                    "seconds": round(each.seconds, 3),
                }
                for each in built
            ]
        )
    elif built:
        rows = [
            (each.function, "unchanged" if each.cached else "built", each.image or str(each.folder)) for each in built
        ]
        print_columns(("Function", "State", "Result"), rows, (30, 9, 0))
