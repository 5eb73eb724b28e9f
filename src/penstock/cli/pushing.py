"""Sends images to their registries, several at once, and tells of it as of builds.

Called by `push`, `publish` and `up`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import cast

from penstock.builders.many import Job, Outcome, build_many
from penstock.builders.model import Builder, BuildRequest, Built, ImageBuilder, Progress
from penstock.cli.buildprogress import reporter
from penstock.cli.options import note
from penstock.errors import PenstockError
from penstock.stack.model import Position, StackFunction


class _Pushing:
    """A builder whose builds are pushes, so that they are run, told of and ended like builds."""

    def __init__(self, builder: ImageBuilder) -> None:
        self._builder = builder
        self.name = builder.name
        self.makes_images = True

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        started = time.monotonic()
        self._builder.push(request.image, progress)
        return Built(function=request.function.name, image=request.image, seconds=time.monotonic() - started)

    def cancel(self) -> None:
        self._builder.cancel()


def push_all(
    builder: Builder, images: Sequence[tuple[str, str]], *, parallel: int, quiet: bool = False
) -> list[Outcome]:
    """Push images, each with the name that it is told of by; what becomes of each, in their order."""
    jobs = [Job(name=name, request=_request(name, image)) for name, image in images]
    with reporter(len(jobs), quiet=quiet, doing="Pushing") as tell:
        return build_many(_Pushing(cast(ImageBuilder, builder)), jobs, parallel, tell)


def push_built(builder: Builder, outcomes: Sequence[Outcome], *, parallel: int, quiet: bool = False) -> list[Outcome]:
    """Push what has been built and names a place to go to; a build whose push fails has failed."""
    built = [outcome.built for outcome in outcomes if outcome.built is not None]
    here = [each.image for each in built if not names_a_place(each.image)]
    if here and not quiet:
        note(f"Not pushed, since no registry or account is named: {', '.join(here)}")
    images = [(each.function, each.image) for each in built if names_a_place(each.image)]
    faults = {each.name: each for each in push_all(builder, images, parallel=parallel, quiet=quiet) if each.fault}
    return [faults.get(outcome.name, outcome) for outcome in outcomes]


def names_a_place(image: str) -> bool:
    """Whether a name says where an image belongs; one without a slash would go to Docker Hub's own."""
    return "/" in image


def check_pushed(outcomes: Iterable[Outcome]) -> None:
    """Raises PenstockError, naming them, when pushes have failed; why has been said."""
    outcomes = list(outcomes)
    failed = [outcome.name for outcome in outcomes if outcome.fault is not None]
    done = [outcome.name for outcome in outcomes if outcome.fault is None]
    if failed:
        rest = f"; pushed: {', '.join(done)}" if done else ""
        raise PenstockError(f"{len(failed)} of {len(outcomes)} pushes failed: {', '.join(failed)}{rest}")


def _request(name: str, image: str) -> BuildRequest:
    return BuildRequest(function=StackFunction(name=name, where=Position("", 0)), template=None, image=image)
