"""The bundled examples: read from their stack file and deployed by `penstock serve --examples`.

The control process calls `deploy_examples` once at start, unless the provider runs images: these are programs of this machine.
An example whose program is not installed is left out, with a log line that names the Debian package which brings it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.errors import FunctionNotFound, InvalidInput, PenstockError
from penstock.model import FunctionSpec
from penstock.providers.base import Provider
from penstock.stack.envsubst import substitute
from penstock.stack.load import load_stack
from penstock.stack.model import StackFunction

PACKAGE_ANNOTATION = "com.penstock.debian.package"
"""Names the Debian package that brings an example's program."""

PROGRAM_ANNOTATION = "com.penstock.debian.program"
"""Names the package's program where the program line begins with a script of the example's own that calls it."""

VERSION_NAMES = {"convert": "ImageMagick", "identify": "ImageMagick"}
"""Programs whose name others use too, and the word by which the right one's `-version` is known."""

VERSION_TIMEOUT = 10.0
"""Seconds for a program to say its version."""

log = logging.getLogger("penstock.examples")


def examples_directory() -> Path:
    """Where the examples are: beside `src` in a source tree, inside the package once installed."""
    in_tree = Path(__file__).parents[2] / "examples"
    return in_tree if (in_tree / "stack.yml").is_file() else Path(__file__).parent / "_examples"


def load_examples(directory: Path | None = None, python: str = sys.executable) -> list[FunctionSpec]:
    """The examples as specifications, in the order of the stack file. Raises InvalidInput when the file cannot be used.

    A program line is split at every space, as the watchdogs do it: an example whose line would hold a path with a space is left out.
    """
    directory = directory or examples_directory()
    places = {"PENSTOCK_EXAMPLES": str(directory), "PENSTOCK_PYTHON": python}
    try:
        # Places are filled in afterwards: one with a `#` or a quote in it would be read as YAML.
        stack = load_stack(str(directory / "stack.yml"), {}, substitute=False)
    except PenstockError as error:
        raise InvalidInput(str(error)) from error
    return [_spec(example, places) for example in stack.functions if _can_be_written(example, places)]


async def deploy_examples(provider: Provider, path: str | None = None) -> list[str]:
    """Deploy the examples whose program is found on `path` (default: PATH), update those that differ; names of those deployed.

    Raises what the provider raises, but FunctionNotFound.
    """
    deployed = []
    for spec in load_examples():
        ready = await asyncio.to_thread(with_program, spec, os.environ.get("PATH", "") if path is None else path)
        if isinstance(ready, str):
            log.warning("example %s is left out: %s", spec.name, ready)
            continue
        await _deploy(provider, ready)
        deployed.append(spec.name)
    return deployed


def with_program(spec: FunctionSpec, path: str) -> FunctionSpec | str:
    """The specification with a program that exists, named absolutely where PATH alone would find another one first.

    Returns the reason, in words for a user, when there is none.
    """
    program, _, arguments = spec.env_process.partition(" ")
    if not program:
        return spec
    found = find_program(program, path)
    called = spec.annotations.get(PROGRAM_ANNOTATION, program)
    if not found or not find_program(called, path):
        package = spec.annotations.get(PACKAGE_ANNOTATION, "")
        return f"{called} is not installed" + (f" (apt-get install {package})" if package else "")
    if found == shutil.which(program, path=path):
        return spec
    return msgspec.structs.replace(spec, env_process=f"{found} {arguments}".rstrip())


def find_program(name: str, path: str) -> str:
    """The first program of that name on `path` that says it is the one meant; empty when there is none."""
    word = VERSION_NAMES.get(name)
    for directory in path.split(os.pathsep):
        candidate = shutil.which(name, path=directory) if directory else None
        if candidate and (word is None or word in _version(candidate)):
            return candidate
    return ""


def _version(program: str) -> str:
    try:
        answer = subprocess.run(
            [program, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=VERSION_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("%s -version: %s", program, error)
        return ""
    return answer.stdout.decode(errors="replace")


async def _deploy(provider: Provider, spec: FunctionSpec) -> None:
    try:
        present = await provider.get(spec.name, spec.namespace)
    except FunctionNotFound:
        await provider.deploy(spec)
    else:
        if present.spec != spec:
            await provider.update(spec)


def _can_be_written(example: StackFunction, places: Mapping[str, str]) -> bool:
    spaced = [place for variable, place in places.items() if " " in place and f"${{{variable}}}" in example.fprocess]
    if spaced:
        log.warning("example %s is left out: a program line cannot hold the space in %s", example.name, spaced[0])
    return not spaced


def _spec(example: StackFunction, places: Mapping[str, str]) -> FunctionSpec:
    return FunctionSpec(
        name=example.name,
        env_process=substitute(example.fprocess, places),
        env_vars={key: substitute(value, places) for key, value in example.environment.items()},
        labels=example.labels,
        annotations=example.annotations,
    )
