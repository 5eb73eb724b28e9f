"""Carries a Dockerfile out, without running anything: RUN is refused, everything else makes layers and settings.

Called by `builder`. Only stages that the last one needs are built. Source: the Dockerfile reference of Docker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from penstock.builders.imagewriter import values
from penstock.builders.imagewriter.copying import (
    Context,
    Copy,
    Files,
    Source,
    Target,
    check_sources,
    owner_of,
)
from penstock.builders.imagewriter.dockerfile import Dockerfile, Instruction, argument, from_words
from penstock.builders.imagewriter.image import Image, Layer
from penstock.builders.imagewriter.layer import writing_layer
from penstock.builders.imagewriter.store import Store
from penstock.builders.imagewriter.tree import FOLDER, Tree
from penstock.builders.imagewriter.values import Values
from penstock.builders.model import Progress
from penstock.errors import NotSupported
from penstock.watchdog.bundle.archive import SEARCH_PATH

_FLAGS = {"COPY": {"from", "chown", "chmod", "link"}, "ADD": {"chown", "chmod", "link"}, "FROM": {"platform"}}
_ELSEWHERE = "build with --builder docker or --builder buildah, or as a native build"


class Platform(msgspec.Struct, frozen=True):
    """What an image is for, in Go's names."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Bases(Protocol):
    """Finds images that stages begin with."""

    def find(self, reference: str, platform: Platform, progress: Progress) -> Image:
        """Raises NotFound, BuildFailed, NotSupported, Unauthorized."""
        ...


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What a build depends on besides its files."""

    arguments: Mapping[str, str]
    """Given for ARG."""
    labels: Mapping[str, str]
    platform: Platform
    when: int
    """Seconds since 1970: as old as everything in the image is."""


class _Stage:
    """A stage that has been built, or is being built."""

    def __init__(self, image: Image) -> None:
        self.config: dict[str, Any] = dict(image.config)
        self.settings = image.settings
        self.layers = image.layers
        self.known: dict[str, str] = {}
        """Arguments, by name."""
        self.own_cmd = False
        self._tree: Tree | None = None

    @property
    def image(self) -> Image:
        return Image({**self.config, "config": self.settings}, self.layers)

    def tree(self, store: Store) -> Tree:
        """The files of all layers; read when it is first asked for."""
        if self._tree is None:
            self._tree = Tree()
            for number, layer in enumerate(self.layers):
                self._tree.apply(number, layer, store)
        return self._tree

    def add(self, layer: Layer) -> None:
        self.layers = (*self.layers, layer)


class Interpreter:
    """One build."""

    def __init__(
        self, file: Dockerfile, context: Context, bases: Bases, store: Store, around: Circumstances, progress: Progress
    ) -> None:
        self._file = file
        self._context = context
        self._bases = bases
        self._store = store
        self._around = around
        self._progress = progress
        self._stages: dict[int, _Stage] = {}
        self._images: dict[str, _Stage] = {}
        """Those of `COPY --from=image`."""

    def run(self) -> Image:
        """The image of the last stage. Raises InvalidInput, NotSupported, and what bases raise."""
        plans, outside = _plan(self._file, self._around)
        needed = _needed(plans)
        for number in sorted(needed):
            for instruction in plans[number].instructions:
                _check(instruction)
        for number in sorted(needed):
            self._stages[number] = self._build(plans[number], plans, outside)
        last = self._stages[len(plans) - 1]
        if self._around.labels:
            last.settings["Labels"] = {**(last.settings.get("Labels") or {}), **self._around.labels}
        return last.image

    def _build(self, plan: _Plan, plans: list[_Plan], outside: Mapping[str, str]) -> _Stage:
        stage = self._begin(plan)
        for instruction in plan.instructions:
            before = stage.layers
            self._carry_out(instruction, stage, plan, plans, outside)
            self._remember(instruction, stage, empty=before == stage.layers)
        return stage

    def _begin(self, plan: _Plan) -> _Stage:
        if plan.parent is not None:
            stage = _Stage(self._stages[plan.parent].image)
        elif plan.image == "scratch":
            stage = _Stage(self._empty(plan.platform))
        else:
            stage = _Stage(self._bases.find(plan.image, plan.platform, self._progress))
        if stage.settings.pop("OnBuild", None):
            raise NotSupported(
                f"{plan.image}: has ONBUILD instructions, which the image writer does not carry out; {_ELSEWHERE}"
            )
        stage.config["created"] = _time(self._around.when)
        for name in ("container", "container_config", "docker_version", "id", "parent"):
            stage.config.pop(name, None)
        return stage

    def _empty(self, platform: Platform) -> Image:
        config: dict[str, Any] = {
            "architecture": platform.architecture,
            "os": platform.os,
            "config": {"Env": [f"PATH={SEARCH_PATH}"]},
            "history": [],
        }
        return Image(config | ({"variant": platform.variant} if platform.variant else {}))

    def _carry_out(
        self, instruction: Instruction, stage: _Stage, plan: _Plan, plans: list[_Plan], outside: Mapping[str, str]
    ) -> None:
        environment = values.environment(stage.settings)
        known = {**stage.known, **environment}
        name = instruction.name
        if name == "ARG":
            given = {**_defaults(instruction, outside), **self._around.arguments}
            stage.known |= argument(instruction, self._file.escape, known, given)
        elif name in ("COPY", "ADD"):
            self._copy(instruction, Values(instruction, self._file.escape, known), stage, plan, plans)
        elif name == "MAINTAINER":
            stage.config["author"] = instruction.rest
        else:
            self._say(name, Values(instruction, self._file.escape, known), stage)

    def _say(self, name: str, given: Values, stage: _Stage) -> None:
        values.SAYING[name](given, stage.settings)
        if name == "CMD":
            stage.own_cmd = True
        elif name == "ENTRYPOINT" and not stage.own_cmd:
            stage.settings.pop("Cmd", None)  # a base's, which was meant for its own entrypoint
        elif name == "WORKDIR":
            self._make_workdir(stage)

    def _make_workdir(self, stage: _Stage) -> None:
        tree = stage.tree(self._store)
        path = tree.resolve(str(stage.settings["WorkingDir"]).lstrip("/"))
        if path == "" or tree.get(path) is not None:
            return
        with writing_layer(self._store, self._around.when) as writer:
            parts = path.split("/")
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                writer.add(folder, tree.get(folder) or FOLDER)
        tree.put(path, FOLDER)
        stage.add(writer.layer)

    def _copy(self, instruction: Instruction, given: Values, stage: _Stage, plan: _Plan, plans: list[_Plan]) -> None:
        sources, destination = check_sources(instruction, given.words())
        tree = stage.tree(self._store)
        source = self._source(instruction, plan, plans)
        own = Files(tree, stage.layers, self._store)
        flags = {name: given.expand(text) for name, text in instruction.flags.items()}
        owner = owner_of(instruction, flags.get("chown", ""), flags.get("chmod", ""), own)
        workdir = stage.settings.get("WorkingDir")
        target = Target(tree, stage.layers, workdir if isinstance(workdir, str) and workdir else "/")
        self._progress(f"{instruction.name} {instruction.rest}"[:200])
        copy = Copy(instruction, source, target, owner)
        stage.add(copy.run(sources, destination, self._store, self._around.when, unpack=instruction.name == "ADD"))

    def _source(self, instruction: Instruction, plan: _Plan, plans: list[_Plan]) -> Source:
        name = instruction.flags.get("from")
        if name is None:
            return self._context
        number = _number_of(name, plans[: plan.number])
        if number is not None:
            stage = self._stages[number]
        else:
            if name not in self._images:
                self._images[name] = _Stage(self._bases.find(name, self._around.platform, self._progress))
            stage = self._images[name]
        return Files(stage.tree(self._store), stage.layers, self._store)

    def _remember(self, instruction: Instruction, stage: _Stage, *, empty: bool) -> None:
        found = stage.config.get("history")
        flags = "".join(f"--{name}={value} " for name, value in sorted(instruction.flags.items()))
        entry: dict[str, Any] = {
            "created": _time(self._around.when),
            "created_by": f"{instruction.name} {flags}{instruction.rest}",
        }
        entry |= {"empty_layer": True} if empty else {}
        stage.config["history"] = [*(found if isinstance(found, list) else []), entry]


class _Plan(msgspec.Struct, frozen=True):
    """A stage as it is written."""

    number: int
    name: str
    image: str
    parent: int | None
    """The stage that it begins with."""
    platform: Platform
    instructions: tuple[Instruction, ...]


def _plan(file: Dockerfile, around: Circumstances) -> tuple[list[_Plan], dict[str, str]]:
    """The stages, and the arguments before the first of them."""
    machine = platform_arguments(around.platform)
    outside: dict[str, str] = {}
    plans: list[_Plan] = []
    for instruction in file.instructions:
        if instruction.name == "FROM":
            _check(instruction)
            plans.append(_stage_plan(instruction, file, plans, {**machine, **outside}, around.platform))
        elif plans:
            last = plans[-1]
            plans[-1] = msgspec.structs.replace(last, instructions=(*last.instructions, instruction))
        elif instruction.name == "ARG":
            outside |= argument(instruction, file.escape, {**machine, **outside}, around.arguments)
        else:
            raise instruction.fault("comes before FROM")
    if not plans:
        raise Instruction(1, "FROM", {}, "").fault("there is none, and every image begins with one")
    return plans, {**machine, **outside}


def _stage_plan(
    instruction: Instruction, file: Dockerfile, plans: list[_Plan], known: Mapping[str, str], platform: Platform
) -> _Plan:
    image, name = from_words(instruction, file.escape, known)
    if wanted := instruction.flags.get("platform"):
        platform = parse_platform(Values(instruction, file.escape, known).expand(wanted), instruction.fault)
    parents = [plan.number for plan in plans if plan.name and plan.name == image.lower()]
    return _Plan(len(plans), name.lower(), image, parents[-1] if parents else None, platform, ())


def _needed(plans: list[_Plan]) -> set[int]:
    needed, todo = set[int](), [len(plans) - 1]
    while todo:
        plan = plans[todo.pop()]
        if plan.number in needed:
            continue
        needed.add(plan.number)
        todo += [plan.parent] if plan.parent is not None else []
        for instruction in plan.instructions:
            if instruction.name == "COPY" and "from" in instruction.flags:
                number = _number_of(instruction.flags["from"], plans[: plan.number])
                todo += [number] if number is not None else []
    return needed


def _number_of(name: str, plans: list[_Plan]) -> int | None:
    """The stage of a name or a number; None for an image."""
    found = [plan.number for plan in plans if plan.name and plan.name == name.lower()]
    if found:
        return found[-1]
    return int(name) if name.isascii() and name.isdigit() and len(name) < 5 and int(name) < len(plans) else None


def _check(instruction: Instruction) -> None:
    """Before anything is fetched or written: is it all something that we do?"""
    name = instruction.name
    if name == "RUN":
        raise NotSupported(
            f"Dockerfile:{instruction.line}: RUN: the image writer runs nothing ({instruction.rest[:60]!r}); {_ELSEWHERE}"
        )
    if name == "ONBUILD":
        raise NotSupported(f"Dockerfile:{instruction.line}: ONBUILD: the image writer does not know it; {_ELSEWHERE}")
    if name not in {*values.SAYING, "ARG", "COPY", "ADD", "FROM", "MAINTAINER"}:
        raise instruction.fault("there is no such instruction")
    unknown = sorted(set(instruction.flags) - _FLAGS.get(name, set())) if name != "HEALTHCHECK" else []
    if unknown:
        raise NotSupported(
            f"Dockerfile:{instruction.line}: {name}: the image writer does not know --{unknown[0]}; {_ELSEWHERE}"
        )


def _defaults(instruction: Instruction, outside: Mapping[str, str]) -> dict[str, str]:
    """Arguments of before the first FROM, which an ARG without a default brings into a stage."""
    names = [word for word in instruction.rest.split() if "=" not in word]
    return {name: outside[name] for name in names if name in outside}


def parse_platform(text: str, fault: Callable[[str], Exception]) -> Platform:
    """`linux/amd64` or `linux/arm/v7`. Raises what `fault` makes."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isalnum() for part in parts):
        raise fault(f"{text[:60]!r} is no platform, such as linux/amd64")
    return Platform(*parts)


def platform_arguments(platform: Platform) -> dict[str, str]:
    """Arguments that there are without ARG before the first FROM."""
    known = {"PLATFORM": str(platform), "OS": platform.os, "ARCH": platform.architecture, "VARIANT": platform.variant}
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in known.items()}


def _time(when: int) -> str:

    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
