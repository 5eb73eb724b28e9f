"""From what the stack file and the flags say about a function to a BuildRequest. Reads nothing but the template it is given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from penstock.builders.model import BuildRequest
from penstock.builders.tag import Style, tagged
from penstock.core.names import check_function_name
from penstock.errors import InvalidInput
from penstock.stack.model import StackFunction
from penstock.templates.model import Template

PACKAGES = "ADDITIONAL_PACKAGE"
"""Build argument with the packages of the chosen build options, separated by spaces."""
DOCKERFILE = "dockerfile"
"""`lang` of a function whose handler is a whole context."""


class BuildFlags(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about all functions of a build."""

    tag: Style = "latest"
    build_args: tuple[tuple[str, str], ...] = ()
    """In their order; the packages of several add up, of any other name the last one counts."""
    build_options: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    copy: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    no_cache: bool = False
    squash: bool = False
    pull: bool = False


def plan(
    function: StackFunction, template: Template | None, flags: BuildFlags, copy: Iterable[str], *, image: bool
) -> BuildRequest:
    """What is to be built. `copy` are the paths of the stack file; `image` says whether there will be one.

    Raises InvalidInput for a name, an image or a build option that cannot be.
    """
    check_function_name(function.name, f"{function.where}: name")
    here = Path.cwd()
    if image and not function.image:
        raise InvalidInput(f"{function.where}: function {function.name!r}: no image is given; name it with `image:`")
    return BuildRequest(
        function=function,
        template=template,
        image=tagged(function.image, flags.tag, here / function.handler) if image else "",
        copy=tuple(here / os.path.expanduser(path) for path in dict.fromkeys([*copy, *flags.copy])),
        build_args=_arguments(function, template, flags),
        labels=flags.labels,
        platforms=flags.platforms,
        no_cache=flags.no_cache,
        squash=flags.squash,
        pull=flags.pull,
    )


def _arguments(function: StackFunction, template: Template | None, flags: BuildFlags) -> dict[str, str]:
    arguments = {**function.build_args, **dict(flags.build_args)}
    values = [function.build_args.get(PACKAGES, ""), *(value for name, value in flags.build_args if name == PACKAGES)]
    packages = {word for value in values for word in value.split()}
    for wish in dict.fromkeys([*function.build_options, *flags.build_options]):
        packages.update(_option(function, template, wish))
    return {**arguments, PACKAGES: " ".join(sorted(packages))}


def _option(function: StackFunction, template: Template | None, name: str) -> tuple[str, ...]:
    known = {option.name: option.packages for option in template.build_options} if template else {}
    if name not in known:
        there = f"it has {', '.join(sorted(known))}" if known else "it has none"
        lang = f"template {template.name!r}" if template else f"lang {DOCKERFILE}"
        raise InvalidInput(
            f"{function.where}: function {function.name!r}: {lang} has no build option {name!r}; {there}"
        )
    return known[name]
