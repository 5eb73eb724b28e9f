"""The bundled examples: read from their stack file and deployed by `penstock serve --examples`.

The control process calls `deploy_examples` once at start, unless the provider runs images: these are programs of this machine.
An example whose program is not installed is left out, with a log line that names the Debian package which brings it. The general
stack file reader is the command line's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from penstock.errors import FunctionNotFound, InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.base import Provider

PACKAGE_ANNOTATION = "com.penstock.debian.package"
"""Names the Debian package that brings an example's program."""

PROGRAM_ANNOTATION = "com.penstock.debian.program"
"""Names the package's program where the program line begins with a script of the example's own that calls it."""

VERSION_NAMES = {"convert": "ImageMagick"}
"""Programs whose name others use too, and the word by which the right one's `-version` is known."""

VERSION_TIMEOUT = 10.0
"""Seconds for a program to say its version."""

log = logging.getLogger("penstock.examples")


class _Example(msgspec.Struct, frozen=True):
    """One function of the stack file, as far as the examples use it."""

    fprocess: str = ""
    environment: dict[str, str | None] = {}
    labels: dict[str, str | None] = {}
    annotations: dict[str, str | None] = {}


class _Stack(msgspec.Struct, frozen=True):
    version: str
    functions: dict[str, _Example]


class _TextLoader(yaml.CSafeLoader):
    """A safe loader for which every scalar but null is the text that was written: `on`, `0755` and `1.0` stay as they are."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def examples_directory() -> Path:
    """Where the examples are: beside `src` in a source tree, inside the package once installed."""
    in_tree = Path(__file__).parents[2] / "examples"
    return in_tree if (in_tree / "stack.yml").is_file() else Path(__file__).parent / "_examples"


def load_examples(directory: Path | None = None, python: str = sys.executable) -> list[FunctionSpec]:
    """The examples as specifications, in the order of the stack file. Raises InvalidInput when the file cannot be used.

    A program line is split at every space, as the watchdogs do it: an example whose line would hold a path with a space is left out.
    """
    directory = directory or examples_directory()
    stack_file = directory / "stack.yml"
    places = {"PENSTOCK_EXAMPLES": str(directory), "PENSTOCK_PYTHON": python}
    try:
        # The loader is a safe one (see above), which the linter cannot know.
        stack = msgspec.convert(yaml.load(stack_file.read_bytes(), _TextLoader), _Stack)  # noqa: S506
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{stack_file}: {error}") from error
    return [
        _spec(name, example, places)
        for name, example in stack.functions.items()
        if _can_be_written(name, example, places)
    ]


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


def _can_be_written(name: str, example: _Example, places: Mapping[str, str]) -> bool:
    spaced = [place for variable, place in places.items() if " " in place and f"${{{variable}}}" in example.fprocess]
    if spaced:
        log.warning("example %s is left out: a program line cannot hold the space in %s", name, spaced[0])
    return not spaced


def _spec(name: str, example: _Example, places: Mapping[str, str]) -> FunctionSpec:
    return FunctionSpec(
        name=name,
        env_process=_fill(example.fprocess, places),
        env_vars={key: _fill(value or "", places) for key, value in example.environment.items()},
        labels=_text(example.labels),
        annotations=_text(example.annotations),
    )


def _text(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: value or "" for key, value in values.items()}


def _fill(text: str, places: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: places.get(match[1], match[0]), text)
