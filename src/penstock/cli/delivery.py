"""From sources to running functions: build, push, deploy, once or at every change of a source.

Called by the verb `up`. Each function is tried, whatever becomes of the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.builders.many import Outcome
from penstock.builders.model import Builder, Built
from penstock.cli.building import BuildWish, build_all, check_all, jobs_of
from penstock.cli.deploying import Circumstances, Deployment, Strategy, deploy_all, deployments
from penstock.cli.options import note
from penstock.cli.publishing import publishable
from penstock.cli.pushing import push_built
from penstock.cli.target import Target
from penstock.cli.watching import Sources, watched
from penstock.errors import PenstockError
from penstock.stack.model import Position, Stack, StackFunction, StackPipeline
from penstock.stack.payload import Overrides


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How functions are delivered, as the flags say."""

    target: Target
    wish: BuildWish
    builder: Builder
    over: Overrides
    strategy: Strategy
    wait: bool
    push: bool
    """Whether the builder makes images, which go to their registries."""
    deploy: bool
    force: bool = False
    """Whether what runs as it is wanted is deployed all the same."""
    publish: bool = False
    """Whether the builder pushes what it builds, by way of `penstock.builders.publish`."""

    def deliver(self, stack: Stack) -> None:
        """Build, push and deploy all. Raises PenstockError, naming them, when functions have failed."""
        started = time.monotonic()
        outcomes = self.build(stack)
        left = self.send(stack, outcomes) if self.deploy else []
        check_all(outcomes)
        note(self._summary(stack, outcomes, left, time.monotonic() - started))

    def build(self, stack: Stack) -> list[Outcome]:
        """Build, and push what is an image; what failed is told of."""
        image = self.builder.makes_images
        jobs = jobs_of(stack, self.wish, image=image, native=not image)
        if self.publish:
            jobs = [publishable(job) for job in jobs]
        outcomes = build_all(self.builder, jobs, self.wish)
        if not self.push:
            return outcomes
        return push_built(self.builder, outcomes, parallel=self.wish.parallel, quiet=self.wish.quiet)

    def send(self, stack: Stack, outcomes: Iterable[Outcome]) -> list[str]:
        """Deploy the functions of a stack with their builds, those without a source too; the names of those that were left as they
        are. Raises as `deploy_all`."""
        outcomes = list(outcomes)
        built = {outcome.name: outcome.built for outcome in outcomes if outcome.built}
        failed = {outcome.name for outcome in outcomes if outcome.fault}
        native = not self.builder.makes_images
        circumstances = Circumstances(native=native, built=built, tag=self.wish.flags.tag)
        planned = [
            Deployment(name=each.name, fault=PenstockError("it is not built, see above"))
            if each.name in failed
            else each
            for each in deployments(stack, self.over, circumstances)
        ]
        return deploy_all(self.target, planned, self.strategy, wait=self.wait, leave_same=not self.force)

    def _summary(self, stack: Stack, outcomes: Collection[Outcome], left: Collection[str], seconds: float) -> str:
        unchanged = sum(1 for outcome in outcomes if outcome.built and outcome.built.cached)
        built = len(outcomes) - unchanged
        where = f"up at {self.target.url}" if self.deploy else "ready to deploy"
        functions, pipelines = len(stack.functions), len(stack.pipelines) if self.deploy else 0
        counts = [f"{functions} function{'s' * (functions != 1)}"] if functions or not pipelines else []
        if pipelines:
            counts.append(f"{pipelines} pipeline{'s' * (pipelines != 1)}")
        what = f"{' and '.join(counts)} {'is' if functions + pipelines == 1 else 'are'}"
        sent = f"; {functions + pipelines - len(left)} deployed, {len(left)} left alone" if left else ""
        return f"{what} {where}: {built} built, {unchanged} unchanged{sent}, in {seconds:.2f}s"


def follow(delivery: Delivery, stack: Stack, load: Callable[[], Stack]) -> None:
    """Deliver all, then each function again when its source changes, until Ctrl-C. Failures are told of, and do not end it."""
    told = _Told()
    while True:
        sources = Sources(stack, Path.cwd())
        with watched(sources) as changes:
            # Only now that no change can be missed any more: what changed before is seen by building all.
            _round(delivery, stack, stack, told)
            note(f"Watching {_listed(each.name for each in _parts(stack))}; Ctrl-C ends it.")
            fresh: Stack | None = None
            while fresh is None:
                changed = changes.next()
                if sources.file_touched(changed):
                    fresh = _reload(load)
                elif sources.outdated():
                    fresh = stack
                if fresh is None and (names := sources.touched(changed)):
                    _round(delivery, stack, _only(stack, names), told)
        for name in [each.name for each in _parts(stack)]:
            if name not in {each.name for each in _parts(fresh)}:
                note(f"{name} has left the stack file; it stays deployed until `penstock remove {name}`")
        stack = fresh


_Part = StackFunction | StackPipeline
"""What of a stack file is deployed by its name."""


def _parts(stack: Stack) -> tuple[_Part, ...]:
    return (*stack.functions, *stack.pipelines)


class _Told:
    """What the gateway was told of each function."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Part, Built | None]] = {}

    def knows(self, function: _Part, built: Built | None) -> bool:
        """Whether there is nothing new about a function."""
        fresh_image = built is not None and built.folder is None and not built.cached
        return not fresh_image and self._known.get(function.name) == _essence(function, built)

    def learn(self, function: _Part, built: Built | None) -> None:
        self._known[function.name] = _essence(function, built)


def _essence(function: _Part, built: Built | None) -> tuple[_Part, Built | None]:
    """Both without what says nothing about them: the line in the file, the time that it took."""
    place = msgspec.structs.replace(function, where=Position("", 0))
    if isinstance(place, StackFunction):
        place = msgspec.structs.replace(place, lang_line=0)
    return place, msgspec.structs.replace(built, cached=False, seconds=0.0) if built else None


def _round(delivery: Delivery, stack: Stack, part: Stack, told: _Told) -> None:
    """Build a part of the stack, and deploy what is new of it. Failures are told of."""
    started = time.monotonic()
    try:
        outcomes = {outcome.name: outcome for outcome in delivery.build(part)}
        results = {name: outcome.built for name, outcome in outcomes.items()}
        broken = {name for name, outcome in outcomes.items() if outcome.fault}
        new = [
            function
            for function in _parts(part)
            if function.name not in broken and not told.knows(function, results.get(function.name))
        ]
        if new:
            fresh = _only(stack, [function.name for function in new])
            delivery.send(fresh, [outcomes[function.name] for function in new if function.name in outcomes])
            for function in new:
                told.learn(function, results.get(function.name))
            note(f"{_listed(each.name for each in new)}: up after {time.monotonic() - started:.2f}s")
    except (PenstockError, OSError) as error:
        note(f"Error: {error}")


def _reload(load: Callable[[], Stack]) -> Stack | None:
    """The stack file as it is now; None, and why, when it cannot be used."""
    try:
        return load()
    except (PenstockError, OSError) as error:
        note(f"Error: {error}")
        return None


def _only(stack: Stack, names: Collection[str]) -> Stack:
    return msgspec.structs.replace(
        stack,
        functions=tuple(function for function in stack.functions if function.name in names),
        pipelines=tuple(pipeline for pipeline in stack.pipelines if pipeline.name in names),
    )


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
