"""What the verbs that build share: their flags, the builder they choose, templates, and what is said at the end.

Called by `build`, `up`, `publish` and `local-run`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from penstock.builders.choose import PROCESS_PROVIDER, WISHES, choose
from penstock.builders.many import Job, Outcome, build_many
from penstock.builders.model import Builder
from penstock.builders.plan import DOCKERFILE, BuildFlags, plan
from penstock.builders.tag import STYLES
from penstock.cli.buildprogress import failure_text, reporter
from penstock.cli.options import note, pairs, split_pair
from penstock.cli.remotebuilding import RemoteWish, remote_builder
from penstock.cli.target import DEFAULT_GATEWAY, Target
from penstock.errors import GatewayUnavailable, NotSupported, PenstockError
from penstock.stack.model import Position, Stack, StackFunction
from penstock.templates.catalogue import find_template, is_pulled
from penstock.templates.ensure import ensure_templates
from penstock.templates.model import Template

F = TypeVar("F", bound=Callable[..., Any])

PROVIDER_TIMEOUT = 2.0
"""Seconds that a gateway which nobody has named gets to say what its provider is, before a build goes on without knowing."""


@dataclass(frozen=True, kw_only=True)
class BuildWish:
    """What the flags say about building."""

    builder: str
    parallel: int
    quiet: bool
    flags: BuildFlags
    remote: RemoteWish | None = None
    """Who builds where `builder` is `auto`."""


def build_options(function: F) -> F:
    """The flags of a build; the verb receives one `wish`."""

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        flags = BuildFlags(
            tag=given.pop("tag"),
            build_args=tuple(split_pair(item, "--build-arg") for item in given.pop("build_arg")),
            build_options=given.pop("build_option"),
            labels=pairs(given.pop("build_label"), "--build-label"),
            copy=given.pop("copy_extra"),
            no_cache=given.pop("no_cache"),
            squash=given.pop("squash"),
            pull=given.pop("pull"),
        )
        wish = BuildWish(
            builder=given.pop("builder"), parallel=given.pop("parallel"), quiet=given.pop("quiet"), flags=flags
        )
        return function(*args, wish=wish, **given)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command  # type: ignore[return-value]


_OPTIONS = (
    click.option(
        "--builder",
        type=click.Choice(WISHES),
        default="auto",
        show_default=True,
        help="Who builds. auto: what the gateway's provider needs, else docker, buildah, native, the first there is.",
    ),
    click.option(
        "--parallel",
        type=click.IntRange(1, 256),
        default=lambda: os.cpu_count() or 1,
        metavar="N",
        help="Builds at once. [default: number of processors]",
    ),
    click.option("-b", "--build-arg", multiple=True, metavar="K=V", help="Build argument; may be given many times."),
    click.option("-o", "--build-option", multiple=True, metavar="NAME", help="Build option of the template."),
    click.option("--build-label", multiple=True, metavar="K=V", help="Label of the image; may be given many times."),
    click.option("--copy-extra", multiple=True, metavar="PATH", help="Path to copy into every handler's folder."),
    click.option("--tag", type=click.Choice(STYLES), default="latest", show_default=True, help="What the tag tells."),
    click.option("--no-cache", is_flag=True, help="Build everything anew."),
    click.option("--squash", is_flag=True, help="Make one layer of the new ones."),
    click.option("--pull", is_flag=True, help="Look for newer base images."),
    click.option("-q", "--quiet", is_flag=True, help="Tell of failures only."),
    # What faas-cli's templates need, and ours do not: they are pulled when they are missing, and only then.
    click.option("--overwrite/--no-overwrite", expose_value=False, hidden=True),
    click.option("--disable-stack-pull", is_flag=True, expose_value=False, hidden=True),
    click.option("--debug", is_flag=True, expose_value=False, hidden=True),
)


def builder_for(
    wish: BuildWish, target: Target, *, needed: bool = False, push: bool = True
) -> tuple[Builder, str | None]:
    """A builder, and what the gateway calls its provider: None when there was no need to ask, or nobody to be asked.

    With `needed` the gateway must answer: raises GatewayUnavailable, Unauthorized. `push` is for a remote builder, which pushes
    what it builds unless told otherwise.
    """
    remote = wish.remote if wish.builder == "auto" else None
    provider = _provider(target, needed) if needed or (wish.builder == "auto" and remote is None) else None
    if remote is not None:
        return remote_builder(remote, wish.flags, push=push), provider
    return choose(wish.builder, provider, os.environ), provider


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


def is_chosen(target: Target) -> bool:
    """Whether somebody has said which gateway is meant, so that it should be there."""
    return bool(click.get_current_context().params.get("gateway")) or target.url != DEFAULT_GATEWAY


def _provider(target: Target, needed: bool) -> str | None:
    from penstock.cli.client import talk  # late: it brings the HTTP client
    from penstock.cli.deploying import provider_of

    try:
        meant = needed or is_chosen(target)
        return talk(target if meant else target._replace(timeout=PROVIDER_TIMEOUT), provider_of)
    except PenstockError as error:
        if needed:
            raise
        nobody = isinstance(error, GatewayUnavailable) and isinstance(error.__cause__, OSError)
        if not nobody or is_chosen(target):
            note(f"Warning: {target.url} does not say what its provider is, which might change who builds: {error}")
        return None


def jobs_of(stack: Stack, wish: BuildWish, *, image: bool, native: bool = False) -> list[Job]:
    """One for each function that is to be built, as an image or not; those without `lang` and those with `skip_build` are not.

    A template that is missing is pulled. `native` prefers templates whose functions run without a container.
    """
    return [_job(function, stack, wish.flags, image, native) for function in stack.functions if is_built(function)]


def is_built(function: StackFunction) -> bool:
    """Whether a function has a source of its own that is to be built."""
    return bool(function.lang) and not function.skip_build


def _job(function: StackFunction, stack: Stack, flags: BuildFlags, image: bool, native: bool) -> Job:
    try:
        request = plan(function, _template_of(function, stack, native), flags, stack.copy, image=image)
    except PenstockError as error:
        return Job(name=function.name, fault=error)
    return Job(name=function.name, request=request)


def _template_of(function: StackFunction, stack: Stack, native: bool) -> Template | None:
    """The function's template; None for a handler that is a whole context. Raises what `ensure_templates` raises."""
    if function.lang.lower() == DOCKERFILE:
        return None
    here = Path.cwd()
    ensure_templates(msgspec.structs.replace(stack, functions=(function,)), here, note, native=native)
    found = find_template(function.lang, here, native=native)
    if native and found.shipped and (found.name != function.lang or is_pulled(function.lang, here)):
        note(
            f"Warning: {function.where}: function {function.name!r}: template {function.lang!r} needs a container, so Penstock's own"
            f" {found.name!r} is used in its place"
        )
    return found


def build_all(builder: Builder, jobs: Sequence[Job], wish: BuildWish) -> list[Outcome]:
    """Build, telling of it on stderr."""
    with reporter(len(jobs), quiet=wish.quiet) as tell:
        outcomes = build_many(builder, jobs, wish.parallel, tell)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if job.fault is not None:
            note(failure_text(outcome))
    return outcomes


def check_all(outcomes: Iterable[Outcome]) -> None:
    """Raises PenstockError, naming them, when functions have failed; why has been said."""
    outcomes = list(outcomes)
    failed = [outcome.name for outcome in outcomes if outcome.fault is not None]
    done = [outcome.name for outcome in outcomes if outcome.fault is None]
    if failed:
        rest = f"; built: {', '.join(done)}" if done else ""
        raise PenstockError(f"{len(failed)} of {len(outcomes)} builds failed: {', '.join(failed)}{rest}")


def single(name: str, image: str, handler: str, lang: str) -> Stack:
    """A stack of the one function that flags describe. Raises UsageError for one that is missing."""
    for flag, value in (("--name", name), ("--handler", handler), ("--lang", lang)):
        if not value:
            raise click.UsageError(f"without a stack file, {flag} is needed")
    where = Position("command line", 1)
    function = StackFunction(name=name, where=where, lang=lang, handler=handler, image=image)
    return Stack(file="command line", functions=(function,))
