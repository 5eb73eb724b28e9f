"""Which builder: the one that was asked for, else the one that fits the gateway's provider and what this machine has."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any, Literal, get_args

from penstock.builders.model import Builder

Wish = Literal["auto", "docker", "buildah", "image", "native"]
WISHES: tuple[Wish, ...] = get_args(Wish)

PROCESS_PROVIDER = "penstock-process"
"""What a gateway calls its provider when it runs programs, and no images."""
ANSWER_TIMEOUT = 5.0
"""Seconds that an engine gets to say that it is there."""

_BUILDERS = {
    "docker": ("penstock.builders.docker", "DockerBuilder"),
    "buildah": ("penstock.builders.buildah", "BuildahBuilder"),
    "image": ("penstock.builders.imagewriter.builder", "ImageWriter"),
    "native": ("penstock.builders.native.builder", "NativeBuilder"),
}


def choose(wish: str, provider: str | None, environ: Mapping[str, str]) -> Builder:
    """A builder. `provider` is what the gateway calls its own; None where there is no gateway to ask.
    It counts for `auto` only.
    """
    if wish == "auto":
        wish = _fitting(provider, environ)
    module, name = _BUILDERS[wish]
    made: Any = getattr(importlib.import_module(module), name)
    builder: Builder = made(environ)
    return builder


def _fitting(provider: str | None, environ: Mapping[str, str]) -> Wish:
    if provider == PROCESS_PROVIDER:
        return "native"
    if engine_answers(environ):
        return "docker"
    if shutil.which("buildah", path=environ.get("PATH")):
        return "buildah"
    return "image" if provider else "native"


def engine_answers(environ: Mapping[str, str]) -> bool:
    """Whether there is a docker command whose engine is up."""
    docker = shutil.which("docker", path=environ.get("PATH"))
    if docker is None:
        return False
    try:
        asked = subprocess.run(
            [docker, "version", "--format", "{{.Server.Version}}"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0
