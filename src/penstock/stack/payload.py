"""A function of a stack file, flags laid over it, as the specification that a gateway is asked for (contract watchdog-cli §4.2).

Called by `penstock.cli.deploying` and by the verbs `generate` and `diff`; the verb `deploy` builds its own body with the same
`body`. Decides what wins over what: the stack file over what a build or template brings, flags over the stack file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.names import check_function_name
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Resources
from penstock.stack.model import StackFunction, StackPipeline
from penstock.watchdog.settings import IMPORTING_MODES


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What flags say about every function of a deployment; empty means not given."""

    environment: dict[str, str] = {}
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    limits: Resources = Resources()
    requests: Resources = Resources()
    read_only_root: bool = False
    namespace: str = ""


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What a template or a build brings; the stack file's own values win over all of it but the image."""

    image: str | None = None
    """Takes the place of the stack file's; empty: the function is run without one."""
    fprocess: str = ""
    environment: dict[str, str] = {}


def specification(
    function: StackFunction, over: Overrides | None = None, base: Base | None = None, directory: Path | None = None
) -> FunctionSpec:
    """What is to be deployed; the namespace is empty where neither the file nor a flag names one (contract watchdog-cli §3.2).

    A function with a `handler` and neither `lang` nor image is Python code that is imported from where it lies, below
    `directory` (default: the current one). Raises InvalidInput for a handler that is not there.
    """
    over, base = over or Overrides(), base or Base()
    image = with_tag(function.image) if base.image is None else base.image
    environment = base.environment | function.environment
    if function.handler and not function.lang and not image and not function.fprocess:
        where = f"{function.where}: handler"
        environment.setdefault("handler", handler_reference(function.handler, where, directory, must_exist=True))
        environment.setdefault("mode", "python")
    constraints = over.constraints if function.constraints is None else function.constraints
    return FunctionSpec(
        name=function.name,
        namespace=over.namespace or function.namespace,
        image=image,
        env_process=function.fprocess or base.fprocess,
        env_vars=environment | over.environment,
        constraints=constraints,
        secrets=tuple(dict.fromkeys((*over.secrets, *function.secrets))),
        labels=function.labels | over.labels,
        annotations=function.annotations | over.annotations,
        limits=_merged(over.limits, function.limits),
        requests=_merged(over.requests, function.requests),
        read_only_root=over.read_only_root or function.read_only_root,
    )


def pipeline_specification(pipeline: StackPipeline, over: Overrides | None = None) -> FunctionSpec:
    """What is to be deployed of a pipeline; of what is laid over it, namespace, labels and annotations count."""
    over = over or Overrides()
    return FunctionSpec(
        name=pipeline.name,
        namespace=over.namespace or pipeline.namespace,
        labels=pipeline.labels | over.labels,
        annotations=pipeline.annotations | over.annotations,
        stages=pipeline.stages,
    )


def body(spec: FunctionSpec) -> dict[str, Any]:
    """The JSON body of a deployment (contract gateway §2.1): what is empty is left out, except labels and annotations.

    Raises InvalidInput for an unusable name.
    """
    check_function_name(spec.name)
    optional: dict[str, Any] = {
        "image": spec.image,
        "namespace": spec.namespace,
        "envProcess": spec.env_process,
        "envVars": spec.env_vars,
        "constraints": list(spec.constraints),
        "secrets": list(spec.secrets),
        "limits": _quantities(spec.limits),
        "requests": _quantities(spec.requests),
        "readOnlyRootFilesystem": spec.read_only_root,
        "pipeline": list(spec.stages),
    }
    given = {key: value for key, value in optional.items() if value}
    return {"service": spec.name, **given, "labels": spec.labels, "annotations": spec.annotations}


def is_runnable(spec: FunctionSpec) -> bool:
    """Whether it names anything that could be run: a program, an image, code to import, files, or stages."""
    environment = spec.env_vars
    program = spec.env_process or environment.get("fprocess") or environment.get("function_process")
    return bool(program or spec.image or spec.stages or environment.get("mode") in ("static", *IMPORTING_MODES))


def with_tag(image: str) -> str:
    """An image's name with `:latest` where its last part has neither tag nor digest."""
    last = image.rpartition("/")[2]
    return image if not image or ":" in last or "@" in image else f"{image}:latest"


def handler_reference(reference: str, where: str, directory: Path | None = None, *, must_exist: bool = False) -> str:
    """An absolute path for a file or folder that exists, whose `:attribute` is kept; anything else as it is.

    Raises InvalidInput, beginning with `where`, for what looks like a path and is none, or always with `must_exist`.
    """
    path, colon, attribute = reference.rpartition(":")
    if not colon or "/" in attribute:
        path, colon, attribute = reference, "", ""
    found = os.path.join(directory or "", path)
    if os.path.exists(found):
        return f"{os.path.abspath(found)}{colon}{attribute}"
    if must_exist or path.endswith(".py") or path.startswith((".", "~")):
        raise InvalidInput(
            f"{where}: there is no file or folder {path!r} {'below ' + str(directory) if directory else 'here'}"
        )
    return reference


def _merged(flags: Resources, written: Resources) -> Resources:
    return Resources(memory=flags.memory or written.memory, cpu=flags.cpu or written.cpu)


def _quantities(resources: Resources) -> Mapping[str, str]:
    pairs = (("cpu", resources.cpu), ("memory", resources.memory))
    return {key: value for key, value in pairs if value}
