"""How a function of a store gets to a gateway: by a program of this machine, a native build, an image that exists, or one that is built.

Called by `penstock store deploy`. Which of these it is follows from what the gateway's provider runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from penstock.builders import watchdogimage
from penstock.builders.choose import PROCESS_PROVIDER, choose
from penstock.builders.many import Job
from penstock.builders.model import Builder, Built
from penstock.builders.plan import DOCKERFILE, plan
from penstock.builders.tree import Tree, digest, overlay, walk
from penstock.cli.building import BuildWish, build_all, builder_for, check_fit
from penstock.cli.client import talk
from penstock.cli.deploying import Deployment, provider_of
from penstock.cli.functionflags import ContainerFlags
from penstock.cli.options import note
from penstock.cli.pushing import check_pushed, push_all
from penstock.cli.target import Target
from penstock.core.shown import shown
from penstock.errors import InvalidInput, NotFound, NotSupported, PenstockError
from penstock.examples import find_program
from penstock.functionstore.model import Source, StoreFunction
from penstock.functionstore.read import SOURCES
from penstock.providers.containers.reference import parse
from penstock.stack.model import Position, StackFunction
from penstock.stack.payload import Base, Overrides, specification
from penstock.templates.catalogue import find_template
from penstock.templates.model import Template

REPOSITORY = "penstock-store"
"""Of images that are built and pushed nowhere: `penstock-store/figlet:0123456789ab`."""
PREFIX = "OPENFAAS_PREFIX"
"""Registry and account for images of one's own, as `penstock new` writes them into stack files."""
SWARM_PROVIDER = "penstock-swarm"
_TAG = 12
"""Hexadecimal digits of a recipe's digest."""
_STORE = Position("function store", 1)

_DOCKERFILE = """\
ARG WATCHDOG=penstock-watchdog:latest
ARG BASE=debian:12-slim
FROM ${{WATCHDOG}} AS watchdog
FROM ${{BASE}}
RUN apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*
COPY --from=watchdog /penstock /penstock
ENV fprocess={fprocess}
USER 1000:1000
EXPOSE 8080
ENTRYPOINT ["/penstock/fwatchdog"]
"""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the user wants of a store's function."""

    function: StoreFunction
    name: str
    """That it will have."""
    platform: str
    fprocess: str = ""
    """In place of the store's."""
    image: str = ""
    """In place of the store's, and of a build."""
    prefix: str = ""
    """Of an image that is built, and then pushed."""
    container: ContainerFlags = ContainerFlags()


def deployment(target: Target, wanted: Wanted, wish: BuildWish, over: Overrides) -> Deployment:
    """The function, built where that is needed, with the flags laid over what the store says.

    Raises NotFound for a program or an image that is missing, NotSupported for what the gateway cannot run, PenstockError when a
    build fails, and what the client raises.
    """
    if talk(target, provider_of) == PROCESS_PROVIDER:
        base, fprocess = _on_this_machine(target, wanted, wish)
    else:
        over = msgspec.structs.replace(over, labels=wanted.container.laid_over(over.labels, wanted.fprocess))
        container = wanted.container
        serves = (
            container.http_port is not None and container.watchdog != "image"
        )  # then nothing runs the store's program
        base, fprocess = _in_a_container(target, wanted, wish), "" if serves else _program(wanted)
    function = _stack_function(wanted, fprocess=fprocess)
    return Deployment(name=wanted.name, namespace=over.namespace, spec=specification(function, over, base))


def _program(wanted: Wanted) -> str:
    return wanted.fprocess or wanted.function.fprocess


def _stack_function(wanted: Wanted, **more: str) -> StackFunction:
    function = wanted.function
    given = StackFunction(
        name=wanted.name,
        where=_STORE,
        environment=function.environment,
        labels=function.labels,
        annotations=function.annotations,
        read_only_root=function.read_only_root_filesystem,
    )
    return msgspec.structs.replace(given, **more)


# Without a container


def _on_this_machine(target: Target, wanted: Wanted, wish: BuildWish) -> tuple[Base, str]:
    about = [flag for flag, _, _ in wanted.container.given]
    about += [flag for flag, value in (("--image", wanted.image), ("--prefix", wanted.prefix)) if value]
    if about:
        raise NotSupported(f"{' and '.join(about)}: the gateway at {target.url} runs programs, not images")
    function = wanted.function
    if function.source is not None and not wanted.fprocess:
        builder = choose("native", None, os.environ)
        check_fit(builder, PROCESS_PROVIDER, target)
        built = _build_source(builder, wanted, function.source, wish)
        return Base(image="", fprocess=built.fprocess, environment=built.environment), ""
    line = _program(wanted)
    if not line:
        raise NotSupported(
            f"{function.name!r} is an image, and the gateway at {target.url} runs programs; which one? give it by --fprocess"
        )
    return Base(image=""), with_program(function, line) if target.loopback else line


def with_program(function: StoreFunction, line: str) -> str:
    """A program line whose program is on this machine, named absolutely where another of its name comes first.

    Raises NotFound with the Debian package that brings it.
    """
    program, _, arguments = line.partition(" ")
    path = os.environ.get("PATH", os.defpath)
    found = find_program(program, path)
    if not found:
        remedy = f": apt-get install {' '.join(function.packages)}" if function.packages else ""
        raise NotFound(f"{function.name!r} runs {shown(program)}, which is not installed on this machine{remedy}")
    return line if found == shutil.which(program, path=path) else f"{found} {arguments}".rstrip()


# In a container


def _in_a_container(target: Target, wanted: Wanted, wish: BuildWish) -> Base:
    function = wanted.function
    if wanted.prefix and (wanted.image or function.images):
        raise InvalidInput("--prefix: is for an image that is built, and here is one already; leave it out")
    if wanted.image:
        return Base(image=wanted.image)
    if function.images:
        return Base(image=image_for(function, wanted.platform))
    builder, provider = builder_for(wish, target, needed=True)
    check_fit(builder, provider, target)
    alone = provider != SWARM_PROVIDER and target.loopback
    if not wanted.prefix and not alone:
        wanted = msgspec.structs.replace(wanted, prefix=os.environ.get(PREFIX, "").strip())
    if function.source is not None:
        built = _build_source(builder, wanted, function.source, wish)
    elif function.packages:
        built = _build_packages(builder, wanted, wish)
    else:
        raise InvalidInput(
            f"{function.name!r} of the store names neither an image nor packages; give an image by --image"
        )
    if wanted.prefix:
        check_pushed(push_all(builder, [(wanted.name, built.image)], parallel=1, quiet=wish.quiet))
    elif not alone:
        note(
            f"Warning: the image {built.image} is on this machine alone, and other nodes cannot run it: --prefix"
            f" registry.example.com/account (or ${PREFIX}) has it pushed, --image names one that they can pull"
        )
    return Base(image=built.image)


def image_for(function: StoreFunction, platform: str) -> str:
    """The image of that platform. Raises NotFound with those that there are."""
    for known, image in function.images.items():
        if known.lower() == platform.lower():
            return image
    raise NotFound(f"{function.name!r} of the store has no image for {platform!r}; it has {', '.join(function.images)}")


def _build_packages(builder: Builder, wanted: Wanted, wish: BuildWish) -> Built:
    """An image with the Debian packages and the watchdog."""
    recipe = dockerfile(wanted.function)
    with _elsewhere() as here:
        (here / "recipe").mkdir()
        (here / "recipe" / "Dockerfile").write_text(recipe)
        image = _image(wanted, recipe, wish)
        return _build(builder, _stack_function(wanted, lang=DOCKERFILE, handler="recipe", image=image), None, wish)


def dockerfile(function: StoreFunction) -> str:
    """The recipe of an image with the function's program."""
    quoted = msgspec.json.encode(function.fprocess).decode().replace("$", "\\$")
    return _DOCKERFILE.format(packages=" ".join(function.packages), fprocess=quoted)


# Code of the store's own


def _build_source(builder: Builder, wanted: Wanted, source: Source, wish: BuildWish) -> Built:
    template = find_template(source.lang, SOURCES, native=not builder.makes_images)
    handler = SOURCES / source.handler
    image = _image(wanted, _contents([template.folder, handler]), wish) if builder.makes_images else ""
    with _elsewhere():
        return _build(
            builder, _stack_function(wanted, lang=source.lang, handler=str(handler), image=image), template, wish
        )


def _contents(folders: Sequence[Path]) -> str:
    """A digest of all files of some folders."""
    tree: Tree = {}
    for number, folder in enumerate(folders):
        overlay(tree, str(number), walk(folder, what=str(folder)))
    return digest(tree)


def _build(builder: Builder, function: StackFunction, template: Template | None, wish: BuildWish) -> Built:
    request = plan(function, template, wish.flags, (), image=builder.makes_images)
    [outcome] = build_all(builder, [Job(name=function.name, request=request)], wish)
    if outcome.built is None:
        raise PenstockError(f"function {function.name!r} is not built, see above")
    return outcome.built


def _image(wanted: Wanted, recipe: str, wish: BuildWish) -> str:
    """A name that changes with all that decides what the image holds."""
    given = dict(wish.flags.build_args)
    watchdog = watchdogimage.ARGUMENT in given or watchdogimage.reference()
    parts = (str(watchdog), recipe, *(f"{key}={value}" for key, value in given.items()))
    tag = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_TAG]
    image = f"{wanted.prefix.rstrip('/') or REPOSITORY}/{wanted.function.name}:{tag}"
    try:
        parse(image)
    except InvalidInput as error:
        raise InvalidInput(f"--prefix {wanted.prefix!r} cannot begin the name of an image: {error}") from error
    return image


@contextlib.contextmanager
def _elsewhere() -> Iterator[Path]:
    """A current directory that is gone afterwards: builders assemble their contexts below it, and the user's own is no project."""
    with tempfile.TemporaryDirectory(prefix="penstock-store-") as folder, contextlib.chdir(folder):
        yield Path(folder)
