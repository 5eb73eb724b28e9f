"""`penstock store`: functions that are ready to be deployed, from our own store or another one."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from penstock.cli.commands import AliasGroup
from penstock.cli.deploying import Strategy
from penstock.cli.functionflags import ContainerFlags, container_options, function_options
from penstock.cli.options import connected, namespace_option, of_group, output_option, split_pair, warn_plaintext
from penstock.cli.output import print_columns, print_fields, print_json
from penstock.cli.target import Target
from penstock.core.names import check_function_name
from penstock.errors import NotFound
from penstock.functionstore.model import FunctionStore, StoreFunction
from penstock.functionstore.read import read_store
from penstock.stack.payload import Overrides

F = TypeVar("F", bound=Callable[..., Any])

PLATFORM = "x86_64"
_SHORT = 60
"""Characters of a description in the list."""


def _store_options(function: F) -> F:
    """`-u/--url` and `-p/--platform`, also those of the group; the verb receives `store` and `platform`."""

    @functools.wraps(function)
    def command(*args: Any, url: str | None, platform: str | None, **rest: Any) -> Any:
        place = url or of_group("url") or ""
        wanted = platform or of_group("platform") or PLATFORM
        return function(*args, store=functools.partial(read_store, place, os.environ), platform=wanted, **rest)

    return _URL(_PLATFORM(command))  # type: ignore[return-value]


_URL = click.option(
    "-u",
    "--url",
    metavar="URL",
    help="Store: a URL or a file; else $OPENFAAS_STORE, else the one that Penstock brings.",
)
_PLATFORM = click.option(
    "-p", "--platform", metavar="NAME", help=f"Platform of images: arm64, armhf. [default: {PLATFORM}]"
)


@click.group("store", cls=AliasGroup, aliases={"ls": "list", "inspect": "describe"})
@_URL
@_PLATFORM
def command(**_given: object) -> None:
    """Look for functions that others have written, and deploy them.

    The store that Penstock brings needs no network: its functions are programs of Debian, and code.

    \b
    Examples:
      penstock store list
      penstock store inspect figlet
      penstock store deploy figlet
    """


@command.command("list")
@click.option("-v", "--verbose", is_flag=True, help="Show whole descriptions, programs, packages and images.")
@output_option
@_store_options
def list_(store: Callable[[], FunctionStore], platform: str, verbose: bool, output: str) -> None:
    """List the functions of a store that there are for a platform.

    \b
    Examples:
      penstock store list
      penstock store ls --url https://example.com/functions.json --platform arm64 --verbose
    """
    functions = sorted((each for each in store().functions if each.runs_on(platform)), key=lambda each: each.name)
    if output == "json":
        print_json([_document(function) for function in functions])
        return
    if verbose:
        rows = [
            (*_row(each), each.fprocess or _lang(each), " ".join(each.packages), _image(each, platform))
            for each in functions
        ]
        _table(("FUNCTION", "AUTHOR", "DESCRIPTION", "PROCESS", "PACKAGES", "IMAGE"), rows)
    else:
        _table(("FUNCTION", "AUTHOR", "DESCRIPTION"), [_row(each, _SHORT) for each in functions])


@command.command("describe")
@click.argument("name")
@click.option("-v", "--verbose", is_flag=True, help="Show empty fields as well.")
@output_option
@_store_options
def describe(store: Callable[[], FunctionStore], platform: str, name: str, verbose: bool, output: str) -> None:
    """Show everything that a store says about a function, which is called by its name or title.

    \b
    Examples:
      penstock store describe figlet
      penstock store inspect nodeinfo --output json
    """
    function = _find(store(), name)
    if output == "json":
        print_json(_document(function))
        return
    fields = [
        ("Name", function.name),
        ("Title", function.title),
        ("Author", function.author),
        ("Description", function.description),
        ("Image", _image(function, platform)),
        ("Process", function.fprocess),
        ("Source", _lang(function)),
        ("Packages", " ".join(function.packages)),
        ("Repo URL", function.repo_url),
        ("Read-only Root", "true" if function.read_only_root_filesystem else ""),
        ("Environment", _mapping(function.environment)),
        ("Labels", _mapping(function.labels)),
        ("Annotations", _mapping(function.annotations)),
    ]
    print_fields([(key, value or "<none>") for key, value in fields if value or verbose])


@command.command("deploy")
@click.argument("function_name", metavar="NAME")
@click.option("--name", default="", help="Name that it gets, in place of the store's.")
@click.option("--fprocess", default="", metavar="PROGRAM", help="Program with arguments, in place of the store's.")
@click.option("--image", default="", metavar="REF", help="Image, in place of the store's or of one that is built.")
@click.option("-b", "--build-arg", multiple=True, metavar="K=V", help="Build argument, such as BASE=debian:13-slim.")
@click.option(
    "--builder",
    type=click.Choice(("auto", "docker", "buildah", "image")),
    default="auto",
    show_default=True,
    help="Who builds an image where one is needed.",
)
@click.option(
    "--prefix",
    default="",
    metavar="PREFIX",
    help="Registry and account to which a built image is pushed; else, for other machines, $OPENFAAS_PREFIX.",
)
@click.option("-q", "--quiet", is_flag=True, help="Tell of a build only when it fails.")
@container_options
@function_options
@_store_options
@namespace_option
@connected(
    timeout="1m",
    timeout_help="Longest wait for the gateway, and for a replica that makes no progress; 0 waits for ever.",
)
def deploy(
    target: Target,
    store: Callable[[], FunctionStore],
    platform: str,
    function_name: str,
    name: str,
    container: ContainerFlags,
    over: Overrides,
    strategy: Strategy,
    wait: bool,
    **flags: Any,
) -> None:
    """Deploy a function of a store.

    Where programs of the machine are run, its program must be installed; else the error names the Debian package. Where images
    are run, one is built of the packages when the store names none, and --image says where another one is. Flags win over what
    the store says.

    A built image stays on this machine unless --prefix names where it is pushed to. Nodes of a Swarm and gateways elsewhere
    can only run what they can pull.

    \b
    Examples:
      penstock store deploy figlet
      penstock store deploy figlet --prefix registry.example.com/ada --zero pause
      penstock store deploy jq --name names --fprocess "jq -c .name"
      penstock store deploy thumbnail --label com.openfaas.scale.max=4
    """
    from penstock.builders.plan import BuildFlags  # late, with all that can build
    from penstock.cli.building import BuildWish
    from penstock.cli.deploying import deploy_all
    from penstock.cli.storefunctions import Wanted, deployment

    found = _find(store(), function_name)
    wanted = Wanted(
        function=found,
        name=check_function_name(name or found.name),
        platform=platform,
        fprocess=flags["fprocess"],
        image=flags["image"],
        prefix=flags["prefix"].strip(),
        container=container,
    )
    build_args = tuple(split_pair(item, "--build-arg") for item in flags["build_arg"])
    wish = BuildWish(
        builder=flags["builder"], parallel=1, quiet=flags["quiet"], flags=BuildFlags(build_args=build_args)
    )
    warn_plaintext(target)
    over = msgspec.structs.replace(over, namespace=target.namespace)
    deploy_all(target, [deployment(target, wanted, wish, over)], strategy, wait=wait)


def _find(store: FunctionStore, name: str) -> StoreFunction:
    """Raises NotFound with the nearest names."""
    found = store.find(name)
    if found is None:
        near = difflib.get_close_matches(name, [function.name for function in store.functions], n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else "; `penstock store list` shows those there are"
        raise NotFound(f"there is no function {name!r} in the store{meant}")
    return found


def _document(function: StoreFunction) -> dict[str, object]:
    """As a store's file has it, without what is empty."""
    fields: dict[str, object] = msgspec.to_builtins(function)
    return {key: value for key, value in fields.items() if value}


def _row(function: StoreFunction, longest: int = 1 << 30) -> tuple[str, str, str]:
    text = function.description
    return function.name, function.author, text if len(text) <= longest else f"{text[: longest - 3]}..."


def _lang(function: StoreFunction) -> str:
    return f"code for {function.source.lang}" if function.source else ""


def _image(function: StoreFunction, platform: str) -> str:
    return next((image for known, image in function.images.items() if known.lower() == platform.lower()), "")


def _mapping(values: dict[str, str]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in sorted(values.items()))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    print_columns(headings, rows, [*widths[:-1], 0])
